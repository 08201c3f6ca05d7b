"""RoIAlign with average pooling, called as ``mmcv._ext.roi_align_*`` are.

On a CPU, a fixed number of samples makes the forward pass a product of a sparse matrix with the
features, and the backward pass the product of its transpose with the gradient. torchvision's CPU
kernels compute each weight again for each channel, on one thread.

Letters in shapes: B images, C channels, H and W of the feature map, K boxes, P and Q output cells,
S samples a cell and axis.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor
from torch.nn.functional import embedding_bag

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
        sampling_ratio: S; 0 takes ``ceil(cell size)`` samples.
        pool_mode: 1, the average; 0, the maximum, is refused.
        aligned: shift by half a cell, so that a cell's value sits at its centre.
    """
    if pool_mode != AVERAGE:
        refuse("roi_align_forward with pool_mode='max'")
    features, boxes = at_least_float32(input, rois)
    cells = aligned_height, aligned_width
    if is_sparse(features, boxes, sampling_ratio):
        # of one image it would be a view, with which embedding_bag is many times slower
        maps = features.permute(0, 2, 3, 1).contiguous()
        pixels, weights = _interpolation(
            boxes, maps.shape[:3], cells, spatial_scale, sampling_ratio, aligned
        )
        rows = embedding_bag(pixels, maps.flatten(0, 2), mode='sum', per_sample_weights=weights)
        output.copy_(rows.view(-1, *cells, rows.shape[1]).permute(0, 3, 1, 2))
        return
    pooled = torch.ops.torchvision.roi_align(
        features, boxes, spatial_scale, *cells, sampling_ratio, aligned
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
    cells = aligned_height, aligned_width
    if is_sparse(grad, boxes, sampling_ratio):
        maps = grad_input.permute(0, 2, 3, 1)
        pixels, weights = _interpolation(
            boxes, maps.shape[:3], cells, spatial_scale, sampling_ratio, aligned
        )
        # the transposed matrix: its rows are pixels, its columns cells
        order = pixels.flatten().argsort()
        counts = pixels.flatten().bincount(minlength=maps.shape[:3].numel())
        maps += embedding_bag(
            order // pixels.shape[1],
            grad.permute(0, 2, 3, 1).contiguous().flatten(0, 2),
            counts.cumsum(0) - counts,
            mode='sum',
            per_sample_weights=weights.flatten()[order],
        ).view(maps.shape)
        return

    def add(channels: Tensor, grad: Tensor) -> None:
        channels += torch.ops.torchvision._roi_align_backward(
            grad,
            boxes,
            spatial_scale,
            *cells,
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


def is_sparse(values: Tensor, boxes: Tensor, sampling_ratio: int) -> bool:
    """Whether the sparse matrix is used: its rows need equal numbers of samples."""
    return sampling_ratio > 0 and len(boxes) > 0 and not values.is_cuda


def _interpolation(
    rois: Tensor,
    maps: Sequence[int],
    cells: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Tensor, Tensor]:
    """The sparse matrix from pixels of the maps (B, H, W) to the cells (P, Q) of the boxes.

    Returns:
        Indices of pixels, int64, and their weights, each [K * P * Q, 4 * S * S]: row by row.
    """
    _, height, width = maps
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale - aligned / 2).unbind(1)
    box_height, box_width = y2 - y1, x2 - x1
    if not aligned:
        box_height, box_width = box_height.clamp(min=1), box_width.clamp(min=1)
    row, of_row = _interpolation_1d(y1, box_height, cells[0], sampling_ratio, height)
    column, of_column = _interpolation_1d(x1, box_width, cells[1], sampling_ratio, width)
    # [K, P, Q, 2 * S, 2 * S]
    row, of_row = row[:, :, None, :, None], of_row[:, :, None, :, None]
    column, of_column = column[:, None, :, None, :], of_column[:, None, :, None, :]
    image = rois[:, 0].long().view(-1, 1, 1, 1, 1)
    pixels = (image * height + row) * width + column
    columns = 4 * sampling_ratio**2
    return pixels.view(-1, columns), (of_row * of_column).view(-1, columns)


def _interpolation_1d(
    begin: Tensor, size: Tensor, cells: int, sampling_ratio: int, length: int
) -> tuple[Tensor, Tensor]:
    """Linear interpolation along one axis, averaged over the samples of a cell.

    Args:
        begin: [K], where the boxes begin, in pixels of an axis of ``length`` pixels.
        size: [K], how long they are.
        cells: into which they are divided.
        sampling_ratio: S.
        length: of the axis. Samples more than one pixel beyond its ends are zero.

    Returns:
        Indices of pixels, int64, and their weights, each [K, cells, 2 * S].
    """
    offsets = torch.arange(0.5, cells * sampling_ratio, dtype=begin.dtype) / sampling_ratio
    position = begin[:, None] + offsets * (size / cells)[:, None]
    inside = (position >= -1) & (position <= length)
    position = position.clamp(0, length - 1)
    low = position.floor()
    fraction = position - low
    weights = torch.stack((1 - fraction, fraction), -1) * inside[:, :, None] / sampling_ratio
    # the weights of a box that is not a number are none either
    pixels = torch.stack((low, (low + 1).clamp(max=length - 1)), -1).nan_to_num(0).long()
    shape = len(begin), cells, 2 * sampling_ratio
    return pixels.view(shape), weights.view(shape)
