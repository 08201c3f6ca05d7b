"""RoIPool, called as ``mmcv._ext.roi_pool_*`` are.

torchvision rounds a box to whole feature cells before it divides it, as Fast R-CNN does (Girshick,
ICCV 2015). mmcv's compiled kernel divides the unrounded box. The two agree on boxes whose corners
fall on cells, and differ by up to one cell at the borders of the others.

Letters in shapes: B images, C channels, H and W of the feature map, K boxes, P and Q output cells.
"""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from mmscratch.ops.precision import at_least_float32


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the maximum of each cell of each box into ``output``, and its place into ``argmax``.

    Args:
        input: [B, C, H, W] features.
        rois: [K, 5], (image index, x1, y1, x2, y2) in image pixels, corners inclusive.
        output: [K, C, P, Q], overwritten; 0 where a cell lies outside the map.
        argmax: [K, C, P, Q] int32, overwritten: ``y * W + x``; -1 where a cell lies outside.
        pooled_height: P.
        pooled_width: Q.
        spatial_scale: feature cells per image pixel.
    """
    features, boxes = at_least_float32(input, rois)
    pooled, places = torch.ops.torchvision.roi_pool(
        features, boxes, spatial_scale, pooled_height, pooled_width
    )
    output.copy_(pooled)
    argmax.copy_(places)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add the gradient with respect to the features to ``grad_input`` [B, C, H, W], in place.

    ``grad_output`` is [K, C, P, Q]; the rest is as in the forward pass.
    """
    grad, boxes = at_least_float32(grad_output, rois)
    grad_input += torch.ops.torchvision._roi_pool_backward(
        grad, boxes, argmax, spatial_scale, pooled_height, pooled_width, *grad_input.shape
    )
