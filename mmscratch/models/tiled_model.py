"""Detections of a large image, merged from its tiles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils
from torch import Tensor, nn


@MODELS.register_module()
class TiledModel(BaseTTAModel):
    """Merge the detections of an image's tiles (:class:`mmscratch.data.transforms.TileViews`).

    A detection suppresses those of the same class *from other tiles* with which it shares
    ``least_shared`` of the smaller one's area: of an object that a border cuts, the part lies
    within the whole, and their IoU may be small. Those that no border inside of the image cuts go
    first, then those of higher score. What one tile yields has been through the detector's own NMS.
    An object larger than the tiles' overlap may stay in parts.

    Masks become COCO's RLE of the whole image, a list of dicts with ``size`` and ``counts``, since
    bitmaps of 4000 x 4000 pixels would take 16 MB each. ``max_per_img`` limits each tile, not
    the image.

    Args:
        module: any detector.
        least_shared: share of the smaller box, above 0.
        tiles_at_once: tiles of a pass through the detector.
        data_preprocessor: as for ``BaseTTAModel``.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        least_shared: float = 0.5,
        tiles_at_once: int = 4,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        self.least_shared = least_shared
        self.tiles_at_once = tiles_at_once

    def test_step(self, data: dict[str, Sequence]) -> list[DetDataSample]:
        """Detections of one image, in its own pixels.

        Args:
            data: ``inputs`` and ``data_samples`` as ``TileViews`` leaves them, of a batch of one
                image: a list of one each tile.
        """
        views = {key: [view for (view,) in values] for key, values in data.items()}
        found: list[DetDataSample] = []
        for i in range(0, len(views['inputs']), self.tiles_at_once):
            batch = {key: values[i : i + self.tiles_at_once] for key, values in views.items()}
            found += map(_without_bitmaps, self.module.test_step(batch))
        return self.merge_preds([found])

    def merge_preds(self, data_samples_list: list[list[DetDataSample]]) -> list[DetDataSample]:
        """Merge the tiles of each image; masks are RLEs of it already."""
        return [self._merge(samples) for samples in data_samples_list]

    def _merge(self, samples: list[DetDataSample]) -> DetDataSample:
        height, width = samples[0].whole_shape
        parts = []
        for number, sample in enumerate(samples):
            x, y, w, h = sample.tile
            part = sample.pred_instances.cpu()
            inner = torch.tensor([x > 0, y > 0, x + w < width, y + h < height])
            at_border = torch.cat(
                [part.bboxes[:, :2] < 1, part.bboxes[:, 2:] > torch.tensor([w, h]) - 1], dim=1
            )
            part.bboxes = part.bboxes + torch.tensor([x, y, x, y])
            if 'keypoints' in part:
                part.keypoints = part.keypoints + torch.tensor([x, y, 0])
            part.cut = (at_border & inner).any(1)
            part.number = torch.full_like(part.labels, number)
            parts.append(part)
        found = InstanceData.cat(parts)
        kept = merged(found, self.least_shared)
        # by score, as a detector leaves them
        kept = kept[found.scores[kept].argsort(descending=True, stable=True)]
        found = found[kept]
        for name in ('cut', 'number'):
            found.pop(name)
        merged_sample = DetDataSample(metainfo=samples[0].metainfo)
        merged_sample.set_metainfo(
            dict(ori_shape=(height, width), img_shape=(height, width), scale_factor=(1.0, 1.0))
        )
        merged_sample.pred_instances = found
        return merged_sample


def _without_bitmaps(sample: DetDataSample) -> DetDataSample:
    """A tile's detections, with the RLE of the whole image in place of each mask."""
    found = sample.pred_instances
    if 'masks' in found:
        x, y, _, _ = sample.tile
        # at once: all tiles' bitmaps are gigabytes
        found.masks = [
            whole_rle(mask, x, y, *sample.whole_shape) for mask in found.masks.cpu().numpy()
        ]
    return sample


def merged(found: InstanceData, least_shared: float) -> Tensor:
    """Indices of the detections that stay, int64, uncut ones of high score first.

    Args:
        found: N detections with ``bboxes`` [N, 4], ``scores``, ``labels``, ``cut`` (whether a
            border between tiles cuts it) and ``number`` (of its tile), each [N].
        least_shared: share of the smaller box from which one suppresses the other.
    """
    order = found.scores.argsort(descending=True, stable=True)
    order = order[found.cut[order].int().argsort(stable=True)]
    boxes, labels, numbers = found.bboxes[order], found.labels[order], found.number[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    stays = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if stays[i]:
            rest = slice(i + 1, None)
            sides = torch.minimum(boxes[i, 2:], boxes[rest, 2:]) - torch.maximum(
                boxes[i, :2], boxes[rest, :2]
            )
            shared = sides.clamp(min=0).prod(1) / torch.minimum(areas[i], areas[rest]).clamp(1e-6)
            is_same = (labels[rest] == labels[i]) & (numbers[rest] != numbers[i])
            stays[rest] &= ~(is_same & (shared >= least_shared))
    return order[stays]


def whole_rle(mask: np.ndarray, x: int, y: int, height: int, width: int) -> dict[str, Any]:
    """COCO's RLE of an image of which a tile at (x, y) shows a mask [h, w], bool."""
    columns = np.flatnonzero(mask.any(0))
    first, last = (columns[0], columns[-1] + 1) if len(columns) else (0, 0)
    strip = np.zeros((last - first, height), bool)
    strip[:, y : y + len(mask)] = mask[:, first:last].T
    # RLE goes down the columns: where 0 becomes 1, and 1 becomes 0
    edges = np.flatnonzero(np.diff(strip.ravel(), prepend=False, append=False))
    runs = np.diff((x + first) * height + edges, prepend=0, append=height * width)
    # none follows a mask that ends in the last pixel
    counts = runs[: -1 if runs[-1] == 0 else None].tolist()
    return mask_utils.frPyObjects(dict(size=[height, width], counts=counts), height, width)
