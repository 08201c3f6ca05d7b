"""Reads what a folder in PASCAL VOC layout holds: lists of names, XML files, names of images."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmscratch.errors import InputError

_SUFFIXES = ('.jpg', '.jpeg', '.png')  # of two images of one name the first counts


@dataclass(frozen=True)
class VocObject:
    """One object; `corners` are xmin, ymin, xmax, ymax of the file, which count pixels from 1."""

    name: str
    difficult: bool
    corners: tuple[int, int, int, int]

    @property
    def box(self) -> tuple[int, ...]:
        """x1, y1, x2, y2 in pixels from 0, as MMDetection's XMLDataset has it."""
        return tuple(value - 1 for value in self.corners)


@dataclass
class VocXml:
    """What one XML file says; `content` are its bytes.

    `size` is (width, height) in pixels, None where the file gives none. `unreadable` says why the
    file cannot be read at all, `faults` which of its entries cannot.
    """

    content: bytes = b''
    size: tuple[int, int] | None = None
    objects: list[VocObject] = field(default_factory=list)
    unreadable: str = ''
    faults: list[str] = field(default_factory=list)


def read_names(list_file: Path) -> list[str]:
    """The names in a list of images, one a line, without suffix; InputError for an empty list."""
    try:
        # not split at spaces: annotation tools keep those of the image's name; Windows adds a BOM
        lines = list_file.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f'{list_file}: cannot be read ({error}); write one name a line, as UTF-8 text'
        ) from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f'{list_file}: lists no image; write one name a line, without suffix')
    return names


def image_files(folder: Path) -> dict[str, str]:
    """Name without suffix -> file name, of the images in the folder."""
    # one listing: to ask for each file is slow on network disks
    files = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES]
    files.sort(key=lambda path: _SUFFIXES.index(path.suffix.lower()), reverse=True)
    return {path.stem: path.name for path in files}


def read(file: Path) -> VocXml:
    """Read an XML file; it raises nothing, faults are in the result."""
    try:
        content = file.read_bytes()
        root = ET.fromstring(content)
    except (OSError, ValueError, LookupError, ET.ParseError) as error:
        return VocXml(unreadable=str(error))
    found = VocXml(content)
    try:
        if (size := root.find('size')) is not None:
            found.size = _entry(size, 'width', int), _entry(size, 'height', int)
    except ValueError as fault:
        found.faults.append(str(fault))
    for number, node in enumerate(root.findall('object'), 1):
        try:
            found.objects.append(_object(node))
        except ValueError as fault:
            found.faults.append(f'object {number}: {fault}')
    return found


def _object(node: ET.Element) -> VocObject:
    corners = (_entry(node, f'bndbox/{key}', _pixel) for key in ('xmin', 'ymin', 'xmax', 'ymax'))
    return VocObject(
        name=_entry(node, 'name', str),
        difficult=node.find('difficult') is not None and _entry(node, 'difficult', int) != 0,
        corners=tuple(corners),
    )


def _pixel(text: str) -> int:
    """A whole number, in the way of XMLDataset."""
    return int(float(text))


def _entry(node: ET.Element, path: str, kind: Callable[[str], int | str]) -> int | str:
    """The value of an element below `node`; ValueError tells what is wrong with it."""
    text = node.findtext(path)
    try:
        if text:
            return kind(text)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f'no <{path}>' if not text else f'<{path}> is {text!r}, not a whole number')


def is_usable(box: Sequence[int], width: int, height: int) -> bool:
    """Whether the box x1, y1, x2, y2 (pixels from 0) has area, and some of it in the image."""
    x1, y1, x2, y2 = box
    return x1 < x2 and y1 < y2 and x1 < width and y1 < height and x2 > 0 and y2 > 0
