"""Groups of boxes that greedy NMS makes, called as ``mmcv._ext.nms_match`` is."""

import torchvision
from torch import Tensor

from mmscratch.ops.precision import at_least_float32


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Indices of the boxes in groups: a kept box, then those that it suppresses, by falling score.

    Args:
        dets: [N, 5], (x1, y1, x2, y2, score).
        iou_threshold: in [0, 1]; a box goes if its IoU with a kept one is at least this.
    """
    [rows] = at_least_float32(dets)
    left = rows[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(left):
        alike = torchvision.ops.box_iou(rows[left[:1], :4], rows[left, :4])[0] >= iou_threshold
        alike[0] = True  # a box without area has no IoU with itself
        groups.append(left[alike].tolist())
        left = left[~alike]
    return groups
