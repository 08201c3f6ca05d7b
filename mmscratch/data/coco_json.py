"""Reads COCO annotation files, and checks their structure, types, ids and references.

Each :class:`InputError` names the file, how many entries are at fault, the first and the cure.
"""

import gc
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from mmscratch.data.mask_table import MaskTable
from mmscratch.errors import InputError
from mmscratch.process import regular_file

Rows = list[dict[str, Any]]

_SECTIONS = ('images', 'annotations', 'categories')
_LARGE = 1_000_000  # bytes
_WORD = 2**64  # numpy's integers end here
_CURES = {
    'area': ' (the area of its mask, or width x height of its box)',
    'iscrowd': ', 0 for a single object',
    'width': ', its width in pixels',
    'height': ', its height in pixels',
    'bbox': ' [x, y, width, height]',
}


class CocoJson(dict):
    """The content of a file: ``images``, ``annotations`` and ``categories``, none of them empty.

    Ids are unique whole numbers and refer to something, names are unique, images have a size.
    Boxes are not checked; masks are when they are asked for.
    """

    def __init__(self, content: dict[str, Any], file: Path, sha256: str) -> None:
        super().__init__(content)
        self.file = file
        self.sha256 = sha256
        _check_categories(self['categories'], file)
        _check_images(self['images'], file)
        _check_references(self, file)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the categories, in the order of MMDetection's labels."""
        return tuple(row['name'] for row in self['categories'])

    @cached_property
    def masks(self) -> MaskTable:
        """The segmentations; InputError where one is no mask."""
        return MaskTable(self['images'], self['annotations'], self.file)


@dataclass(frozen=True)
class Summary:
    """What is kept of a file: its SHA-256, and its number of annotations by category name."""

    sha256: str
    objects: dict[str, int]


# real path, size in bytes and time of change in nanoseconds
_Identity = tuple[str, int, int]
_held: dict[_Identity, CocoJson] = {}
_in_use: WeakValueDictionary[_Identity, CocoJson] = WeakValueDictionary()
_summaries: dict[_Identity, Summary] = {}


def load(file: str | os.PathLike) -> CocoJson:
    """The content of a file, which stays in memory until :func:`release`.

    A file is not parsed again as long as anyone has its content and it does not change on disk.

    Raises:
        InputError: the file cannot be read, or is not what :class:`CocoJson` says.
    """
    try:
        key = _identity(file)
        content = _in_use.get(key) or _read(Path(file))
    except OSError as error:
        raise _unreadable(file, error) from None
    if key not in _summaries:
        _summaries[key] = Summary(content.sha256, count_objects(content))
    _in_use[key] = _held[key] = content
    return content


def release(file: str | os.PathLike) -> None:
    """Free a file's content, which takes gigabytes if it is large. Its summary stays."""
    _held.pop(_identity(file), None)


def keep(files: Iterable[str | os.PathLike]) -> None:
    """Free the content of all files but these."""
    wanted = {_identity(file) for file in files if os.path.exists(file)}
    for key in _held.keys() - wanted:
        del _held[key]


def summary(file: str | os.PathLike) -> Summary | None:
    """The summary of a file that :func:`load` has read; None if it has not, or has changed."""
    try:
        return _summaries.get(_identity(file))
    except OSError:
        return None


def count_objects(content: Mapping[str, Rows]) -> dict[str, int]:
    """The number of annotations by category name, in the order of the file."""
    counts = Counter(row['category_id'] for row in content.get('annotations', []))
    return {row['name']: counts[row['id']] for row in content['categories']}


def _identity(file: str | os.PathLike) -> _Identity:
    status = os.stat(file)
    return os.path.realpath(file), status.st_size, status.st_mtime_ns


def _read(file: Path) -> CocoJson:
    content, sha256 = parse(file)
    return CocoJson(content, file, sha256)


def parse(file: Path) -> tuple[dict[str, Any], str]:
    """The content of a file that has COCO's sections, unchecked, and the SHA-256 of the file.

    Raises:
        InputError: the file cannot be read, is no JSON, or lacks a section.
    """
    try:
        content = regular_file.read_bytes(file)
    except OSError as error:
        raise _unreadable(file, error) from None
    collects = gc.isenabled()
    # The collector would go through millions of new objects again and again; none is garbage.
    gc.disable()
    try:
        try:
            data = msgspec.json.decode(content)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            data = _read_slowly(file, content)
    finally:
        if collects:
            if len(content) > _LARGE:
                # nor look at them later; each is freed with its last reference all the same
                gc.freeze()
            gc.enable()
    return _sections(data, file), hashlib.sha256(content).hexdigest()


def _unreadable(file: str | os.PathLike, error: OSError) -> InputError:
    return InputError(
        f'{file}: cannot be read ({error.strerror}); put the data there, or name their folder with '
        '--data DIR'
    )


def _read_slowly(file: Path, content: bytes) -> Any:
    """Parse with Python's json, which says where the fault is that msgspec stopped at."""
    not_numbers: list[str] = []
    try:
        # NaN and Infinity are not JSON, but Python writes and reads them.
        data = json.loads(content.decode(), parse_constant=not_numbers.append)
    except UnicodeDecodeError as error:
        raise InputError(
            f'{file}: not UTF-8 text from byte {error.start} on; write the file as UTF-8'
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f'{file}: broken JSON at line {error.lineno}, column {error.colno} ({error.msg}); '
            f'the file has {len(content)} bytes: write or download it again'
        ) from None
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or lists within lists
        raise InputError(f'{file}: cannot be read ({error}); write the file again') from None
    if not_numbers:
        raise InputError(_name_not_numbers(file, content, not_numbers))
    return data


def _name_not_numbers(file: Path, content: bytes, found: list[str]) -> str:
    message = f'{file}: {len(found)} values are {" or ".join(sorted(set(found)))}'
    data = json.loads(content)
    rows = data.get('annotations') if isinstance(data, dict) else None
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and re.search(r'[:\[ ](NaN|-?Infinity)', json.dumps(row)):
            message += f', the first in annotation {row.get("id")}'
            break
    return f'{message}; correct or remove them'


def _sections(data: Any, file: Path) -> dict[str, Any]:
    """The data, if they have all sections."""
    if not isinstance(data, dict):
        raise InputError(
            f'{file}: holds a {type(data).__name__}, not an object with the keys '
            f'{", ".join(_SECTIONS)}; give COCO instance annotations'
        )
    for key in _SECTIONS:
        if key not in data:
            present = ', '.join(list(data)[:8]) or 'none'
            raise InputError(f"{file}: has no '{key}' (keys: {present}); add the list '{key}'")
        rows = data[key]
        if not isinstance(rows, list) or not set(map(type, rows)) <= {dict}:
            raise InputError(f"{file}: '{key}' is not a list of objects; write it as COCO does")
        if not rows:
            raise InputError(f"{file}: '{key}' is empty; give a data set that has some")
    return data


def column(rows: Rows, section: str, key: str, kind: type | tuple[type, ...], file: Path) -> list:
    """The values of `key`; InputError where one is missing or of another type."""
    kinds = set(kind) if isinstance(kind, tuple) else {kind}
    values: list[Any] = [row.get(key) for row in rows]
    if set(map(type, values)) <= kinds:
        if int in kinds and max(map(abs, values), default=0) >= _WORD:
            raise InputError(
                f'{file}: the {key} of some {section} is beyond {_WORD:.1e}; correct it'
            )
        return values
    wrong = [i for i, value in enumerate(values) if type(value) not in kinds]
    first = rows[wrong[0]]
    state = f'{key}={first[key]!r}' if key in first else f"no '{key}'"
    names = ' or '.join(sorted(k.__name__ for k in kinds))
    raise InputError(
        f'{file}: {len(wrong)} of {len(rows)} {section} lack a proper {key}, the first is '
        f'{section}[{wrong[0]}] (id {first.get("id")}) with {state}; '
        f'give each one a {names}{_CURES.get(key, "")}'
    )


def _refuse_duplicates(values: Sequence[Hashable], what: str, file: Path) -> None:
    if len(set(values)) < len(values):
        twice = [value for value, count in Counter(values).items() if count > 1]
        raise InputError(
            f'{file}: {len(twice)} {what} occur more than once, the first is {twice[0]!r}; '
            f'make them unique'
        )


def _check_categories(categories: Rows, file: Path) -> None:
    _refuse_duplicates(column(categories, 'categories', 'id', int, file), 'category ids', file)
    names = column(categories, 'categories', 'name', str, file)
    _refuse_duplicates(names, 'category names', file)
    # JSON may hold half of a surrogate pair, which cannot be written to a file
    if broken := [name for name in names if re.search('[\ud800-\udfff]', name)]:
        raise InputError(
            f'{file}: category name {broken[0]!r} holds half of a character; write it again'
        )
    _refuse_duplicates(
        [name.strip() for name in names], 'category names, but for white space around them,', file
    )


def _check_images(images: Rows, file: Path) -> None:
    _refuse_duplicates(column(images, 'images', 'id', int, file), 'image ids', file)
    _refuse_duplicates(column(images, 'images', 'file_name', str, file), 'image file names', file)
    for side in ('width', 'height'):
        lengths = column(images, 'images', side, int, file)
        if min(lengths) < 1:
            first = images[[length < 1 for length in lengths].index(True)]
            raise InputError(
                f"{file}: image '{first['file_name']}' has {side} {first[side]}; "
                f'write its size in pixels'
            )


def _check_references(content: dict[str, Rows], file: Path) -> None:
    annotations = content['annotations']
    ids = column(annotations, 'annotations', 'id', int, file)
    _refuse_duplicates(ids, 'annotation ids', file)
    for key, target in (('image_id', 'images'), ('category_id', 'categories')):
        known = {row['id'] for row in content[target]}
        values = column(annotations, 'annotations', key, int, file)
        unknown = [i for i, value in enumerate(values) if value not in known]
        if unknown:
            first = annotations[unknown[0]]
            raise InputError(
                f'{file}: {len(unknown)} annotations have a {key} that is not among the {target}, '
                f'the first is annotation {first["id"]} with {key} {first[key]}; '
                f"add it to '{target}' or remove these annotations"
            )
