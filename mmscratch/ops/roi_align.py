"""RoIAlign with average pooling, called as ``mmcv._ext.roi_align_*`` are.

Letters in shapes: B images, C channels, H and W of the feature map, K boxes, P and Q output cells.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from mmscratch.ops.absent_op import refuse
from mmscratch.ops.precision import at_least_float32

AVERAGE = 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Average bilinear samples of each cell of each box into ``output``, in place.

    Args:
        input: [B, C, H, W] features.
        rois: [K, 5], (image index, x1, y1, x2, y2) in image pixels.
        output: [K, C, P, Q], overwritten.
        argmax_y: unused, max pooling only.
        argmax_x: unused, max pooling only.
        aligned_height: P.
        aligned_width: Q.
        spatial_scale: feature cells per image pixel.
        sampling_ratio: samples per cell and axis; 0 takes ``ceil(cell size)`` of them.
        pool_mode: 1, the average; 0, the maximum, is refused.
        aligned: shift by half a cell, so that a cell's value sits at its centre.
    """
    if pool_mode != AVERAGE:
        refuse("roi_align_forward with pool_mode='max'")
    features, boxes = at_least_float32(input, rois)
    pooled = torch.ops.torchvision.roi_align(
        features, boxes, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient with respect to the features to ``grad_input`` [B, C, H, W], in place.

    ``grad_output`` is [K, C, P, Q]; the rest is as in the forward pass.
    """
    if pool_mode != AVERAGE:
        refuse("roi_align_backward with pool_mode='max'")
    grad, boxes = at_least_float32(grad_output, rois)

    def add(channels: Tensor, grad: Tensor) -> None:
        channels += torch.ops.torchvision._roi_align_backward(
            grad,
            boxes,
            spatial_scale,
            aligned_height,
            aligned_width,
            *channels.shape,
            sampling_ratio,
            aligned,
        )

    threads = 1 if grad.is_cuda else torch.get_num_threads()
    if threads == 1:
        add(grad_input, grad)
        return
    # torchvision's CPU kernel uses one thread; channels have nothing to do with each other
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, grad_input.chunk(threads, dim=1), grad.chunk(threads, dim=1)))
