"""Reads COCO instance annotations and refuses what is not: structure, types, ids, references.

Each :class:`InputError` names the file, how many entries are at fault, the first and the cure.
"""

import functools
import gc
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmscratch.errors import InputError

Rows = list[dict[str, Any]]

_SECTIONS = ('images', 'annotations', 'categories')
_CURES = {
    'area': ' (the area of its mask, or width x height of its box)',
    'iscrowd': ', 0 for a single object',
    'width': ', its width in pixels',
    'height': ', its height in pixels',
    'bbox': ' [x, y, width, height]',
}


@dataclass(frozen=True)
class Summary:
    """What is remembered of a file: its SHA-256, and its annotations by category name."""

    sha256: str
    objects: dict[str, int]


def load(file: Path) -> tuple[Rows, Rows, Rows, str]:
    """Images, annotations and categories, none of them empty, and the SHA-256 of the file.

    Ids are unique whole numbers and refer to something, names are unique, images have a size.
    Boxes and masks are not looked at.

    A file is parsed once: until :func:`forget` the same lists are returned again, unless it has
    changed on disk.
    """
    return _load(*_identity(file))


def summary(file: str | os.PathLike) -> Summary | None:
    """The summary of a file that :func:`load` has read, None if it has not, or has changed since.

    It outlasts :func:`forget`.
    """
    return _summaries.get(_identity(file))


def forget() -> None:
    """Let go of the parsed files, of which a large one takes gigabytes."""
    _load.cache_clear()


_summaries: dict[tuple[Path, int, int], Summary] = {}


def _identity(file: str | os.PathLike) -> tuple[Path, int, int]:
    """Path, size in bytes and time of change in nanoseconds."""
    file = Path(file)
    try:
        status = file.stat()
    except OSError:
        return file, 0, 0  # reading it tells
    return file, status.st_size, status.st_mtime_ns


@functools.cache
def _load(file: Path, size: int, changed: int) -> tuple[Rows, Rows, Rows, str]:
    data, sha256 = _read(file)
    images, annotations, categories = _sections(data, file)
    _check_categories(categories, file)
    _check_images(images, file)
    _check_references(images, annotations, categories, file)
    counts = Counter(row['category_id'] for row in annotations)
    objects = {category['name']: counts[category['id']] for category in categories}
    _summaries[file, size, changed] = Summary(sha256, objects)
    return images, annotations, categories, sha256


def _read(file: Path) -> tuple[Any, str]:
    """The parsed JSON and the SHA-256 of its bytes."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f'{file}: cannot be read ({error.strerror}); put the data there, or name their folder '
            f'with --data DIR'
        ) from None
    not_numbers: list[str] = []
    collects = gc.isenabled()
    # millions of new objects, none of them garbage, would be gone through again and again
    gc.disable()
    try:
        # NaN and Infinity are not JSON, but Python reads and writes them.
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
    finally:
        if collects:
            gc.enable()
    if not_numbers:
        raise InputError(_name_not_numbers(file, content, not_numbers))
    return data, hashlib.sha256(content).hexdigest()


def _name_not_numbers(file: Path, content: bytes, found: list[str]) -> str:
    message = f'{file}: {len(found)} values are {" or ".join(sorted(set(found)))}'
    data = json.loads(content)
    for row in data.get('annotations', []) if isinstance(data, dict) else []:
        if re.search(r'[:\[ ](NaN|-?Infinity)', json.dumps(row)):
            message += f', the first in annotation {row.get("id")}'
            break
    return f'{message}; correct or remove them'


def _sections(data: Any, file: Path) -> tuple[Rows, Rows, Rows]:
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
    return data['images'], data['annotations'], data['categories']


def column(rows: Rows, section: str, key: str, kind: type | tuple[type, ...], file: Path) -> list:
    """The values of `key`; InputError where one is missing or of another type."""
    kinds = set(kind) if isinstance(kind, tuple) else {kind}
    values = [row.get(key) for row in rows]
    if set(map(type, values)) <= kinds:
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
    for name in names:
        if not _is_text(name):
            raise InputError(
                f'{file}: category name {name!r} holds half of a character; write it again'
            )
    _refuse_duplicates(
        [name.strip() for name in names], 'category names, but for white space around them,', file
    )


def _is_text(name: str) -> bool:
    """Whether it can be written to a file; JSON may hold half of a pair of surrogates."""
    return not any('\ud800' <= letter <= '\udfff' for letter in name)


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


def _check_references(images: Rows, annotations: Rows, categories: Rows, file: Path) -> None:
    ids = column(annotations, 'annotations', 'id', int, file)
    _refuse_duplicates(ids, 'annotation ids', file)
    for key, rows, target in (
        ('image_id', images, 'images'),
        ('category_id', categories, 'categories'),
    ):
        known = {row['id'] for row in rows}
        values = column(annotations, 'annotations', key, int, file)
        unknown = [i for i, value in enumerate(values) if value not in known]
        if unknown:
            first = annotations[unknown[0]]
            raise InputError(
                f'{file}: {len(unknown)} annotations have a {key} that is not among the {target}, '
                f'the first is annotation {first["id"]} with {key} {first[key]}; '
                f"add it to '{target}' or remove these annotations"
            )
