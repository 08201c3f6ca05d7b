"""Anchors of images that are smaller than any anchor.

As Detectron, the configs train the RPN on anchors within the image alone (``allowed_border=0``). A
very narrow or very small image has none, and MMDetection ends training when that image comes. Here
all anchors of such an image count, as with ``allowed_border=-1``.
"""

import mmdet.models.dense_heads.anchor_head
import torch
from torch import Tensor

_mmdet_anchor_inside_flags = mmdet.models.dense_heads.anchor_head.anchor_inside_flags


def anchor_inside_flags(
    flat_anchors: Tensor, valid_flags: Tensor, img_shape: tuple[int, int], allowed_border: int = 0
) -> Tensor:
    """MMDetection's flags, (N,) bool, of the N anchors (N, 4); the valid ones where none is set."""
    inside = _mmdet_anchor_inside_flags(flat_anchors, valid_flags, img_shape, allowed_border)
    # a branch would wait for the GPU
    return torch.where(inside.any(), inside, valid_flags.bool())


def install() -> None:
    """Put it in MMDetection's place, for AnchorHead and children such as RPNHead and RetinaHead."""
    mmdet.models.dense_heads.anchor_head.anchor_inside_flags = anchor_inside_flags
