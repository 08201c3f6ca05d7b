"""The RPN's proposals of all images and levels at once."""

import torch
from mmdet.models import RPNHead
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import pad

from mmscratch.models.speedups.rpn_loss import anchors_of

# boxes of a level before NMS; memory grows by their square, 0.6 GB for 2000
MOST = 4000
_mmdet_predict = RPNHead.predict_by_feat


def predict_by_feat(
    self: RPNHead,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    score_factors: list[Tensor] | None = None,
    batch_img_metas: list[dict] | None = None,
    cfg: ConfigDict | None = None,
    rescale: bool = False,
    with_nms: bool = True,
) -> list[InstanceData]:
    """In training on a GPU :func:`proposals`; else those of MMDetection."""
    if (
        cls_scores[0].is_cuda
        and self.training
        and type(self) is RPNHead
        and type(self.bbox_coder) is DeltaXYWHBBoxCoder
        and self.use_sigmoid_cls
        and score_factors is None
        and cfg is not None
        and 0 < cfg.get('nms_pre', -1) <= MOST
        and dict(cfg.nms, iou_threshold=0) == dict(type='nms', iou_threshold=0)
        and not rescale
        and with_nms
    ):
        return proposals(self, cls_scores, bbox_preds, batch_img_metas, cfg)
    return _mmdet_predict(
        self, cls_scores, bbox_preds, score_factors, batch_img_metas, cfg, rescale, with_nms
    )


@torch.no_grad()
def proposals(
    self: RPNHead,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    batch_img_metas: list[dict],
    cfg: ConfigDict,
) -> list[InstanceData]:
    """MMDetection's proposals, but for boxes whose IoU is the threshold to rounding.

    Args:
        self: the head.
        cls_scores: of each level [B, A, H, W], for A anchors a cell.
        bbox_preds: of each level [B, 4 * A, H, W].
        batch_img_metas: B of them, with ``img_shape``.
        cfg: with ``nms_pre`` (boxes of a level before NMS), ``nms.iou_threshold``,
            ``min_bbox_size`` (pixels), ``max_per_img``.
    """
    count, device = len(cls_scores[0]), cls_scores[0].device
    sizes = [tuple(level.shape[-2:]) for level in cls_scores]
    levels = []
    most = cfg.get('nms_pre', -1)
    for scores, deltas, anchors in zip(
        cls_scores, bbox_preds, anchors_of(self, sizes, device)[0], strict=True
    ):
        scores = scores.permute(0, 2, 3, 1).reshape(count, -1).float()
        scores, best = scores.topk(min(most, scores.shape[1]) if most > 0 else scores.shape[1])
        deltas = deltas.permute(0, 2, 3, 1).reshape(count, -1, 4).float()
        deltas = deltas.gather(1, best[..., None].expand(-1, -1, 4))
        levels.append((scores.sigmoid(), deltas, anchors[best]))
    # smaller levels are filled up with boxes of no area, and a score below all
    length = max(scores.shape[1] for scores, *_ in levels)
    missing = [length - scores.shape[1] for scores, *_ in levels]
    scores = torch.stack(
        [pad(level[0], (0, n), value=-1) for level, n in zip(levels, missing, strict=True)], dim=1
    )
    deltas, anchors = (
        torch.stack(
            [pad(level[i], (0, 0, 0, n)) for level, n in zip(levels, missing, strict=True)], dim=1
        ).reshape(-1, 4)
        for i in (1, 2)
    )
    boxes = self.bbox_coder.decode(anchors, deltas).view(count, -1, 4)
    borders = torch.tensor(
        [[[width, height] * 2] for height, width in (m['img_shape'][:2] for m in batch_img_metas)],
        device=device,
    )
    boxes = boxes.clamp(min=0).minimum(borders)
    candidates = scores.flatten(1) >= 0
    if cfg.get('min_bbox_size', -1) >= 0:
        candidates &= (boxes[..., 2:] - boxes[..., :2] > cfg.min_bbox_size).all(-1)
    kept = [
        greedy_nms(own, own_candidates, cfg.nms.iou_threshold)
        for own, own_candidates in zip(
            boxes.view(-1, length, 4).split(2 * len(levels)),
            candidates.view(-1, length).split(2 * len(levels)),
            strict=True,
        )
    ]
    scores = scores.flatten(1).where(torch.cat(kept).view(count, -1), -1)
    scores, best = scores.topk(min(cfg.max_per_img, scores.shape[1]))
    numbers = (scores >= 0).sum(1).tolist()
    boxes = boxes.gather(1, best[..., None].expand(-1, -1, 4))
    return [
        InstanceData(
            bboxes=own_boxes[:number],
            scores=own_scores[:number],
            labels=torch.zeros(number, dtype=torch.long, device=device),
        )
        for own_boxes, own_scores, number in zip(boxes, scores, numbers, strict=True)
    ]


def greedy_nms(boxes: Tensor, candidates: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes greedy NMS keeps, in G groups at once.

    torchvision's kernel goes from kept box to kept box, one after the other: 3 ms for the proposals
    of an image. Here all boxes that a kept box overlaps are dropped, again and again, until that
    changes nothing. The i-th box is settled after i rounds at most; some ten do in practice.

    Args:
        boxes: [G, N, 4], (x1, y1, x2, y2), by falling score.
        candidates: [G, N], False for boxes that neither stay nor drop others.
        iou_threshold: a box goes if its IoU with a kept one before it is above.

    Returns:
        [G, N], whether the box stays.
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    shared = x2[:, :, None].minimum(x2[:, None]).sub_(x1[:, :, None].maximum(x1[:, None]))
    high = y2[:, :, None].minimum(y2[:, None]).sub_(y1[:, :, None].maximum(y1[:, None]))
    shared = shared.clamp_(min=0).mul_(high.clamp_(min=0))
    del high
    area = (x2 - x1) * (y2 - y1)
    union = (area[:, :, None] + area[:, None]).sub_(shared)
    # [G, i, j]: box i drops box j, if it is kept
    drops = (shared > union.mul_(iou_threshold)).triu_(1)
    del shared, union
    # sums of at most N ones; half precision may round them, and not to 0
    drops = drops.to(torch.float16 if boxes.is_cuda else torch.float32)
    kept = candidates
    with torch.autocast(boxes.device.type, enabled=False):
        while True:
            # each look at the result waits for the GPU
            for _ in range(4):
                before = kept
                dropped = (kept.to(drops.dtype)[:, None] @ drops)[:, 0] > 0
                kept = candidates & ~dropped
            if torch.equal(before, kept):
                return kept
