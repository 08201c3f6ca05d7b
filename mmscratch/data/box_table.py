"""The boxes of a COCO annotation file as arrays."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mmscratch.data.coco_json import Rows, column
from mmscratch.data.data_report import DataReport
from mmscratch.data.image_check import ImageFacts
from mmscratch.errors import InputError

# Two of the reasons why an object is not trained on.
THIN, IGNORED = 'boxes are thinner than 1 pixel', 'are marked to be ignored'
SIZE_LIMITS = 32**2, 96**2  # COCO's, of object area, in square pixels.
_LARGEST = 1e18  # its square fits into float32
_SIZES = ('small', 'medium', 'large')


class BoxTable:
    """All boxes of a file as arrays of one row an annotation.

    Attributes:
        boxes: x, y, width, height in pixels; (annotations, 4) float.
        area: in square pixels; (annotations,) float.
        image, category: positions in the file's lists; (annotations,) int.
        image_sizes: width, height in pixels; (images, 2) float.
        crowd, usable: (annotations,) bool. Objects that are not usable are not trained on.
        reasons: why the others are not usable; (annotations,) bool of each reason.
    """

    def __init__(self, images: Rows, annotations: Rows, categories: Rows, file: Path) -> None:
        self.file = file
        self.images = images
        self.annotations = annotations
        self.categories = categories
        self.image = _positions(images, annotations, 'image_id')
        self.category = _positions(categories, annotations, 'category_id')
        self.boxes = self._read_boxes()
        areas = column(annotations, 'annotations', 'area', (int, float), file)
        self.area = _floats(areas, 'areas', file)
        sides = [(image['width'], image['height']) for image in images]
        self.image_sizes = _floats(sides, 'sizes of images', file)
        # Pycocotools reads iscrowd of every object at the end of the first validation.
        crowd = column(annotations, 'annotations', 'iscrowd', (int, bool), file)
        self.crowd = np.array(crowd).astype(bool)
        self.usable = np.ones(len(annotations), bool)
        self.reasons: dict[str, np.ndarray] = {}

    def _read_boxes(self) -> np.ndarray:
        values = column(self.annotations, 'annotations', 'bbox', list, self.file)
        numbers = set(map(type, chain.from_iterable(values))) <= {int, float}
        if not (numbers and set(map(len, values)) == {4}):
            wrong = [
                i
                for i, box in enumerate(values)
                if len(box) != 4 or not set(map(type, box)) <= {int, float}
            ]
            first = self.annotations[wrong[0]]
            raise InputError(
                f'{self.file}: {len(wrong)} boxes are not four numbers, the first is that of '
                f'annotation {first["id"]}: {first["bbox"]}; write [x, y, width, height]'
            )
        return _floats(values, 'boxes', self.file)

    def check(self, drop_bad_boxes: bool) -> list[str]:
        """Refuse boxes that cannot be trained on; with `drop_bad_boxes`, note their number.

        Sets `usable`, (annotations,) bool, and `reasons`, why the others are not.
        """
        limit = self.image_sizes[self.image]
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
        self.leave_out(self.crowd, 'are crowds')
        told = (
            (bad, 'lie outside their image or have no area: left out of training'),
            (thin, 'are thinner than 1 pixel: MMDetection leaves them out of training'),
            (beyond, 'stick out of their image by more than 1 pixel: MMDetection clips them'),
        )
        return [f'{mask.sum()} boxes {what}' for mask, what in told if mask.any()]

    def leave_out(self, objects: np.ndarray, why: str) -> int:
        """Take `objects`, (annotations,) bool, from the usable ones; return how many they were."""
        self.reasons[why] = self.usable & objects
        self.usable = self.usable & ~objects
        return int(self.reasons[why].sum())

    def leave_out_images(self, filter_cfg: Mapping[str, Any], loaded: np.ndarray) -> list[str]:
        """Leave out the objects on images that are too small, and note which images are dropped.

        Args:
            filter_cfg: of the data set.
            loaded: the objects that keep their image from being empty; (annotations,) bool.
        """
        images, notes = len(self.images), []
        annotated = np.unique(self.image[loaded]).size
        if annotated < images:
            fate = 'dropped (filter_empty_gt=True)' if filter_cfg.get('filter_empty_gt') else 'kept'
            notes.append(f'{images - annotated} of {images} images are without objects: {fate}')
        if rest := annotated - np.unique(self.image[self.usable & loaded]).size:
            notes.append(f'{rest} images have nothing but crowds, ignored or left-out boxes: kept')
        why = f'a side under {filter_cfg.get("min_size", 0)} pixels'
        small = self.image_sizes.min(1) < filter_cfg.get('min_size', 0)
        if small.any():
            notes.append(f'{small.sum()} images have {why}: dropped (min_size)')
            self.leave_out(small[self.image], f'are on images with {why} (min_size)')
        return notes

    def _are_normalised(self, limit: np.ndarray) -> bool:
        """Whether all boxes lie within 0..1, in images of more than 1 pixel.

        Some tools write the centre in place of the corner, so that the far end can lie beyond 1.
        """
        return bool((self.boxes >= 0).all() and (self.boxes <= 1).all() and (limit > 1).all())

    def _describe_bad(self, bad: np.ndarray, no_area: np.ndarray) -> str:
        first = int(np.flatnonzero(bad)[0])
        row = self.annotations[first]
        image = self.images[self.image[first]]
        fault = 'has no area' if no_area[first] else 'lies outside the image'
        return (
            f'{self.file}: {bad.sum()} of {len(bad)} boxes lie outside their image or have no '
            f"area, the first {fault}: annotation {row['id']} of '{image['file_name']}' "
            f'({image["width"]} x {image["height"]}) with bbox {row["bbox"]}, area {row["area"]}; '
            f'correct or remove them, or leave them out with --drop-bad-boxes (drop_bad_boxes=True)'
        )

    def report(
        self, facts: Mapping[str, ImageFacts], notes: list[str], **others: Any
    ) -> DataReport:
        """The report of the check.

        Args:
            facts: of each image, by the name that messages use.
            notes, others: the other arguments of :class:`DataReport`.
        """
        instances = np.bincount(self.category[self.usable], minlength=len(self.categories))
        if deep := sum(fact.bits == 16 for fact in facts.values()):
            notes.append(
                f'{deep} images have 16 bits a channel: only the upper 8 are used; '
                f'rescale them to 8 bits'
            )
        images = [(int(f.width), int(f.height), f.fingerprint) for f in facts.values()]
        sizes = np.digitize(self.area[self.usable], SIZE_LIMITS)
        return DataReport(
            annotation_file=self.file,
            images=len(self.images),
            annotations=len(self.annotations),
            instances=dict(zip((row['name'] for row in self.categories), instances.tolist())),
            sizes=dict(zip(_SIZES, np.bincount(sizes, minlength=3).tolist())),
            left_out={why: int(left.sum()) for why, left in self.reasons.items() if left.any()},
            crowding=self._crowding(),
            fingerprints={mark: n for n, f in facts.items() if (mark := f.fingerprint or f.place)},
            images_sha256=hashlib.sha256(repr(images).encode()).hexdigest(),
            notes=notes,
            **others,
        )

    def _crowding(self) -> list[tuple[int, int]]:
        """Usable objects of each image that has some: all, and those of its most frequent class."""
        pairs = self.image[self.usable] * len(self.categories) + self.category[self.usable]
        pairs, of_class = np.unique(pairs, return_counts=True)
        start = np.flatnonzero(np.diff(pairs // len(self.categories), prepend=-1))
        if not start.size:
            return []
        total, most = np.add.reduceat(of_class, start), np.maximum.reduceat(of_class, start)
        return list(zip(total.tolist(), most.tolist()))


def _positions(rows: Rows, annotations: Rows, key: str) -> np.ndarray:
    """The position among `rows` of what each annotation refers to; (annotations,) int."""
    position = {row['id']: number for number, row in enumerate(rows)}
    return np.array([position[row[key]] for row in annotations], int)


def _floats(values: Sequence[Any], what: str, file: Path) -> np.ndarray:
    """The array of numbers; JSON has whole numbers of any length, and 1e999 is infinite."""
    try:
        array = np.array(values, float)
    except OverflowError:
        array = np.array(np.inf)
    if (np.abs(array) > _LARGEST).any():
        raise InputError(f'{file}: one of the {what} has a number beyond {_LARGEST:g}; correct it')
    return array
