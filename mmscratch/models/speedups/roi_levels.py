"""SingleRoIExtractor, with RoIs sorted by level once in place of a search at each level."""

import torch
from mmdet.models import SingleRoIExtractor
from torch import Tensor

_mmdet_forward = SingleRoIExtractor.forward


def extract(
    self: SingleRoIExtractor,
    feats: tuple[Tensor, ...],
    rois: Tensor,
    roi_scale_factor: float | None = None,
) -> Tensor:
    """RoI features [K, C, P, Q] of the levels [B, C, H, W] and RoIs [K, 5]; see the parent."""
    if rois.is_cuda and len(feats) > 1:
        return pool_sorted(self, feats, rois, roi_scale_factor)
    return _mmdet_forward(self, feats, rois, roi_scale_factor)


def pool_sorted(
    self: SingleRoIExtractor,
    feats: tuple[Tensor, ...],
    rois: Tensor,
    roi_scale_factor: float | None = None,
) -> Tensor:
    """The parent's features, but RoIs keep their format.

    It would round them to the maps' format: in bfloat16, coordinates beyond 128 lose their
    fraction.
    """
    levels = self.map_roi_levels(rois, len(feats))
    if roi_scale_factor is not None:
        rois = self.roi_rescale(rois, roi_scale_factor)
    order = levels.argsort()
    numbers = (levels == torch.arange(len(feats), device=rois.device)[:, None]).sum(1).tolist()
    pooled = torch.cat(
        [
            layer(level, own)
            for layer, level, own in zip(
                self.roi_layers, feats, rois[order].split(numbers), strict=False
            )
        ]
    )
    return torch.zeros_like(pooled).index_copy(0, order, pooled)
