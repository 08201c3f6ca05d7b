"""Box voting: a detection moves to the mean of the boxes that NMS dropped in its favour."""

from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from mmscratch.errors import InputError

SCORINGS = ('ID', 'AVG', 'IOU_AVG')


def vote_boxes(
    boxes: Tensor,
    scores: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    iou_threshold: float,
    scoring: str = 'ID',
) -> tuple[Tensor, Tensor]:
    """Refine the detections of one class that NMS has kept by all those that it was given.

    Every box becomes the mean, weighted by score, of the boxes of ``all_boxes`` whose IoU with it
    is at least ``iou_threshold`` (Gidaris and Komodakis, ICCV 2015, section 5.4; Detectron's
    ``box_voting`` in ``detectron/utils/boxes.py``). A box without voters, which is one without area
    or missing in ``all_boxes``, stays. Sums are taken in float64, so a box that alone votes for
    itself stays as it is, bit for bit.

    Args:
        boxes: [N, 4], (x1, y1, x2, y2) with x2 - x1 the width; what NMS has kept.
        scores: [N].
        all_boxes: [M, 4], what NMS was given.
        all_scores: [M], above 0.
        iou_threshold: above 0, at most 1.
        scoring: the new scores: ``'ID'`` leaves them, ``'AVG'`` takes the mean over the voters,
            ``'IOU_AVG'`` the same weighted by their IoU.

    Returns:
        Boxes [N, 4] and scores [N], in the order and format of those given.

    Raises:
        InputError: ``iou_threshold`` or ``scoring`` is none of the above.
    """
    check_voting(iou_threshold, scoring)
    iou = bbox_overlaps(boxes.double(), all_boxes.double())
    votes = (iou >= iou_threshold).double()
    weights = votes * all_scores.double()
    total = weights.sum(dim=1, keepdim=True)
    voted = (total > 0).squeeze(1)
    boxes, scores = boxes.clone(), scores.clone()
    mean = weights[voted] @ all_boxes.double() / total[voted]
    boxes[voted] = mean.to(boxes.dtype)
    if scoring != 'ID':
        shares = votes if scoring == 'AVG' else votes * iou
        mean_score = (shares * all_scores.double()).sum(dim=1) / shares.sum(dim=1)
        scores[voted] = mean_score[voted].to(scores.dtype)
    return boxes, scores


def check_voting(iou_threshold: float, scoring: str) -> None:
    """Raise InputError for settings that :func:`vote_boxes` does not have."""
    if not 0 < iou_threshold <= 1:
        raise InputError(f'box voting: iou_threshold={iou_threshold}: give one in (0, 1]')
    if scoring not in SCORINGS:
        raise InputError(f'box voting: scoring={scoring!r}: there are {", ".join(SCORINGS)}')
