"""Greedy non-maximum suppression, called as ``mmcv._ext.nms`` is."""

import torch
import torchvision
from torch import Tensor

from mmscratch.ops.precision import at_least_float32


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes, int64, by falling score.

    A box goes if its IoU with a kept box of higher score is above ``iou_threshold``.

    Args:
        boxes: [N, 4], (x1, y1, x2, y2).
        scores: [N].
        iou_threshold: in [0, 1].
        offset: 0, or 1 for inclusive corners, where a box is ``x2 - x1 + 1`` wide.
    """
    boxes, scores = at_least_float32(boxes, scores)
    if offset:
        # Moving the far corner by one turns inclusive corners into exclusive ones.
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torchvision.ops.nms(boxes, scores, iou_threshold)
