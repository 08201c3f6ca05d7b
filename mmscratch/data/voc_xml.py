"""Reads what a folder in PASCAL VOC layout holds: lists of names, XML files, names of images."""

import os
import posixpath
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmscratch.data import xml_file
from mmscratch.errors import InputError
from mmscratch.process import regular_file

_MOST_PIXELS = 10**9  # larger numbers do not fit into MMDetection's integers


@dataclass(frozen=True)
class VocObject:
    """One object; `corners` are xmin, ymin, xmax, ymax of the file, which count pixels from 1."""

    name: str
    difficult: bool
    corners: tuple[float, float, float, float]

    @property
    def box(self) -> tuple[int, ...]:
        """x1, y1, x2, y2 in pixels from 0, as MMDetection's XMLDataset has it."""
        return tuple(int(value) - 1 for value in self.corners)

    @property
    def is_normalised(self) -> bool:
        """Whether the corners are fractions of the image's size, not pixels."""
        x1, y1, x2, y2 = self.corners
        return 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1

    def is_usable(self, width: int, height: int) -> bool:
        """Whether the box has area, and some of it in an image of that size (in pixels)."""
        x1, y1, x2, y2 = self.box
        return x1 < x2 and y1 < y2 and x1 < width and y1 < height and x2 > 0 and y2 > 0

    def is_under(self, pixels: int | None) -> bool:
        """Whether a side is shorter, in the way of XMLDataset's ``bbox_min_size``."""
        x1, y1, x2, y2 = self.box
        return min(x2 - x1, y2 - y1) < (pixels or 0)


@dataclass
class VocXml:
    """What one XML file says; `content` are its bytes.

    `size` is (width, height) in pixels, None where the file gives none. `tags` are those directly
    below the root. `unreadable` says why the file cannot be read at all, `faults` which of its
    entries cannot.
    """

    content: bytes = b''
    size: tuple[int, int] | None = None
    objects: list[VocObject] = field(default_factory=list)
    tags: tuple[str, ...] = ()
    unreadable: str = ''
    faults: list[str] = field(default_factory=list)


def read_names(list_file: Path) -> list[str]:
    """The names in a list of images, one a line, without suffix; InputError for an empty list."""
    try:
        # a name may contain spaces
        lines = xml_file.decode(regular_file.read_bytes(list_file)).splitlines()
    except (OSError, ValueError, LookupError) as error:
        raise InputError(
            f'{list_file}: cannot be read ({error}); write one name a line, as UTF-8 text'
        ) from None
    names = [posixpath.normpath(line.strip()) for line in lines if line.strip()]
    if not names:
        raise InputError(f'{list_file}: lists no image; write one name a line, without suffix')
    if out := next((name for name in names if name.startswith('../')), None):
        raise InputError(f'{list_file}: {out} leads out of the folder; write names within it')
    return names


def find_files(folder: Path, names: Iterable[str], suffixes: Sequence[str]) -> dict[str, Path]:
    """Map names without suffix to files; only sub-folders that `names` mention are searched.

    The case of a suffix doesn't matter. Of two files of one name the first suffix counts.
    """
    found: dict[str, Path] = {}
    # one listing a folder: to ask for each file is slow on network disks
    for parent in {'', *map(posixpath.dirname, names)}:
        if posixpath.isabs(parent) or not os.path.isdir(folder / parent):
            continue
        files = [path for path in (folder / parent).iterdir() if path.suffix.lower() in suffixes]
        files.sort(key=lambda path: (suffixes.index(path.suffix.lower()), path), reverse=True)
        found |= {posixpath.join(parent, path.stem): path for path in files}
    return found


def read(file: Path) -> VocXml:
    """Read an XML file; faults are in the result, nothing is raised."""
    try:
        content = regular_file.read_bytes(file)
        root = xml_file.parse(content)
    except (OSError, ValueError, LookupError, ET.ParseError) as error:
        return VocXml(unreadable=str(error))
    for node in root.iter():  # in lower case, without namespace
        node.tag = node.tag.rpartition('}')[2].lower()
    found = VocXml(content, tags=tuple(dict.fromkeys(node.tag for node in root)))
    try:
        if (size := root.find('size')) is not None:
            found.size = int(_number(size, 'width')), int(_number(size, 'height'))
    except ValueError as fault:
        found.faults.append(str(fault))
    for number, node in enumerate(root.findall('object'), 1):
        try:
            found.objects.append(_object(node))
        except ValueError as fault:
            found.faults.append(f'object {number}: {fault}')
    if 'object' not in found.tags:
        if any(node.tag in ('object', 'bndbox') for node in root.iter()):
            found.faults.append(f'no <object> directly below <{root.tag}>, but boxes elsewhere')
        elif root.tag != 'annotation':
            found.faults.append(f'<{root.tag}> in place of <annotation>')
    return found


def _object(node: ET.Element) -> VocObject:
    left, top, right, bottom = (
        _number(node, f'bndbox/{key}') for key in ('xmin', 'ymin', 'xmax', 'ymax')
    )
    return VocObject(
        name=_text(node, 'name'),
        difficult=bool((node.findtext('difficult') or '').strip() and _number(node, 'difficult')),
        corners=(left, top, right, bottom),
    )


def _text(node: ET.Element, path: str) -> str:
    """The text of an element below `node`, in a line; ValueError if there is none."""
    if text := ' '.join(node.findtext(path, '').split()):
        return text
    raise ValueError(f'no <{path}>')


def _number(node: ET.Element, path: str) -> float:
    """The finite number in an element below `node`; ValueError tells what is wrong with it."""
    text = _text(node, path)
    try:
        number = float(text)
        int(number)
    except (ValueError, OverflowError):
        raise ValueError(f'<{path}> is {text!r}, not a number') from None
    if abs(number) > _MOST_PIXELS:
        raise ValueError(f'<{path}> is {text!r}, no number of pixels')
    return number
