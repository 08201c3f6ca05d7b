"""Parts of MMDetection's training step in which a GPU waits for Python, in faster forms.

``LEVERS`` names them. Importing ``mmscratch.models`` puts all of them in place; no config changes.
On a CPU each gives the same bits as MMDetection's own code, or is that code. On a GPU values are
equal to rounding, and random samples come from the GPU's generator.
"""

import sys
from collections.abc import Iterable
from typing import Any

import torch
from mmdet.models import DetDataPreprocessor, RPNHead, SingleRoIExtractor
from mmdet.models.task_modules import MaxIoUAssigner, RandomSampler

from mmscratch.models.speedups.group_norm import group_norm
from mmscratch.models.speedups.late_padded_masks import (
    MASK_TARGET,
    mask_target_single,
    pad_gt_masks,
)
from mmscratch.models.speedups.max_iou_assigner import assign_wrt_overlaps
from mmscratch.models.speedups.random_sampler import random_choice
from mmscratch.models.speedups.roi_levels import extract
from mmscratch.models.speedups.rpn_loss import loss_by_feat
from mmscratch.models.speedups.rpn_proposals import predict_by_feat
from mmscratch.models.speedups.sgd import step

# name -> (owner, attribute, what takes its place)
LEVERS: dict[str, list[tuple[Any, str, Any]]] = {
    'assigner': [(MaxIoUAssigner, 'assign_wrt_overlaps', assign_wrt_overlaps)],
    'sampler': [(RandomSampler, 'random_choice', random_choice)],
    'RPN loss': [(RPNHead, 'loss_by_feat', loss_by_feat)],
    'proposals': [(RPNHead, 'predict_by_feat', predict_by_feat)],
    'RoI levels': [(SingleRoIExtractor, 'forward', extract)],
    'masks': [
        (DetDataPreprocessor, 'pad_gt_masks', pad_gt_masks),
        (MASK_TARGET, 'mask_target_single', mask_target_single),
    ],
    # gives maps in bfloat16, to whose format MMDetection rounds RoIs: needs 'RoI levels'
    'GroupNorm': [(torch.nn.GroupNorm, 'forward', group_norm)],
    # does nothing without 'GroupNorm'
    'GroupNorm rows': [(sys.modules[group_norm.__module__], 'SPLIT', True)],
    'SGD': [(torch.optim.SGD, 'step', step)],
}
_ORIGINALS = {
    (owner, name): getattr(owner, name) for lever in LEVERS.values() for owner, name, _ in lever
}


def use(levers: Iterable[str]) -> None:
    """Put these levers in place, and what MMDetection and torch have in place of the others."""
    for name, lever in LEVERS.items():
        for owner, attribute, faster in lever:
            original = _ORIGINALS[owner, attribute]
            setattr(owner, attribute, faster if name in levers else original)
