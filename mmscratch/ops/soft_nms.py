"""Soft-NMS in plain torch, called as ``mmcv._ext.softnms`` is.

Source: Bodla et al., "Soft-NMS -- Improving Object Detection With One Line of Code", ICCV 2017.
The order of equal scores and the treatment of ``min_score`` follow mmcv's
``ops/csrc/pytorch/cpu/nms.cpp``.
"""

import torch
from torch import Tensor

from mmscratch.ops.precision import at_least_float32

NAIVE, LINEAR, GAUSSIAN = range(3)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Pick the best box, lower the scores of those that overlap it, drop the low ones, and repeat.

    Args:
        boxes: [N, 4], (x1, y1, x2, y2).
        scores: [N].
        dets: [N, 5], written in place: its first K rows become the K kept boxes with their
            lowered scores, in the order in which they were picked.
        iou_threshold: naive and linear: a box with at least this IoU is suppressed or lowered.
        sigma: gaussian: width of the factor ``exp(-iou ** 2 / sigma)``.
        min_score: a box whose score has fallen below this is dropped. The very first box is not
            asked.
        method: 0 naive (hard suppression), 1 linear (factor ``1 - iou``), 2 gaussian.
        offset: 0, or 1 for inclusive corners.

    Returns:
        [K] indices of the kept boxes, int64.
    """
    boxes, scores = at_least_float32(boxes, scores)
    rows = torch.cat([boxes, scores[:, None]], dim=1)
    inds = torch.arange(len(rows), device=rows.device)
    picked = 0
    while picked < len(rows):
        best = picked + int(rows[picked:, 4].argmax())
        swapped = torch.arange(len(rows), device=rows.device)
        swapped[[picked, best]] = swapped[[best, picked]]
        rows, inds = rows[swapped], inds[swapped]
        picked += 1

        top, rest = rows[picked - 1], rows[picked:]
        rest[:, 4] *= _factor(_iou(top, rest, offset), iou_threshold, sigma, method)
        left = picked + _fill_holes(~(rest[:, 4] < min_score))
        left = torch.cat([torch.arange(picked, device=rows.device), left])
        rows, inds = rows[left], inds[left]
    dets[: len(rows)] = rows.to(dets)
    return inds


def _iou(box: Tensor, others: Tensor, offset: int) -> Tensor:
    corner = torch.max(box[:2], others[:, :2])
    size = (torch.min(box[2:4], others[:, 2:4]) - corner + offset).clamp(min=0)
    inter = size.prod(dim=1)
    area = (box[2:4] - box[:2] + offset).prod()
    areas = (others[:, 2:4] - others[:, :2] + offset).prod(dim=1)
    return inter / (area + areas - inter)


def _factor(iou: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    if method == GAUSSIAN:
        return torch.exp(-(iou**2) / sigma)
    lowered = torch.zeros_like(iou) if method == NAIVE else 1 - iou
    # A box without area against its like has no IoU (NaN) and keeps its score.
    return torch.where(iou >= iou_threshold, lowered, 1)


def _fill_holes(stays: Tensor) -> Tensor:
    """Order of those that stay when each dropped one is replaced by the last of the list in turn.

    That is how mmcv's loop drops, and it decides which of two equal scores is picked first.
    """
    count = int(stays.sum())
    order = torch.arange(count, device=stays.device)
    order[~stays[:count]] = count + stays[count:].nonzero().flatten().flip(0)
    return order
