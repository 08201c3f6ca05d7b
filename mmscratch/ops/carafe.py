"""Upsampling by predicted kernels, called as ``mmcv._ext.carafe_*`` are.

Source: Wang et al., "CARAFE: Content-Aware ReAssembly of FEatures", ICCV 2019.

Letters in shapes: B images, C channels, G groups of channels, H and W of the features, S the scale,
K the side of a kernel.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmscratch.ops.precision import at_least_float32


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write, at each place of ``output``, its kernel's sum of the features around it.

    Args:
        features: [B, C, H, W]; 0 beyond the borders.
        masks: [B, G * K * K, S * H, S * W], the kernels, row by row.
        rfeatures: [B, C, H, W], overwritten: mmcv gives it to the backward pass as the features.
        routput: unused.
        rmasks: unused.
        output: [B, C, S * H, S * W], overwritten.
        kernel_size: K, odd.
        group_size: G.
        scale_factor: S.
    """
    rfeatures.copy_(features)
    features, masks = at_least_float32(features, masks)
    kernels = _split(masks, group_size, scale_factor)
    values = _split(torch.zeros_like(output, dtype=features.dtype), group_size, scale_factor)
    around = _shifted(pad(features, [kernel_size // 2] * 4), kernel_size, group_size)
    for cell, shifted in enumerate(around):
        values += shifted * kernels[:, :, cell, None]
    output.copy_(values.reshape(output.shape))


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Add the gradients of features and masks to ``grad_input`` and ``grad_masks``, in place.

    ``rfeatures`` are the features; the other ``r...`` are unused.
    """
    margin = kernel_size // 2
    grad, features, kernels = at_least_float32(grad_output, rfeatures, masks)
    grad = _split(grad, group_size, scale_factor)
    kernels = _split(kernels, group_size, scale_factor)
    padded = pad(features, [margin] * 4)
    grad_padded = torch.zeros_like(padded)
    grad_kernels = torch.zeros_like(kernels)
    around = _shifted(padded, kernel_size, group_size)
    targets = _shifted(grad_padded, kernel_size, group_size)
    for cell, (shifted, target) in enumerate(zip(around, targets)):
        target += (grad * kernels[:, :, cell, None]).sum((4, 6), keepdim=True)
        grad_kernels[:, :, cell] = (grad * shifted).sum(2)
    height, width = grad_input.shape[2:]
    grad_input += grad_padded[:, :, margin : margin + height, margin : margin + width]
    grad_masks += grad_kernels.reshape(masks.shape)


def _split(values: Tensor, groups: int, scale: int) -> Tensor:
    """[B, G * N, S * H, S * W] as [B, G, N, H, S, W, S]."""
    batch, _, height, width = values.shape
    return values.view(batch, groups, -1, height // scale, scale, width // scale, scale)


def _shifted(padded: Tensor, kernel_size: int, groups: int) -> Iterator[Tensor]:
    """Views [B, G, C / G, H, 1, W, 1] of padded features, for each cell of the kernel."""
    batch, channels, rows, columns = padded.shape
    grouped = padded.view(batch, groups, channels // groups, rows, 1, columns, 1)
    height, width = rows - kernel_size + 1, columns - kernel_size + 1
    for y in range(kernel_size):
        for x in range(kernel_size):
            yield grouped[:, :, :, y : y + height, :, x : x + width]
