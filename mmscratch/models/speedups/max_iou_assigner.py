"""MaxIoUAssigner's matching without its loop over objects, which waits for a GPU at each."""

import torch
from mmdet.models.task_modules import AssignResult, MaxIoUAssigner
from torch import Tensor

_mmdet_assign = MaxIoUAssigner.assign_wrt_overlaps


def assign_wrt_overlaps(self: MaxIoUAssigner, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
    """Match N boxes to K objects by their IoU ``overlaps`` [K, N]; ``gt_labels`` [K].

    The result is that of MMDetection. A box that is the best one of several objects goes to the
    last of them.
    """
    has_range = isinstance(self.neg_iou_thr, float | tuple)
    if not (overlaps.numel() and self.gt_max_assign_all and has_range):
        return _mmdet_assign(self, overlaps, gt_labels)
    one = isinstance(self.neg_iou_thr, float)
    lowest, highest = (0, self.neg_iou_thr) if one else self.neg_iou_thr
    best_of_box, object_of_box = overlaps.max(dim=0)
    background = (best_of_box >= lowest) & (best_of_box < highest)
    gt_inds = torch.where(background, 0, -1)
    gt_inds = torch.where(best_of_box >= self.pos_iou_thr, object_of_box + 1, gt_inds)
    if self.match_low_quality:
        best_of_object = overlaps.amax(dim=1, keepdim=True)
        is_best = (overlaps == best_of_object) & (best_of_object >= self.min_pos_iou)
        numbers = torch.arange(1, len(overlaps) + 1, dtype=torch.int32, device=overlaps.device)
        last = torch.where(is_best, numbers[:, None], 0).amax(dim=0)
        gt_inds = torch.where(last > 0, last, gt_inds)
    labels = torch.where(gt_inds > 0, gt_labels[(gt_inds - 1).clamp(min=0)].long(), -1)
    return AssignResult(len(overlaps), gt_inds, best_of_box, labels)
