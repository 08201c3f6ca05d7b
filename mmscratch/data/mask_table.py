"""The segmentations of a COCO annotation file, looked at as MMDetection will load them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from mmscratch.errors import InputError

# pycocotools walks along every edge: farther points cost memory without bound
_FARTHEST = 100_000  # pixels
# from so many square pixels on, a polygon within its image covers some
_SMALL = 8
_LONGEST = 1000  # of an outline, in sums of width and height of its image
_MOST_DIGITS = 7  # of a run in a compressed RLE, 5 bits each
_MALFORMED = (
    'segmentations are neither polygons [[x1, y1, x2, y2, x3, y3, ...], ...] nor an RLE with '
    'counts and the size [height, width] of its image'
)
_AT_A_TIME = 4096  # annotations whose points are an array, to bound the memory


class MaskTable:
    """Which annotations have a mask, and which of these training can use.

    Attributes:
        given: annotations with a ``segmentation`` that is not empty; (annotations,) bool.
        rle: those given as RLE.
        usable: those whose mask can be loaded. Polygons of fewer than 3 points have no mask:
            MMDetection 3.3.0 ignores an object without another one (``_process_masks`` in
            mmdet/datasets/transforms/loading.py).
        short: masks with a polygon of fewer than 3 points.
        empty: usable masks that cover no pixel of their image. MMDetection trains on their objects
            with an empty mask.
        normalised: polygon masks whose points all lie within 0..1, in an image of more than a
            pixel. They count as empty, even if rounding gives them the pixel at the corner.
    """

    def __init__(
        self,
        images: Sequence[Mapping[str, Any]],
        annotations: Sequence[Mapping[str, Any]],
        file: Path,
    ) -> None:
        size_of = {image['id']: (image['height'], image['width']) for image in images}
        sizes = [size_of[row['image_id']] for row in annotations]
        values: list[Any] = [row.get('segmentation') for row in annotations]
        self.given = np.array(list(map(bool, values)))
        self.rle = np.array([isinstance(value, dict) for value in values])
        self.usable = self.given.copy()
        self.short, self.empty, self.normalised = np.zeros((3, len(values)), bool)
        self._malformed, self._unsound, self._far, self._long = np.zeros((4, len(values)), bool)
        for number in np.flatnonzero(self.given & self.rle):
            value, (height, width) = values[number], sizes[number]
            if not _is_rle(value, height, width):
                self._malformed[number] = True
            elif runs := _runs(value['counts'], height * width):
                self.empty[number] = not any(runs[1::2])
            else:
                self._unsound[number] = True
        others = np.flatnonzero(self.given & ~self.rle)
        for start in range(0, len(others), _AT_A_TIME):
            numbers = others[start : start + _AT_A_TIME]
            self._look_at_polygons(
                numbers, [values[k] for k in numbers], np.array([sizes[k] for k in numbers])
            )
        for wrong, fault in (
            (self._malformed, _MALFORMED),
            (self._unsound, 'RLEs have runs of another length than their size'),
            (self._far, f'segmentations have points more than {_FARTHEST:,} pixels away'),
            (
                self._long,
                f'outlines are {_LONGEST:,} times as long as width and height of their image',
            ),
        ):
            if wrong.any():
                first = annotations[int(wrong.argmax())]['id']
                raise InputError(
                    f'{file}: {wrong.sum()} {fault}, the first is that of annotation {first}; '
                    'correct or remove them'
                )

    def _look_at_polygons(
        self, numbers: np.ndarray, values: Sequence[Any], sizes: np.ndarray
    ) -> None:
        """Fill the rows `numbers`; `sizes` are (height, width) of their images."""
        if not _are_polygons(values):
            good = np.array([_are_polygons([value]) for value in values])
            self._malformed[numbers] = ~good
            numbers, sizes = numbers[good], sizes[good]
            values = [value for value, is_good in zip(values, good) if is_good]
        whole = list(map(whole_polygons, values))
        counts = np.array(list(map(len, whole)), int)
        self.usable[numbers] = counts > 0
        self.short[numbers] = counts < list(map(len, values))
        numbers, sizes, whole = numbers[counts > 0], sizes[counts > 0], list(filter(None, whole))
        if not whole:
            return
        counts = counts[counts > 0]
        height, width = sizes.T
        polygons = list(chain.from_iterable(whole))
        points = _floats(chain.from_iterable(polygons))
        x, y = points.reshape(-1, 2).T
        corners = np.array(list(map(len, polygons))) // 2
        start, of_object = _starts(corners), _starts(counts)
        left, right = np.minimum.reduceat(x, start), np.maximum.reduceat(x, start)
        top, bottom = np.minimum.reduceat(y, start), np.maximum.reduceat(y, start)
        smallest = np.minimum.reduceat(np.minimum(left, top), of_object)
        largest = np.maximum.reduceat(np.maximum(right, bottom), of_object)
        self._far[numbers] = (smallest < -_FARTHEST) | (largest > _FARTHEST)
        following = np.arange(1, len(x) + 1)
        following[start + corners - 1] = start
        steps = np.hypot(x[following] - x, y[following] - y)
        lengths = np.add.reduceat(np.add.reduceat(steps, start), of_object)
        self._long[numbers] = lengths > _LONGEST * (height + width)
        shares = (smallest >= 0) & (largest <= 1) & (np.maximum(height, width) > 1)
        self.normalised[numbers] = shares

        twice_area = np.abs(np.add.reduceat(x * y[following] - y * x[following], start))
        inside = (np.minimum(left, top) >= 0) & (right <= np.repeat(width, counts))
        inside &= bottom <= np.repeat(height, counts)
        covers = np.logical_or.reduceat(inside & (twice_area >= 2 * _SMALL), of_object)
        for i in np.flatnonzero(~covers & ~shares & ~(self._far | self._long)[numbers]):
            # exact, and slower
            outlines = mask_utils.frPyObjects(whole[i], *sizes[i])
            covers[i] = mask_utils.area(outlines).any()
        self.empty[numbers] = shares | ~covers

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


def as_rle(segmentation: list | dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """The compressed RLE of a segmentation: of polygons, or an RLE of either kind."""
    if isinstance(segmentation, list):
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    if isinstance(segmentation['counts'], list):
        return mask_utils.frPyObjects(segmentation, height, width)
    return segmentation


def _are_polygons(values: Sequence[Any]) -> bool:
    """Whether each value is a list of lists of numbers."""
    return (
        set(map(type, values)) <= {list}
        and set(map(type, chain.from_iterable(values))) <= {list}
        and set(map(type, chain.from_iterable(chain.from_iterable(values)))) <= {int, float}
    )


def _floats(values: Iterable[float]) -> np.ndarray:
    """The array of numbers; those that are too far away are clipped, and still too far away."""
    values = list(values)
    try:
        return np.clip(np.array(values, float), -2 * _FARTHEST, 2 * _FARTHEST)
    except OverflowError:  # JSON has whole numbers of any length
        return np.array([max(-2 * _FARTHEST, min(2 * _FARTHEST, value)) for value in values], float)


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where parts of these lengths, one after the other, begin."""
    return np.cumsum(lengths) - lengths


def _is_rle(value: dict, height: int, width: int) -> bool:
    return isinstance(value.get('counts'), str | list) and value.get('size') == [height, width]


def _runs(counts: str | list[Any], pixels: int) -> list[int]:
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
