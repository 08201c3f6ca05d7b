"""Box voting: a detection moves to the mean of the boxes that NMS dropped in its favour."""

from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor


def vote_boxes(
    boxes: Tensor, all_boxes: Tensor, all_scores: Tensor, iou_threshold: float
) -> Tensor:
    """Refine the detections of one class that NMS has kept by all those that it was given.

    Every box becomes the mean, weighted by score, of the boxes of ``all_boxes`` whose IoU with it
    is at least ``iou_threshold`` (Gidaris and Komodakis, ICCV 2015, section 5.4; Detectron's
    ``box_voting`` in ``detectron/utils/boxes.py`` with the scoring method ID, which leaves scores
    as they are). A box without voters, which has no area or is missing in ``all_boxes``, stays.
    Sums are taken in float64, so that a box without other voters stays the same bit for bit.

    Args:
        boxes: [N, 4], (x1, y1, x2, y2) with x2 - x1 the width; what NMS has kept.
        all_boxes: [M, 4], what NMS was given.
        all_scores: [M], above 0.
        iou_threshold: above 0, at most 1.

    Returns:
        Boxes [N, 4], in the order and format of those given.
    """
    votes = bbox_overlaps(boxes.double(), all_boxes.double()) >= iou_threshold
    weights = votes * all_scores.double()
    total = weights.sum(dim=1, keepdim=True)
    mean = weights @ all_boxes.double() / total
    return mean.to(boxes.dtype).where(total > 0, boxes)
