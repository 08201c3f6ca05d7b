"""What all exports have in common: splits by name, and labels as rows of COCO."""

import itertools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pycocotools import mask as mask_utils

from mmscratch.errors import InputError

T = TypeVar('T')
# the content of a COCO JSON
Content = dict[str, Any]

_SPLIT = re.compile(r'(?:^|[^a-z])(train|val|test)(?:ing|id|idation)?(?:[^a-z]|$)')
_DIGITS = 3  # of coordinates: a thousandth of a pixel
LARGEST = 1e9  # of coordinates
_CORNERS = 64  # of a polygon in place of an ellipse


class Export(ABC):
    """A folder whose layout is known, and whose labels are not read yet.

    Attributes:
        root: the folder.
        layout: its name for messages.
        sources: the file or folder of each split, for messages. Splits are 'train' and 'val', or
            'all' for a folder without a split.
        labels: the files with labels and class names.
        images: images that :meth:`read` looks at, or folders of them.
        notes: sentences for the log; :meth:`read` adds to them.
        refusal: why nothing can be trained on this, '' if it can; :meth:`read` sets it.
        faults: split and text of what :meth:`read` left out of faulty labels.
    """

    def __init__(self, root: Path, layout: str) -> None:
        self.root = root
        self.layout = layout
        self.sources: dict[str, Path] = {}
        self.labels: list[Path] = []
        self.images: list[Path] = []
        self.notes: list[str] = []
        self.refusal = ''
        self.faults: list[tuple[str, str]] = []

    @abstractmethod
    def read(self) -> dict[str, Content]:
        """Read the labels of each split; ``file_name`` is relative to the root.

        What is wrong with single images and labels is told by ``refusal`` and ``faults``, so that
        a check of the folder can show the others. An image of unknown size has 0 x 0 pixels.

        Raises:
            InputError: labels or images are at fault as a whole.
        """

    def refuse(self, reason: str, split: str | None = None) -> None:
        """Set why nothing can be trained on this, unless it is set.

        Args:
            reason: a line with the cure.
            split: of faulty labels, which are left out.
        """
        self.refusal = self.refusal or reason
        if split is not None:
            self.faults.append((split * (split != 'all'), reason.partition(';')[0]))

    def relative(self, path: Path) -> str:
        """The path from the root, whether the file is below it or not.

        Raises:
            InputError: its name is not UTF-8, as JSON has to be.
        """
        try:
            str(path).encode()
        except UnicodeEncodeError:
            told = str(path).encode(errors='backslashreplace').decode()
            raise InputError(
                f'{told}: the name is not UTF-8 (zip files of Windows have others); rename the '
                f'files by "convmv -r --notest -f gbk -t utf8 {self.root}", with the encoding of '
                'that system for gbk'
            ) from None
        if path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        parent = os.path.relpath(os.path.realpath(path.parent), os.path.realpath(self.root))
        return (Path(parent) / path.name).as_posix()

    def settle_splits(self, found: Mapping[str, T]) -> dict[str, T]:
        """Choose what is trained on and what is validated on: 'train' and 'val', or 'all'.

        Args:
            found: of 'train', 'val', 'test' and '' those that are there. Nothing is chosen if
                they do not tell.
        """
        if found.keys() in ({''}, {'train'}):
            return {'all': next(iter(found.values()))}
        held_out = 'val' if 'val' in found else 'test' if 'test' in found else ''
        if held_out == 'test':
            self.notes.append(f'{self.root}: no validation images, so those of test are')
        elif 'test' in found:
            self.notes.append(f'{self.root}: its test images are not used; --data tests with val')
        if 'train' not in found or not held_out:
            return {}
        if '' in found:
            self.notes.append(f'{self.root}: what is in none of the folders of splits is not used')
        return {'train': found['train'], 'val': found[held_out]}


def split_of(name: str) -> str:
    """'train', 'val' or 'test' if the name of a file or folder says so, else ''."""
    found = _SPLIT.search(name.lower())
    return found[1] if found else ''


@dataclass
class LabelledObject:
    """An object of an image.

    Attributes:
        name: of its class.
        box: x, y, width, height in pixels.
        segmentation: polygons or an RLE as in COCO; None for a box alone.
    """

    name: str
    box: Sequence[float]
    segmentation: list[list[float]] | dict[str, Any] | None = None

    @classmethod
    def of_polygons(cls, name: str, polygons: Sequence[np.ndarray]) -> 'LabelledObject':
        """An object of several parts; each polygon has points x, y in pixels, (points, 2)."""
        points = np.concatenate(polygons)
        low, high = points.min(0), points.max(0)
        return cls(name, [*low, *(high - low)], [part.ravel().tolist() for part in polygons])

    @classmethod
    def of_mask(cls, name: str, mask: dict[str, Any]) -> 'LabelledObject':
        """An object of an RLE as pycocotools makes it."""
        box = mask_utils.toBbox(mask).tolist()
        return cls(name, box, dict(mask, counts=mask['counts'].decode()))

    def row(self) -> dict[str, Any]:
        """The keys of an annotation in COCO that are the object's own."""
        box = _rounded(self.box)
        if self.segmentation is None:
            return dict(bbox=box, area=_rounded([box[2] * box[3]])[0], iscrowd=0)
        if isinstance(self.segmentation, dict):
            area = float(mask_utils.area(self.segmentation))
            return dict(bbox=box, area=area, iscrowd=0, segmentation=self.segmentation)
        parts = [_rounded(part) for part in self.segmentation]
        area = sum(_polygon_area(np.array(part).reshape(-1, 2)) for part in parts)
        return dict(bbox=box, area=_rounded([area])[0], iscrowd=0, segmentation=parts)


@dataclass
class LabelledImage:
    """An image and its objects; ``file_name`` is relative to the root, sizes are in pixels."""

    file_name: str
    width: int
    height: int
    objects: list[LabelledObject] = field(default_factory=list)


def ellipse(centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """A polygon in place of an ellipse; points (corners, 2)."""
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    return np.array(centre) + np.array(radii) * np.stack([np.cos(angles), np.sin(angles)], 1)


def mask_of_part(
    part: np.ndarray, corner: Sequence[float], height: int, width: int
) -> dict[str, Any]:
    """The RLE of an image of that size whose part from a corner (x, y) on is (rows, columns)."""
    whole = np.zeros((height, width), np.uint8, order='F')
    left, top = (int(value) for value in corner)
    target = whole[top : top + part.shape[0], left : left + part.shape[1]]
    target[:] = part[: target.shape[0], : target.shape[1]]
    return mask_utils.encode(whole)


def to_coco(splits: Mapping[str, Iterable[LabelledImage]], classes: Sequence[str]) -> dict:
    """The content of a COCO JSON for each split; ids count from 1 through all splits."""
    categories = [dict(id=number, name=name) for number, name in enumerate(classes, 1)]
    category_ids = {row['name']: row['id'] for row in categories}
    image_ids, annotation_ids = itertools.count(1), itertools.count(1)
    contents = {}
    for split, labelled in splits.items():
        images: list[dict] = []
        annotations: list[dict] = []
        for image in labelled:
            row = dict(id=next(image_ids), file_name=image.file_name)
            images.append(row | dict(width=image.width, height=image.height))
            annotations += [
                dict(id=next(annotation_ids), image_id=row['id'])
                | dict(category_id=category_ids[item.name])
                | item.row()
                for item in image.objects
            ]
        contents[split] = dict(images=images, annotations=annotations, categories=categories)
    return contents


def _rounded(values: Sequence[float]) -> list[float]:
    # no -0.0
    return [round(float(value), _DIGITS) + 0.0 for value in values]


def _polygon_area(points: np.ndarray) -> float:
    """The area within (points, 2), by the shoelace formula."""
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
