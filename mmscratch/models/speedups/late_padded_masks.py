"""Masks of a batch that are padded on the GPU, and only where something is made of them."""

import functools
import importlib
from typing import Any

import numpy as np
import torch
from mmcv.ops import roi_align
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.modules.utils import _pair

_mmdet_pad = DetDataPreprocessor.pad_gt_masks
# a function of its name hides the module
MASK_TARGET = importlib.import_module('mmdet.structures.mask.mask_target')
_mmdet_target = MASK_TARGET.mask_target_single


class LatePaddedMasks(BitmapMasks):
    """Bitmaps with zeros below and to the right of them, which come into being when they are read.

    Args:
        bitmaps: uint8 [K, h, w].
        height: of the padded masks, at least h.
        width: of the padded masks, at least w.
    """

    def __init__(self, bitmaps: np.ndarray, height: int, width: int) -> None:
        self.bitmaps, self.height, self.width = bitmaps, height, width

    @functools.cached_property
    def masks(self) -> np.ndarray:
        """The padded masks, uint8 [K, height, width]."""
        return (
            BitmapMasks(self.bitmaps, *self.bitmaps.shape[1:]).pad((self.height, self.width)).masks
        )

    def __len__(self) -> int:
        return len(self.bitmaps)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'LatePaddedMasks':
        # MMDetection copies all annotations for the RPN, which has no use for masks
        return LatePaddedMasks(self.bitmaps, self.height, self.width)

    def padded(self, device: torch.device) -> Tensor:
        """The padded masks on ``device``, float32 [K, height, width]."""
        below, right = self.height - self.bitmaps.shape[1], self.width - self.bitmaps.shape[2]
        return pad(torch.from_numpy(self.bitmaps).to(device).float(), (0, right, 0, below))


def pad_gt_masks(self: DetDataPreprocessor, batch_data_samples: list[DetDataSample]) -> None:
    """Pad the samples' masks to the batch's shape, in place."""
    first = batch_data_samples[0].gt_instances
    if type(first.get('masks')) is not BitmapMasks or self.mask_pad_value:
        _mmdet_pad(self, batch_data_samples)
        return
    for sample in batch_data_samples:
        bitmaps = sample.gt_instances.masks.masks
        sample.gt_instances.masks = LatePaddedMasks(bitmaps, *sample.batch_input_shape)


def mask_target_single(
    pos_proposals: Tensor, pos_assigned_gt_inds: Tensor, gt_masks: Any, cfg: ConfigDict
) -> Tensor:
    """Mask targets [P, *cfg.mask_size] of P proposals [P, 4], float32, equal to MMDetection's.

    MMDetection takes boxes and targets to the CPU and back, and a copy of the whole mask for each
    proposal.
    """
    if not isinstance(gt_masks, LatePaddedMasks) or not len(gt_masks) or not len(pos_proposals):
        return _mmdet_target(pos_proposals, pos_assigned_gt_inds, gt_masks, cfg)
    x, y = pos_proposals[:, 0::2], pos_proposals[:, 1::2]
    x, y = x.clamp(min=0, max=gt_masks.width), y.clamp(min=0, max=gt_masks.height)
    boxes = torch.stack([x, y], dim=2).flatten(1)
    rois = torch.cat([pos_assigned_gt_inds[:, None].to(boxes.dtype), boxes], dim=1)
    masks = gt_masks.padded(boxes.device).to(boxes.dtype)[:, None]
    targets = roi_align(masks, rois, _pair(cfg.mask_size), 1.0, 0, 'avg', True).squeeze(1)
    return targets.float() if cfg.get('soft_mask_target', False) else (targets >= 0.5).float()
