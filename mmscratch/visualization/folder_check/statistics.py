"""Counts and distributions of a split, for the page and the terminal."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mmscratch.data.box_table import SIZE_LIMITS
from mmscratch.data.pixels import Pixels
from mmscratch.visualization.folder_check.split import Split

SIZES = ('small', 'medium', 'large')


@dataclass
class Statistics:
    """What a split holds; crowds and ignored objects count as crowds alone.

    Attributes:
        objects, images_with: (classes,) int: objects of each class, and images that have some.
        sizes: (classes, 3) int: small, medium and large ones, by COCO's limits of area.
        a_image: objects of each image; (images,) int.
        most: of the most frequent class of each image; (images,) int.
        sides: square root of each object's area in pixels, (objects,) float.
        shares: the same by the square root of its image's area, 0..1.
        aspects: width by height of each box.
        image_sizes: width and height of each image, (images, 2) int.
        kinds: number of images by channels and depth, such as ``3 x uint8``.
    """

    images: int
    crowds: int
    masks: int
    objects: np.ndarray
    images_with: np.ndarray
    sizes: np.ndarray
    a_image: np.ndarray
    most: np.ndarray
    sides: np.ndarray
    shares: np.ndarray
    aspects: np.ndarray
    image_sizes: np.ndarray
    kinds: Counter[str]


def of(split: Split) -> Statistics:
    """Count what a sound split holds."""
    rows = [row for row in split.annotations if not (row['iscrowd'] or row.get('ignore'))]
    classes = {row['id']: number for number, row in enumerate(split.categories)}
    position = {row['id']: number for number, row in enumerate(split.images)}
    label = np.array([classes[row['category_id']] for row in rows], int)
    image = np.array([position[row['image_id']] for row in rows], int)
    area = np.array([row['area'] for row in rows], float)
    boxes = np.array([row['bbox'] for row in rows], float).reshape(-1, 4)
    sides = np.array([(r['width'], r['height']) for r in split.images], int).reshape(-1, 2)
    n = len(classes)
    pairs, of_pair = np.unique(image * n + label, return_counts=True)
    most = np.zeros(len(sides), int)
    np.maximum.at(most, pairs // max(n, 1), of_pair)
    size = label * 3 + np.digitize(area, SIZE_LIMITS)
    return Statistics(
        images=len(split.images),
        crowds=len(split.annotations) - len(rows),
        masks=sum(bool(row.get('segmentation')) for row in rows),
        objects=np.bincount(label, minlength=n),
        images_with=np.bincount(pairs % max(n, 1), minlength=n),
        sizes=np.bincount(size, minlength=3 * n).reshape(-1, 3),
        a_image=np.bincount(image, minlength=len(sides)),
        most=most,
        sides=np.sqrt(area),
        shares=np.sqrt(area / np.maximum(sides.prod(1)[image], 1)),
        aspects=boxes[:, 2] / boxes[:, 3],
        image_sizes=sides,
        kinds=Counter(kind_of(split.pixels[row['file_name']]) for row in split.images),
    )


def kind_of(pixels: Pixels) -> str:
    """Channels and depth in words."""
    grey = ', grey' if pixels.grey and pixels.channels > 1 else ''
    return f'{pixels.channels} x {pixels.depth}{grey}'
