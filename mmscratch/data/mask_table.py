"""The segmentations of a COCO annotation file, looked at as MMDetection will load them."""

from collections.abc import Sequence
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from mmscratch.data.coco_json import Rows
from mmscratch.errors import InputError

# pycocotools walks along every edge: farther points cost memory without bound
_FARTHEST = 100_000  # pixels
# from so many square pixels on, a polygon within its image covers some
_SMALL = 8
_MOST_DIGITS = 7  # of a run in a compressed RLE, 5 bits each


class MaskTable:
    """Which annotations have a mask, and which of these training can use.

    Attributes:
        given: annotations with a ``segmentation`` that is not empty; (annotations,) bool.
        rle: those given as RLE.
        usable: those whose mask can be loaded. Polygons of fewer than 3 points have no mask:
            MMDetection 3.3.0 ignores an object without another one (``_process_masks`` in
            mmdet/datasets/transforms/loading.py).
        short: polygon masks with such a polygon.
        empty: those of the usable ones that cover no pixel of their image. MMDetection trains on
            their objects, with nothing as the mask.
        normalised: of these the polygons whose points all lie within 0..1, in an image of more than
            a pixel; where rounding gives them the pixel at the corner, too.
    """

    def __init__(self, images: Rows, annotations: Rows, file: Path) -> None:
        sizes = {image['id']: [image['height'], image['width']] for image in images}
        values = [row.get('segmentation') for row in annotations]
        self.given = np.array([bool(value) for value in values])
        self.rle = np.array([isinstance(value, dict) for value in values])
        self.usable = self.given.copy()
        self.short = np.zeros(len(values), bool)
        self.empty = np.zeros(len(values), bool)
        self.normalised = np.zeros(len(values), bool)
        malformed, far, unsound = [], [], []
        for number in np.flatnonzero(self.given):
            value, row = values[number], annotations[number]
            height_width = sizes[row['image_id']]
            if self.rle[number]:
                if not _is_rle(value, height_width):
                    malformed.append(row['id'])
                elif runs := _runs(value['counts'], height_width[0] * height_width[1]):
                    self.empty[number] = not any(runs[1::2])
                else:
                    unsound.append(row['id'])
            elif not _is_polygons(value):
                malformed.append(row['id'])
            else:
                whole = whole_polygons(value)
                self.usable[number] = bool(whole)
                self.short[number] = len(whole) < len(value)
                largest = max(map(max, whole), default=2)
                smallest = min(map(min, whole), default=0)
                if smallest < -_FARTHEST or largest > _FARTHEST:
                    far.append(row['id'])
                    continue
                shares = smallest >= 0 and largest <= 1 < max(height_width)
                self.normalised[number] = shares
                covers = bool(whole) and not shares and _cover_pixels(whole, *height_width)
                self.empty[number] = bool(whole) and not covers
        for wrong, fault in (
            (
                malformed,
                'segmentations are neither polygons [[x1, y1, x2, y2, x3, y3, ...], ...] nor an '
                'RLE with counts and the size [height, width] of its image',
            ),
            (unsound, 'RLEs have runs of another length than their size'),
            (far, f'segmentations have points more than {_FARTHEST:,} pixels away'),
        ):
            if wrong:
                raise InputError(
                    f'{file}: {len(wrong)} {fault}, the first is that of annotation {wrong[0]}; '
                    'correct or remove them'
                )

    def notes(self) -> list[str]:
        """Sentences for the log on masks that are not used, or not whole."""
        told = []
        if short := int(self.short.sum()):
            lost = int((self.given & ~self.usable).sum())
            told.append(
                f'{short} masks have polygons without 3 points: MMDetection leaves those out, and '
                f'with them {lost} masks that have no other polygon'
            )
        if self.empty.any():
            told.append(f'WARNING: {self.empty_ones()}')
        return told

    def empty_ones(self) -> str:
        """How many masks cover no pixel, and what to do."""
        told = f'{self.empty.sum()} of {self.usable.sum()} masks cover no pixel of their image'
        if normalised := self.normalised.sum():
            told += f', {normalised} of them lie within 0..1, as shares of it'
        return f'{told}: write the outlines of the objects, in pixels'


def whole_polygons(segmentation: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Those of the polygons [x1, y1, x2, y2, ...] that MMDetection loads: of 3 points or more."""
    return [part for part in segmentation if len(part) >= 6 and len(part) % 2 == 0]


def _is_polygons(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(part) is list and set(map(type, part)) <= {int, float} for part in value
    )


def _is_rle(value: dict, height_width: list[int]) -> bool:
    return isinstance(value.get('counts'), str | list) and value.get('size') == height_width


def _cover_pixels(polygons: Sequence[Sequence[float]], height: int, width: int) -> bool:
    for part in polygons:
        x, y = part[::2], part[1::2]
        inside = min(part) >= 0 and max(x) <= width and max(y) <= height
        if inside and _twice_area(x, y) >= 2 * _SMALL:
            return True
    # exact, and slower
    return bool(mask_utils.area(mask_utils.frPyObjects(polygons, height, width)).any())


def _twice_area(x: Sequence[float], y: Sequence[float]) -> float:
    right = sum(map(mul, x, [*y[1:], y[0]]))
    return abs(right - sum(map(mul, y, [*x[1:], x[0]])))


def _runs(counts: str | Sequence[Any], pixels: int) -> Sequence[int]:
    """The lengths of the runs, [] unless they are whole numbers that add up to `pixels`.

    Not asked of pycocotools: 2.0.11 decodes runs that end too early without an error.
    """
    if isinstance(counts, list):
        runs = counts
        if not set(map(type, runs)) <= {int}:
            return []
    else:
        runs = _decompressed(counts)
    return runs if runs and min(runs) >= 0 and sum(runs) == pixels else []


def _decompressed(counts: str) -> list[int]:
    """The lengths of the runs in a compressed RLE, [] if it is none.

    The format is that of ``rleToString`` in pycocotools' maskApi.c: digits of 5 bits, the lowest
    first, as characters from '0' (bit 6 says that another digit follows, bit 5 of the last digit is
    the sign); from the fourth on a run is written as its difference to the one before the last.
    """
    if not counts.isascii():
        return []
    digits = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        return []
    last = np.flatnonzero(digits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _MOST_DIGITS:
        return []
    place = np.arange(digits.size) - np.repeat(first, lengths)
    runs = np.add.reduceat((digits & 31) << (5 * place), first)
    runs -= (digits[last] & 16 > 0).astype(np.int64) << (5 * lengths)
    for start in (1, 2):
        runs[start::2] = np.cumsum(runs[start::2])
    return runs.tolist()
