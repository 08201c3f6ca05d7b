"""Masks of a batch that come into being on the GPU, and only where something is made of them."""

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
from torch.nn.modules.utils import _pair

from mmscratch.data.late_masks import Cut, LateMasks

_mmdet_pad = DetDataPreprocessor.pad_gt_masks
# a function of its name hides the module
MASK_TARGET = importlib.import_module('mmdet.structures.mask.mask_target')
_mmdet_target = MASK_TARGET.mask_target_single


def pad_gt_masks(self: DetDataPreprocessor, batch_data_samples: list[DetDataSample]) -> None:
    """Pad the samples' masks to the batch's shape, in place."""
    first = batch_data_samples[0].gt_instances.get('masks')
    if type(first) not in (BitmapMasks, LateMasks) or self.mask_pad_value:
        _mmdet_pad(self, batch_data_samples)
        return
    for sample in batch_data_samples:
        masks = sample.gt_instances.masks
        if type(masks) is BitmapMasks:
            axes = (np.arange(side, dtype=np.int32) for side in (masks.height, masks.width))
            masks = LateMasks.from_cuts([Cut(mask, 0, 0) for mask in masks], *axes)
        sample.gt_instances.masks = masks.pad(sample.batch_input_shape)


def mask_target_single(
    pos_proposals: Tensor, pos_assigned_gt_inds: Tensor, gt_masks: Any, cfg: ConfigDict
) -> Tensor:
    """Mask targets [P, *cfg.mask_size] of P proposals [P, 4], float32, equal to MMDetection's.

    MMDetection takes boxes and targets to the CPU and back, and a copy of the whole mask for each
    proposal.
    """
    if type(gt_masks) is not LateMasks or not len(gt_masks) or not len(pos_proposals):
        return _mmdet_target(pos_proposals, pos_assigned_gt_inds, gt_masks, cfg)
    x, y = pos_proposals[:, 0::2], pos_proposals[:, 1::2]
    x, y = x.clamp(min=0, max=gt_masks.width), y.clamp(min=0, max=gt_masks.height)
    boxes = torch.stack([x, y], dim=2).flatten(1)
    rois = torch.cat([pos_assigned_gt_inds[:, None].to(boxes.dtype), boxes], dim=1)
    masks = gt_masks.on(boxes.device).to(boxes.dtype)[:, None]
    targets = roi_align(masks, rois, _pair(cfg.mask_size), 1.0, 0, 'avg', True).squeeze(1)
    return targets.float() if cfg.get('soft_mask_target', False) else (targets >= 0.5).float()
