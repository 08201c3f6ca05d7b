"""XML files and lists of names as the tools of the field write them."""

import codecs
import os
from pathlib import Path

import pytest

from mmscratch.data import voc_xml
from mmscratch.data.image_check import IMAGE_SUFFIXES
from mmscratch.data.voc_xml import VocObject
from mmscratch.errors import InputError

XML = (
    '{head}<annotation><size><width>96</width><height>64</height></size><object><name>{name}</name>'
    '<difficult>0</difficult><bndbox><xmin>11</xmin><ymin>12</ymin><xmax>50</xmax><ymax>40</ymax>'
    '</bndbox></object></annotation>'
)
CORNERS = (11, 12, 50, 40)


def declared(encoding: str) -> str:
    return f'<?xml version="1.0" encoding="{encoding}"?>\n'


def read(tmp_path: Path, content: bytes | str) -> voc_xml.VocXml:
    file = tmp_path / 'one.xml'
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return voc_xml.read(file)


@pytest.mark.parametrize(
    ('encoding', 'name', 'head'),
    [
        ('gbk', '螺母', declared('gbk')),
        ('gbk', '镕', declared('gb2312')),  # a character that GB2312 itself lacks
        ('gb18030', '螺母', declared('GB18030')),
        ('big5', '螺母', declared('big5')),
        ('shift_jis', '六角ナット', declared('Shift_JIS')),
        ('cp932', '①ナット', declared('shift_jis')),
        ('euc_jp', '六角ナット', declared('EUC-JP')),
        ('euc_kr', '너트', declared('euc-kr')),
        ('cp1251', 'гайка', declared('windows-1251')),
        ('latin-1', 'écrou', declared('ISO-8859-1')),
        ('utf-8', 'écrou', ''),
        ('utf-8-sig', 'écrou', declared('utf-8')),
        ('utf-8-sig', 'écrou', declared('gbk')),
        ('utf-8', 'écrou', declared('utf-16')),
        ('utf-8', 'écrou', '\r\n' + declared('utf-8')),
        ('utf-16', 'écrou', declared('utf-16')),
        ('utf-16', 'écrou', ''),
        ('utf-16-le', 'écrou', declared('utf-16')),
        ('utf-16-be', 'écrou', declared('UTF-16')),
    ],
)
def test_encodings(tmp_path, encoding, name, head):
    found = read(tmp_path, XML.format(head=head, name=name).encode(encoding))
    assert not found.unreadable
    assert found.objects == [VocObject(name, False, CORNERS)]
    assert found.size == (96, 64)


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        (
            XML.format(head=declared('utf-8'), name='écrou').encode('latin-1'),
            r'byte 114 is not UTF-8: save the file as UTF-8, or declare its encoding',
        ),
        (XML.format(head='', name='écrou').encode('latin-1'), 'is not UTF-8: save'),
        (XML.format(head=declared('gbk'), name='a').encode() + b'\xff', 'is not GB18030: save'),
        (XML.format(head=declared('klingon'), name='a'), 'unknown encoding: klingon'),
        (XML.format(head=declared('hex'), name='a'), "'hex' is not a text encoding"),
        (
            XML.format(head='<!DOCTYPE a [<!ENTITY b "bolt">]>', name='&b;'),
            'it declares an <!ENTITY, which may grow without bound: take it out',
        ),
        (
            # which each element would get
            XML.format(head='<!DOCTYPE a [<!ATTLIST b c CDATA "bolt">]>', name='b'),
            'it declares an <!ATTLIST, which may grow without bound: take it out',
        ),
        (XML.format(head=declared('punycode'), name='a'), 'unknown encoding: punycode'),
        (XML.format(head='', name='&nut;'), 'undefined entity'),
        ('', 'no element found'),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, content, fault):
    found = read(tmp_path, content)
    assert fault in found.unreadable
    assert '\n' not in found.unreadable
    assert not found.objects


def test_a_missing_file_is_told(tmp_path):
    assert 'No such file' in voc_xml.read(tmp_path / 'none.xml').unreadable


def test_white_space_namespaces_and_upper_case(tmp_path):
    found = read(
        tmp_path,
        '<Annotation xmlns="http://example.org/voc" xmlns:x="http://example.org/x">\n'
        ' <Size>\n  <Width> 96 </Width><Height>\n64.0\n</Height> </Size>\n'
        ' <object>\n  <name>\n   traffic\n   light\u00a0\n  </name>\n  <Difficult> 1 </Difficult>\n'
        '  <x:bndbox><ymax> 40 </ymax><XMAX>\t50.0</XMAX><ymin>12\n</ymin><xmin>11.7</xmin>'
        '</x:bndbox></object>\n'
        ' <object><name> nut </name><difficult> </difficult>'
        '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>\n'
        '</Annotation>',
    )
    assert found.faults == []
    assert found.size == (96, 64)
    assert found.objects == [
        VocObject('traffic light', True, (11.7, 12, 50, 40)),
        VocObject('nut', False, (1, 1, 2, 2)),
    ]
    assert found.objects[0].box == (10, 11, 49, 39)


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        (
            f'<annotation><objects>{XML[XML.index("<object>") :]}'.replace(
                '</annotation>', '</objects></annotation>'
            ),
            'no <object> directly below <annotation>, but boxes elsewhere',
        ),
        (
            '<annotation><bndbox/></annotation>',
            'no <object> directly below <annotation>, but boxes elsewhere',
        ),
        ('<annotations><image/></annotations>', '<annotations> in place of <annotation>'),
        (
            '<annotation><object><name>a</name><robndbox/></object></annotation>',
            'object 1: no <bndbox/xmin>',
        ),
    ],
)
def test_objects_elsewhere_are_a_fault(tmp_path, content, fault):
    assert read(tmp_path, content).faults == [fault]


def test_an_image_without_objects_is_none(tmp_path):
    found = read(tmp_path, '<annotation><filename>a.jpg</filename></annotation>')
    assert (found.faults, found.objects, found.tags) == ([], [], ('filename',))


@pytest.mark.parametrize(
    'content',
    [
        b'one\ntwo a\n',
        b' one \r\n\r\ntwo a\r\n',
        codecs.BOM_UTF8 + b'one\r\ntwo a',
        'one\r\ntwo a\r\n'.encode('utf-16'),
        'one\r\ntwo a\r\n'.encode('utf-16-le'),
        b'./one\ntwo a\n',
    ],
)
def test_lists(tmp_path, content):
    file = tmp_path / 'train.txt'
    file.write_bytes(content)
    assert voc_xml.read_names(file) == ['one', 'two a']


def test_a_list_that_is_no_utf8_is_told(tmp_path):
    file = tmp_path / 'train.txt'
    file.write_bytes('螺母'.encode('gbk'))
    with pytest.raises(InputError, match=r'train\.txt: cannot be read \(byte 0 is not UTF-8'):
        voc_xml.read_names(file)


@pytest.mark.parametrize('name', ['../a', 'b/../../a'])
def test_a_list_that_leads_out_is_refused(tmp_path, name):
    file = tmp_path / 'train.txt'
    file.write_text(f'one\n{name}\n')
    with pytest.raises(InputError, match=r'leads out of the folder; write names within it'):
        voc_xml.read_names(file)


def test_a_pipe_is_no_xml_and_a_long_folder_has_no_file(tmp_path):
    os.mkfifo(tmp_path / 'a.xml')
    assert 'it is no regular file' in voc_xml.read(tmp_path / 'a.xml').unreadable
    assert voc_xml.find_files(tmp_path, ['a' * 5000 + '/b'], ('.xml',)).keys() == {'a'}


def test_files_are_found_by_name_without_suffix(tmp_path):
    names = ['a.b', 'sub/c', 'x', '../out', str(tmp_path / 'y')]
    paths = ['a.b.TIF', 'sub/c.webp', 'sub/d.bmp', 'x.png', 'x.JPG', 'y.txt', '../out.jpeg']
    folder = tmp_path / 'JPEGImages'
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    found = voc_xml.find_files(folder, names, IMAGE_SUFFIXES)
    assert {name: path.relative_to(folder).as_posix() for name, path in found.items()} == {
        'a.b': 'a.b.TIF',
        'x': 'x.JPG',
        'sub/c': 'sub/c.webp',
        'sub/d': 'sub/d.bmp',
        '../out': '../out.jpeg',
    }


def test_an_absolute_name_finds_no_file(tmp_path):
    (tmp_path / 'a.xml').touch()
    names = ['a', str(tmp_path / 'a')]
    assert voc_xml.find_files(tmp_path, names, ('.xml',)) == {'a': tmp_path / 'a.xml'}
