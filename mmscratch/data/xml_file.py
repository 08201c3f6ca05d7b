"""Text of files in any encoding, and XML that cannot grow."""

import codecs
import re
import xml.etree.ElementTree as ET

_DECLARED = re.compile(rb'\s*<\?xml[^>]*?encoding\s*=\s*["\']([\w.-]+)')
# Windows gives its encodings the names of smaller standards.
_WINDOWS = {
    'gb2312': 'gb18030',
    'gbk': 'gb18030',
    'big5': 'cp950',
    'shift_jis': 'cp932',
    'euc_kr': 'cp949',
}


def decode(content: bytes) -> str:
    """The text of a file; ValueError or LookupError says why there is none.

    A byte order mark counts first, then the encoding that an XML declaration names, then UTF-8.
    """
    encoding = 'utf-8-sig'
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = 'utf-16'
    elif content[:1] == b'\0':
        encoding = 'utf-16-be'
    elif content[1:2] == b'\0':
        encoding = 'utf-16-le'
    elif declared := _DECLARED.match(content):
        name = codecs.lookup(declared[1].decode()).name
        if name in ('idna', 'punycode'):  # of domains, decoded in the square of the length
            raise LookupError(f'unknown encoding: {name}')
        # .NET declares the UTF-16 of its strings in files that it saves as UTF-8
        encoding = encoding if name.startswith('utf-16') else _WINDOWS.get(name, name)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f'byte {error.start} is not {encoding.removesuffix("-sig").upper()}: save the file as '
            f'UTF-8, or declare its encoding if it is XML'
        ) from None


def parse(content: bytes) -> ET.Element:
    """The root of an XML file.

    Raises:
        ValueError, LookupError, ET.ParseError: it cannot be decoded, is no XML, or declares what
            could become a text without end.
    """
    # Python's expat cannot read encodings of several bytes a character. It ignores the declaration
    # of decoded text.
    text = decode(content).lstrip()
    # an entity stands for others, and each element gets a copy of an attribute's default
    if declared := re.search('<!(ENTITY|ATTLIST)', text):
        raise ValueError(f'it declares an {declared[0]}, which may grow without bound: take it out')
    return ET.fromstring(text)
