"""Images with their annotations, as they are and as training sees them, for the page."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose
from pycocotools import mask as mask_utils

from mmscratch.config.sections import type_name
from mmscratch.data import image_check, repoint
from mmscratch.data.mask_table import as_rle
from mmscratch.data.seeded_dataset import random_state_kept
from mmscratch.data.transforms import LoadImageFromFile
from mmscratch.visualization import html_page
from mmscratch.visualization.folder_check.split import Split

IMAGES = 6
VIEWS = 2  # augmented ones of each image
_SIDE = 400  # pixels of the longer side of an embedded image, at most
_POINTS = 0.5  # pixels by which an outline may differ from the mask's

Outline = list[tuple[float, float]]


@dataclass
class Picture:
    """An image with its objects, in the pixels of (width, height).

    ``boxes`` are x, y, width, height and the number of the class; ``outlines`` are those of masks,
    with the number of the class.
    """

    caption: str
    width: int
    height: int
    jpeg: str
    boxes: list[tuple[float, float, float, float, int]] = field(default_factory=list)
    outlines: list[tuple[Outline, int]] = field(default_factory=list)


def examples(split: Split, cfg: Config | None) -> list[list[Picture]]:
    """Images from all parts of a split, none of them chosen: each as it is, and augmented.

    Args:
        split: sound, and read by ``cfg``.
        cfg: has the augmentation; without it the images are shown as they are alone.
    """
    objects = split.objects()
    full = [row for row in split.images if objects[row['id']]]
    chosen = np.linspace(0, len(full) - 1, min(IMAGES, len(full))).round().astype(int)
    pipeline = _pipeline(cfg) if cfg else None
    found = []
    for number in chosen:
        image = full[number]
        rows = objects[image['id']]
        views = [_as_it_is(split, image, rows)]
        if pipeline:
            views += _augmented(split, image, rows, pipeline)
        found.append(views)
    return found


def thumbnail(split: Split, name: str, caption: str) -> Picture:
    """An image without its objects."""
    row = next(row for row in split.images if row['file_name'] == name)
    return _picture(caption, _shown(split, row))


def _as_it_is(split: Split, image: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Picture:
    picture = _picture(image['file_name'], _shown(split, image))
    numbers = {row['id']: number for number, row in enumerate(split.categories)}
    for row in rows:
        label = numbers[row['category_id']]
        if row.get('segmentation'):
            rle = as_rle(row['segmentation'], image['height'], image['width'])
            picture.outlines += [(each, label) for each in _outlines(mask_utils.decode(rle))]
        x, y, width, height = row['bbox']
        picture.boxes.append((x, y, width, height, label))
    return picture


def _augmented(
    split: Split, image: dict[str, Any], rows: Sequence[dict[str, Any]], pipeline: Compose
) -> Iterator[Picture]:
    numbers = {row['id']: number for number, row in enumerate(split.categories)}
    for view in range(VIEWS):
        info = dict(
            img_path=str(split.path(image)),
            img_id=image['id'],
            width=image['width'],
            height=image['height'],
            instances=[_instance(row, numbers) for row in rows],
        )
        with random_state_kept():
            # the same views on each page
            random.seed(view)
            np.random.seed(view)
            results = pipeline(info)
        if results is None:  # a crop without objects, which training draws anew
            continue
        picture = _picture(f'augmented {view + 1}', _visible(np.asarray(results['img'])))
        boxes = results['gt_bboxes']
        boxes = getattr(boxes, 'tensor', boxes).numpy().tolist()
        labels = results['gt_bboxes_labels'].tolist()
        picture.boxes = [(x, y, z - x, w - y, k) for (x, y, z, w), k in zip(boxes, labels)]
        masks = results.get('gt_masks')
        for mask, label in zip(masks.to_ndarray() if masks is not None else (), labels):
            picture.outlines += [(each, label) for each in _outlines(mask)]
        yield picture


def _instance(row: dict[str, Any], numbers: dict[int, int]) -> dict[str, Any]:
    """An annotation as ``CocoDataset`` gives it to the pipeline."""
    x, y, width, height = row['bbox']
    instance = dict(
        bbox=[x, y, x + width, y + height],
        bbox_label=numbers[row['category_id']],
        ignore_flag=int(row['iscrowd']),
    )
    return instance | ({'mask': row['segmentation']} if row.get('segmentation') else {})


def _pipeline(cfg: Config) -> Compose | None:
    """The training pipeline of one image up to what makes tensors of it."""
    repoint.register_all(cfg)
    dataset = next(repoint.datasets(cfg, 'train'))
    steps = [step for step in dataset['pipeline'] if not type_name(step).startswith('Pack')]
    with contextlib.suppress(KeyError):  # a transform of the user's own that is not imported here
        return Compose([TRANSFORMS.build(step) for step in steps])
    return None


def _shown(split: Split, image: dict[str, Any]) -> np.ndarray:
    path, pixels = split.path(image), split.pixels[image['file_name']]
    is_colour = pixels.depth == 'uint8' and not image_check.look_at(path).not_for_opencv
    channels = None if is_colour else range(1, pixels.channels + 1)
    return LoadImageFromFile(channels=channels).picture(path)[..., ::-1]


def _visible(image: np.ndarray) -> np.ndarray:
    """Up to three channels of 8 bits; other values are stretched to the range."""
    image = np.atleast_3d(image)[..., :3]
    if image.shape[2] != 3:
        image = image[..., :1].repeat(3, 2)
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return ((image - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)


def _picture(caption: str, image: np.ndarray) -> Picture:
    height, width = image.shape[:2]
    small = html_page.thumbnail(image, _SIDE)
    return Picture(caption, width, height, html_page.jpeg(small, quality=75))


def _outlines(mask: np.ndarray) -> list[Outline]:
    found, _ = cv2.findContours(
        np.ascontiguousarray(mask, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    simple = (cv2.approxPolyDP(outline, _POINTS, True).reshape(-1, 2) for outline in found)
    return [[(x + 0.5, y + 0.5) for x, y in outline.tolist()] for outline in simple]
