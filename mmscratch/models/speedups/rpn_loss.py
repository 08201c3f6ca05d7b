"""The RPN's losses of a batch, without waiting for the GPU at each image and level."""

from itertools import accumulate
from typing import Any

import torch
from mmdet.models import RPNHead
from mmdet.models.dense_heads import anchor_head
from mmdet.models.task_modules import DeltaXYWHBBoxCoder, MaxIoUAssigner, RandomSampler
from mmengine.structures import InstanceData
from torch import Tensor

_mmdet_loss = RPNHead.loss_by_feat


def loss_by_feat(
    self: RPNHead,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    batch_gt_instances: list[InstanceData],
    batch_img_metas: list[dict],
    batch_gt_instances_ignore: list[InstanceData] | None = None,
) -> dict[str, list[Tensor]]:
    """On a GPU :func:`sampled_loss` of an RPN as R-CNNs have it; MMDetection's loss of others."""
    assigner: Any = getattr(self, 'assigner', None)
    sampler: Any = getattr(self, 'sampler', None)
    if (
        cls_scores[0].is_cuda
        and type(self) is RPNHead
        and type(assigner) is MaxIoUAssigner
        and assigner.ignore_iof_thr <= 0
        and assigner.perm_repeat_gt_cfg is None
        and type(sampler) is RandomSampler
        and sampler.neg_pos_ub < 0
        and not sampler.add_gt_as_proposals
        and type(self.bbox_coder) is DeltaXYWHBBoxCoder
        and not self.reg_decoded_bbox
        and isinstance(batch_gt_instances[0].bboxes, Tensor)
        and self.use_sigmoid_cls
        and self.train_cfg['pos_weight'] <= 0
    ):
        return sampled_loss(self, cls_scores, bbox_preds, batch_gt_instances, batch_img_metas)
    return _mmdet_loss(
        self, cls_scores, bbox_preds, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
    )


def sampled_loss(
    self: RPNHead,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    batch_gt_instances: list[InstanceData],
    batch_img_metas: list[dict],
) -> dict[str, list[Tensor]]:
    """MMDetection's loss, to rounding; only sampled anchors have a part in it here.

    Args:
        self: the head.
        cls_scores: of each level [B, A, H, W], for A anchors a cell.
        bbox_preds: of each level [B, 4 * A, H, W].
        batch_gt_instances: B of them, with ``bboxes`` [K, 4] and ``labels`` [K].
        batch_img_metas: B of them, with ``img_shape`` and ``pad_shape``.
    """
    count, device = len(cls_scores[0]), cls_scores[0].device
    sizes = [(level.shape[-2], level.shape[-1]) for level in cls_scores]
    anchors, corners = (torch.cat(levels) for levels in anchors_of(self, sizes, device))
    matched = torch.stack(
        [
            _match(self, anchors, corners, objects, meta)
            for objects, meta in zip(batch_gt_instances, batch_img_metas, strict=True)
        ]
    )
    sampler = self.sampler
    picks, is_object, counts = draw(matched, sampler.num, sampler.pos_fraction)

    scores = torch.cat([s.permute(0, 2, 3, 1).reshape(count, -1) for s in cls_scores], dim=1)
    deltas = torch.cat([d.permute(0, 2, 3, 1).reshape(count, -1, 4) for d in bbox_preds], dim=1)
    scores = scores.gather(1, picks).reshape(-1, 1)
    deltas = deltas.gather(1, picks[..., None].expand(-1, -1, 4)).reshape(-1, 4)

    priors = targets = anchors[picks]
    boxes = torch.cat([objects.bboxes for objects in batch_gt_instances])
    if len(boxes):
        # the place of each image's first object in the common list
        firsts = list(accumulate([0, *(len(objects) for objects in batch_gt_instances[:-1])]))
        first = torch.tensor(firsts, device=device)[:, None]
        own = (first + matched.gather(1, picks) - 1).clamp(min=0, max=len(boxes) - 1)
        targets = torch.where(is_object[..., None], boxes[own], priors)
    targets = self.bbox_coder.encode(priors.reshape(-1, 4), targets.reshape(-1, 4))

    # as SamplingResult counts: at least one of each kind for each image
    divisor = (counts & is_object).sum(1).clamp(min=1) + (counts & ~is_object).sum(1).clamp(min=1)
    divisor = divisor.sum()
    labels = torch.where(is_object, 0, self.num_classes).flatten()
    loss_cls = self.loss_cls(scores, labels, counts.flatten().float(), avg_factor=divisor)
    weights = (counts & is_object).flatten().float()[:, None].expand(-1, 4)
    loss_bbox = self.loss_bbox(deltas, targets, weights, avg_factor=divisor)
    return dict(loss_rpn_cls=[loss_cls], loss_rpn_bbox=[loss_bbox])


def draw(matched: Tensor, num: int, pos_fraction: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw ``num`` anchors of each image, at most ``pos_fraction`` of them positive.

    Args:
        matched: [B, N]; above 0 for an object, 0 for background, -1 for neither.
        num: anchors an image.
        pos_fraction: in [0, 1].

    Returns:
        Of S places in each image, [B, S]: the anchor, whether the place is for an object, and
        whether it counts. Places are left over where an image has too few anchors of a kind.
    """
    luck = torch.rand(matched.shape, device=matched.device)

    def top(candidates: Tensor, number: int) -> tuple[Tensor, Tensor]:
        values, places = luck.where(candidates, -1).topk(min(number, luck.shape[1]), dim=1)
        return values >= 0, places

    is_positive, positives = top(matched > 0, int(num * pos_fraction))
    is_negative, negatives = top(matched == 0, num)
    room = num - is_positive.sum(1, keepdim=True)
    is_negative &= torch.arange(negatives.shape[1], device=matched.device) < room
    is_object = torch.cat([torch.ones_like(is_positive), torch.zeros_like(is_negative)], dim=1)
    counts = torch.cat([is_positive, is_negative], dim=1)
    return torch.cat([positives, negatives], dim=1), is_object, counts


def _match(
    self: RPNHead, anchors: Tensor, corners: Tensor, objects: InstanceData, meta: dict
) -> Tensor:
    """Numbers [N] of the objects that anchors [N, 4] belong to, as :func:`draw` wants them."""
    height, width = meta['pad_shape'][:2]
    # ``valid_flags`` of MMDetection
    valid = (corners[:, 0] < width) & (corners[:, 1] < height)
    inside = anchor_head.anchor_inside_flags(
        anchors, valid, meta['img_shape'][:2], self.train_cfg['allowed_border']
    )
    overlaps = self.assigner.iou_calculator(objects.bboxes, anchors)
    overlaps.masked_fill_(~inside, -1)
    matched = self.assigner.assign_wrt_overlaps(overlaps, objects.labels).gt_inds
    return matched.where(inside, -1)


def anchors_of(
    self: RPNHead, sizes: list[tuple[int, int]], device: torch.device
) -> tuple[list[Tensor], list[Tensor]]:
    """The anchors of levels of these (height, width), and the points at which their cells begin.

    Returns:
        For each level [N, 4] and [N, 2], in pixels of the image. Those of the last four kinds of
        images are remembered: some 10 MB each.
    """
    known = vars(self).setdefault('known_anchors', {})
    kind = (*sizes, device)
    if kind not in known:
        generator, corners = self.prior_generator, []
        for (height, width), (dx, dy), number in zip(
            sizes, generator.strides, generator.num_base_priors, strict=True
        ):
            x = torch.arange(0, width * dx, dx, device=device)
            y = torch.arange(0, height * dy, dy, device=device)
            corners.append(torch.cartesian_prod(y, x).flip(1).repeat_interleave(number, dim=0))
        while len(known) >= 4:
            del known[next(iter(known))]
        known[kind] = generator.grid_priors(sizes, device=device), corners
    return known[kind]
