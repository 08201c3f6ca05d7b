"""The boxes of a COCO annotation file as arrays."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmscratch.data.coco_json import Rows, column
from mmscratch.errors import InputError

# Why an object is no object to train on, two of the reasons.
THIN, IGNORED = 'boxes are thinner than 1 pixel', 'are marked to be ignored'
_SMALL, _LARGE = 32**2, 96**2  # COCO's limits of object area, in square pixels.


class BoxTable:
    """All boxes of a file as arrays of one row an annotation."""

    def __init__(self, images: Rows, annotations: Rows, categories: Rows, file: Path) -> None:
        self.file = file
        self.annotations = annotations
        self.categories = categories
        self.image_of = {image['id']: image for image in images}
        self.boxes = self._read_boxes()
        areas = column(annotations, 'annotations', 'area', (int, float), file)
        self.area = _floats(areas, 'areas', file)
        # Pycocotools reads iscrowd of every object at the end of the first validation.
        self.crowd = np.array(column(annotations, 'annotations', 'iscrowd', (int, bool), file))
        self.usable = np.ones(len(annotations), bool)
        self.reasons: dict[str, np.ndarray] = {}

    def _read_boxes(self) -> np.ndarray:
        values = column(self.annotations, 'annotations', 'bbox', list, self.file)
        wrong = [
            i
            for i, box in enumerate(values)
            if len(box) != 4 or not set(map(type, box)) <= {int, float}
        ]
        if wrong:
            first = self.annotations[wrong[0]]
            raise InputError(
                f'{self.file}: {len(wrong)} boxes are not four numbers, the first is that of '
                f'annotation {first["id"]}: {first["bbox"]}; write [x, y, width, height]'
            )
        return _floats(values, 'boxes', self.file)

    def check(self, drop_bad_boxes: bool) -> list[str]:
        """Refuse boxes nobody can train on, or with `drop_bad_boxes` note them.

        Sets `usable`, (annotations,) bool, and `reasons`, why the others are not.
        """
        sizes = [
            (image['width'], image['height'])
            for image in (self.image_of[row['image_id']] for row in self.annotations)
        ]
        limit = _floats(sizes, 'sizes of images', self.file)
        start, extent = self.boxes[:, :2], self.boxes[:, 2:]
        overlap = np.minimum(start + extent, limit) - np.maximum(start, 0)
        no_area = (extent <= 0).any(1) | (self.area <= 0)
        bad = no_area | (overlap <= 0).any(1) | ~np.isfinite(self.boxes).all(1)
        if self._are_normalised(limit):
            raise InputError(
                f'{self.file}: no object of {len(bad)} can be trained on or found: all boxes lie '
                'within 0..1, as shares of their image; write pixels [x, y, width, height]'
            )
        if bad.any() and not drop_bad_boxes:
            raise InputError(self._describe_bad(bad, no_area))

        thin = ~bad & (extent < 1).any(1)
        # COCO's own boxes are rounded to 0.01 pixel, other tools count the last pixel in.
        beyond = ~bad & ((start < -1) | (start + extent > limit + 1)).any(1)
        ignored = np.array([bool(row.get('ignore')) for row in self.annotations])
        self.leave_out(bad, 'boxes lie outside their image or have no area')
        self.leave_out(thin, THIN)
        self.leave_out(ignored, IGNORED)
        self.leave_out(self.crowd.astype(bool), 'are crowds')
        told = (
            (bad, 'lie outside their image or have no area: left out of training'),
            (thin, 'are thinner than 1 pixel: MMDetection leaves them out of training'),
            (beyond, 'stick out of their image by more than 1 pixel: MMDetection clips them'),
        )
        return [f'{mask.sum()} boxes {what}' for mask, what in told if mask.any()]

    def leave_out(self, objects: np.ndarray, why: str) -> None:
        """Take `objects`, (annotations,) bool, from the usable ones; those of them say why."""
        self.reasons[why] = self.usable & objects
        self.usable = self.usable & ~objects

    def _are_normalised(self, limit: np.ndarray) -> bool:
        """Whether all boxes lie within 0..1, in images of more than 1 pixel.

        Some tools write the centre in place of the corner, so that the far end can lie beyond 1.
        """
        return bool((self.boxes >= 0).all() and (self.boxes <= 1).all() and (limit > 1).all())

    def _describe_bad(self, bad: np.ndarray, no_area: np.ndarray) -> str:
        first = int(np.flatnonzero(bad)[0])
        row = self.annotations[first]
        image = self.image_of[row['image_id']]
        fault = 'has no area' if no_area[first] else 'lies outside the image'
        return (
            f'{self.file}: {bad.sum()} of {len(bad)} boxes lie outside their image or have no '
            f"area, the first {fault}: annotation {row['id']} of '{image['file_name']}' "
            f'({image["width"]} x {image["height"]}) with bbox {row["bbox"]}, area {row["area"]}; '
            f'correct or remove them, or leave them out with --drop-bad-boxes (drop_bad_boxes=True)'
        )

    def instances(self) -> dict[str, int]:
        """Usable objects by class name, in the order of the category list."""
        ids = (row['category_id'] for row in self.annotations)
        counts = Counter(i for i, usable in zip(ids, self.usable) if usable)
        return {category['name']: counts[category['id']] for category in self.categories}

    def sizes(self) -> dict[str, int]:
        """Usable objects by COCO's three classes of area."""
        classes = np.digitize(self.area[self.usable], (_SMALL, _LARGE))
        small, medium, large = np.bincount(classes, minlength=3).tolist()
        return {'small': small, 'medium': medium, 'large': large}

    def crowding(self) -> list[tuple[int, int]]:
        """Usable objects of each image that has some: all, and those of its most frequent class."""
        counts: dict[int, Counter] = defaultdict(Counter)
        for row, usable in zip(self.annotations, self.usable):
            if usable:
                counts[row['image_id']][row['category_id']] += 1
        return [(count.total(), max(count.values())) for count in counts.values()]


def _floats(values: Sequence[Any], what: str, file: Path) -> np.ndarray:
    """The array of numbers; JSON has whole numbers of any length."""
    try:
        return np.array(values, float)
    except OverflowError:
        raise InputError(
            f'{file}: one of the {what} has a number of more than 308 digits; correct it'
        ) from None
