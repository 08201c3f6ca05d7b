"""Repairs a split in place and records every fault; page and copy both use the result.

Rows that cannot be used are taken out, values that can be known are put in. Nothing is invented:
labels that are missing stay missing, and are told.
"""

import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from mmscratch.data.coco_json import Rows
from mmscratch.data.mask_table import MaskTable, whole_polygons
from mmscratch.data.pixels import MISSING
from mmscratch.errors import InputError
from mmscratch.visualization.folder_check.finding import Findings
from mmscratch.visualization.folder_check.split import Split

_FARTHEST = 1e9  # a number of pixels is no larger
_AT_A_TIME = 256  # boxes that are compared with all others, which bounds the memory
_DOUBLE = 0.9  # IoU of two boxes of a class that may be of the same object


def tidy_images(split: Split, findings: Findings) -> None:
    """Keep images with an id and a name of their own; of a name that is listed twice the first."""
    kept: dict[str, dict[str, Any]] = {}
    ids: dict[Any, Any] = {}
    for row in split.images:
        name, number = row.get('file_name'), row.get('id')
        if not (_is_int(number) and isinstance(name, str) and name) or number in ids:
            findings.add('entry', split.name, f'image {number} ({name})')
        elif name in kept:
            findings.add('listed twice', split.name, name)
            ids[number] = kept[name]['id']
        else:
            kept[name] = row
            ids[number] = number
    split.images = list(kept.values())
    for row in split.annotations:
        row['image_id'] = ids.get(row['image_id']) if _is_int(row.get('image_id')) else None
        if not _is_int(row.get('category_id')):
            row['category_id'] = None


def tidy_objects(split: Split, findings: Findings) -> None:
    """Keep loadable images and sound objects; ``split.pixels`` are known, names are tidy."""
    images = []
    for row in split.images:
        pixels = split.pixels[row['file_name']]
        if pixels.fault:
            if pixels.fault == MISSING:
                findings.add('missing', split.name, row['file_name'])
            else:
                findings.add('broken', split.name, f'{row["file_name"]}, which {pixels.fault}')
            continue
        said, true = (row.get('width'), row.get('height')), (pixels.width, pixels.height)
        # an XML file may leave the size out
        if said != true and (said != (None, None) or split.file.suffix == '.json'):
            findings.add(
                'size', split.name, f'{row["file_name"]}: {_size(said)}, the file is {_size(true)}'
            )
        row['width'], row['height'] = true
        images.append(row)
    left_out = {row['id'] for row in split.images} - {row['id'] for row in images}
    split.images = images
    known = {row['id']: row for row in images}
    categories = {row['id'] for row in split.categories}
    objects: Rows = []
    ids: set[int] = set()
    largest = max((r['id'] for r in split.annotations if _is_int(r.get('id'))), default=0)
    unused = itertools.count(largest + 1)
    for row in split.annotations:
        if row.get('image_id') in left_out:
            continue
        if row.get('image_id') not in known or row.get('category_id') not in categories:
            findings.add('entry', split.name, f'annotation {row.get("id")} without image or class')
            continue
        if not _is_int(row.get('id')) or row['id'] in ids:
            findings.add(
                'id', split.name, f'{row.get("id")} on {known[row["image_id"]]["file_name"]}'
            )
            row['id'] = next(unused)
        ids.add(row['id'])
        objects.append(row)
    split.annotations = objects
    _tidy_boxes(split, known, findings)
    _find_doubles(split, known, findings)
    _tidy_masks(split, findings)


def _tidy_boxes(split: Split, images: dict[int, dict[str, Any]], findings: Findings) -> None:
    objects: Rows = []
    seen: set[tuple] = set()
    # single boxes within 0..1 are faulty; if all are, they are shares of the image
    shares = bool(split.annotations) and all(_within_1(row) for row in split.annotations)
    for row in split.annotations:
        image = images[row['image_id']]
        box: Any = row.get('bbox')
        told = f'annotation {row["id"]} of {image["file_name"]}: {box}'
        width, height = image['width'], image['height']
        if not _is_box(box):
            findings.add('bad box', split.name, told)
            continue
        if shares:
            findings.add('normalised', split.name, told)
            box = [box[0] * width, box[1] * height, box[2] * width, box[3] * height]
            row['area'] = None
        x1, y1 = max(0, box[0]), max(0, box[1])
        x2, y2 = min(width, box[0] + box[2]), min(height, box[1] + box[3])
        if box[2] <= 0 or box[3] <= 0 or x2 <= x1 or y2 <= y1:
            findings.add('bad box', split.name, f'{told}, image {_size((width, height))}')
            continue
        if min(box[2], box[3]) < 1:
            findings.add('thin', split.name, told)
            continue
        key = (row['image_id'], row['category_id'], *box)
        if key in seen and not row.get('iscrowd'):
            findings.add('twice', split.name, told)
            continue
        seen.add(key)
        if min(box[0], box[1], width - box[0] - box[2], height - box[1] - box[3]) < -1:
            findings.add('beyond', split.name, f'{told}, image {_size((width, height))}')
            box = [x1, y1, x2 - x1, y2 - y1]
        row['bbox'] = box
        area: Any = row.get('area')
        crowd = row.get('iscrowd')
        if not (_is_number(area) and area > 0 and crowd in (0, 1)):
            if not shares:
                findings.add('area', split.name, f'annotation {row["id"]}: {area}, {crowd}')
            row['area'] = area if _is_number(area) and area > 0 else box[2] * box[3]
        row['iscrowd'] = int(crowd in (1, '1'))
        if row['iscrowd'] or row.get('ignore'):
            findings.add('crowd', split.name, told)
        objects.append(row)
    split.annotations = objects


def _find_doubles(split: Split, images: dict[int, dict[str, Any]], findings: Findings) -> None:
    of_class: dict[tuple[int, int], Rows] = defaultdict(list)
    for row in split.annotations:
        if not row['iscrowd']:
            of_class[row['image_id'], row['category_id']].append(row)
    for (image, _), rows in of_class.items():
        if len(rows) == 1:
            continue
        boxes = np.array([row['bbox'] for row in rows], float)
        for start in range(0, len(rows), _AT_A_TIME):
            some = boxes[start : start + _AT_A_TIME]
            overlaps = np.triu(mask_utils.iou(some, boxes[start:], [0] * len(rows[start:])), 1)
            for i, j in zip(*np.nonzero(overlaps >= _DOUBLE)):
                told = f'annotations {rows[start + i]["id"]} and {rows[start + j]["id"]}'
                findings.add('double', split.name, f'{told} of {images[image]["file_name"]}')


def _tidy_masks(split: Split, findings: Findings) -> None:
    rows = split.annotations
    if not any(row.get('segmentation') for row in rows):
        return
    images = {row['id']: row for row in split.images}
    for row in _malformed(images, rows, split.file):
        findings.add('bad mask', split.name, f'that of annotation {row["id"]}')
        del row['segmentation']
    table = MaskTable(split.images, rows, split.file)
    if table.normalised.any():
        for number in table.normalised.nonzero()[0]:
            row = rows[number]
            sides = [images[row['image_id']][side] for side in ('width', 'height')]
            findings.add('normalised', split.name, f'the mask of annotation {row["id"]}')
            row['segmentation'] = [
                [x * side for x, side in zip(part, itertools.cycle(sides))]
                for part in row['segmentation']
            ]
        table = MaskTable(split.images, rows, split.file)
    for number in table.short.nonzero()[0]:
        findings.add('short mask', split.name, f'that of annotation {rows[number]["id"]}')
        rows[number]['segmentation'] = whole_polygons(rows[number]['segmentation'])
    for number in (table.usable & table.empty).nonzero()[0]:
        findings.add('empty mask', split.name, f'that of annotation {rows[number]["id"]}')
    if table.usable.any():
        for row in rows:
            if not row.get('segmentation'):
                findings.add('no mask', split.name, f'annotation {row["id"]}')


def _malformed(images: dict[int, dict[str, Any]], rows: Rows, file: Path) -> Rows:
    """The rows whose segmentation is no mask; halves are asked until single ones are known."""
    try:
        MaskTable([images[row['image_id']] for row in rows], rows, file)
    except InputError:
        if len(rows) == 1:
            return rows
        half = len(rows) // 2
        return _malformed(images, rows[:half], file) + _malformed(images, rows[half:], file)
    return []


def tidy_classes(splits: Sequence[Split], findings: Findings) -> None:
    """Give all splits one list of classes, in the order of the first split's."""
    objects: Counter[str] = Counter()
    for split in splits:
        split.categories = _sound_categories(split, findings)
        names = {row['id']: row['name'] for row in split.categories}
        objects.update(names.get(row.get('category_id'), '') for row in split.annotations)
    # by what is left without white space around, case and Unicode form: the name of most objects
    chosen: dict[str, str] = {}
    for split in splits:
        for name in split.classes:
            if objects[name] > objects[chosen.setdefault(_key(name), name)]:
                chosen[_key(name)] = name
    first = splits[0].classes
    for split in splits[1:]:
        if split.file.suffix == '.json' and split.classes != first:
            odd = sorted({*split.classes} ^ {*first}) or ['another order']
            for name in odd:
                findings.add('lists', split.name, repr(name))
    # a class keeps the id and the other entries (keypoints, for one) of the first split that has it
    rows: dict[str, dict[str, Any]] = {}
    unused = itertools.count(1 + max((r['id'] for s in splits for r in s.categories), default=0))
    for row in (row for split in splits for row in split.categories):
        if (key := _key(row['name'])) not in rows:
            taken = any(row['id'] == other['id'] for other in rows.values())
            number = next(unused) if taken else row['id']
            rows[key] = dict(row, id=number, name=chosen[key].strip())
    for split in splits:
        known: dict[Any, int] = {}
        for row in split.categories:
            same = rows[_key(row['name'])]
            known[row['id']] = same['id']
            if row['name'] != same['name']:
                findings.add('names', split.name, f'{row["name"]!r} and {same["name"]!r}')
        for row in split.annotations:
            row['category_id'] = known.get(row.get('category_id'))
        split.categories = list(rows.values())


def _sound_categories(split: Split, findings: Findings) -> Rows:
    kept: dict[Any, dict[str, Any]] = {}
    for row in split.categories:
        name, number = row.get('name'), row.get('id')
        if not (_is_int(number) and isinstance(name, str) and name.strip()) or number in kept:
            findings.add('entry', split.name, f'category {number} ({name!r})')
        else:
            kept[number] = row
    return list(kept.values())


def leave_out(split: Split, names: set[str]) -> None:
    """Take images out, by name, with their objects."""
    ids = {row['id'] for row in split.images if row['file_name'] in names}
    split.images = [row for row in split.images if row['id'] not in ids]
    split.annotations = [row for row in split.annotations if row['image_id'] not in ids]


def _key(name: str) -> str:
    return unicodedata.normalize('NFC', ' '.join(name.split())).casefold()


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # NaN is in no range
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FARTHEST
    )


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _within_1(row: dict[str, Any]) -> bool:
    box: Any = row.get('bbox')
    return _is_box(box) and min(box) >= 0 and max(box) <= 1


def _size(sides: tuple[Any, Any]) -> str:
    return f'{sides[0]} x {sides[1]}'
