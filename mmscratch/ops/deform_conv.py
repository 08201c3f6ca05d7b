"""Deformable convolution of both versions, called as ``mmcv._ext.*deform_conv_*`` are.

torchvision's kernel computes all gradients at once; mmcv asks twice for those of version 1, which
are computed twice.

Sources: Dai et al., "Deformable Convolutional Networks", ICCV 2017 (version 1); Zhu et al.,
"Deformable ConvNets v2", CVPR 2019 (modulated).

Letters in shapes: B images, C and D channels in and out, G groups of channels, O groups of offsets,
K cells of the kernel, H and W of the input, P and Q of the output.
"""

from math import prod

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor
from torch.nn.functional import pad

from mmscratch.ops.precision import at_least_float32

# how mmcv calls, in each version, the numbers that torchvision takes by position
NAMES = ('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW', 'group', 'deformable_group')
MODULATED_NAMES = (
    'stride_h',
    'stride_w',
    'pad_h',
    'pad_w',
    'dilation_h',
    'dilation_w',
    *NAMES[-2:],
)

FAR = 1e4  # cells; also a float16


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **sizes: int,
) -> None:
    """Convolve ``input``, sampled off the grid, into ``output``, in place.

    Args:
        input: [B, C, H, W].
        weight: [D, C / G, height, width of the kernel].
        offset: [B, O * K * 2, P, Q] cells by which a sample lies off the grid: (y, x) of each
            cell of the kernel, row by row. Samples outside of the input are 0.
        output: [B, D, P, Q], overwritten.
        columns: unused.
        ones: unused.
        sizes: ``NAMES``; kW, kH and im2col_step are not needed.
    """
    output.copy_(_forward(input, weight, offset, None, None, [sizes[name] for name in NAMES]))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    """Add the gradients of input and offset to ``grad_input`` and ``grad_offset``, in place."""
    numbers = [sizes[name] for name in NAMES]
    gradients = _backward(grad_output, input, weight, offset, None, None, numbers)
    grad_input += gradients[0]
    grad_offset += gradients[2]


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **sizes: int,
) -> None:
    """Add the gradient of the weight, times ``scale``, to ``grad_weight``, in place."""
    numbers = [sizes[name] for name in NAMES]
    # the gradient of the weight does not depend on the weight
    gradients = _backward(grad_output, input, grad_weight, offset, None, None, numbers)
    grad_weight += scale * gradients[1]


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """As ``deform_conv_forward``, with each sample times its ``mask`` [B, O * K, P, Q].

    ``bias`` is [D], without ``with_bias`` empty; ``sizes`` are ``MODULATED_NAMES``. Offset and mask
    may be larger than the output, see ``_as_read``.
    """
    numbers = [sizes[name] for name in MODULATED_NAMES]
    offset, mask = _as_read(offset, output), _as_read(mask, output)
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, numbers))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Add the gradients of the inputs to those of the call, in place."""
    numbers = [sizes[name] for name in MODULATED_NAMES]
    own_bias = bias if with_bias else None
    offset, mask = _as_read(offset, grad_output), _as_read(mask, grad_output)
    gradients = _backward(grad_output, input, weight, offset, mask, own_bias, numbers)
    targets = (grad_input, grad_weight, grad_offset, grad_mask, grad_bias)
    for target, gradient in zip(targets[: 4 + with_bias], gradients):
        if gradient.shape != target.shape:
            unused = target[0].numel() - gradient[0].numel()
            gradient = pad(gradient.flatten(1), (0, unused)).view(target.shape)
        target += gradient


def _as_read(values: Tensor, output: Tensor) -> Tensor:
    """What mmcv reads of an offset or mask [B, N, H, W] for an output [B, D, P, Q]: [B, N, P, Q].

    It takes each image's first ``N * P * Q`` numbers. MMDetection's DyHead has maps of twice the
    size, and its released weights were trained with that.
    """
    shape = (*values.shape[:2], *output.shape[2:])
    return values if values.shape == shape else values.flatten(1)[:, : prod(shape[1:])].view(shape)


def _forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    numbers: list[int],
) -> Tensor:
    tensors = _tensors(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*tensors, *numbers, mask is not None)


def _backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    numbers: list[int],
) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset, mask and bias."""
    grad, *tensors = at_least_float32(grad_output, *_tensors(input, weight, offset, mask, bias))
    return torch.ops.torchvision._deform_conv2d_backward(grad, *tensors, *numbers, mask is not None)


def _tensors(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> list[Tensor]:
    """As the kernel takes them: it reads no mask if told so, and always a bias.

    It reads outside of its memory at an offset that is no number, as a diverged training has.
    mmcv's samples 0 there, as both do far away.
    """
    offset = offset.nan_to_num(FAR, FAR, -FAR)
    mask = input.new_zeros(len(input), 1) if mask is None else mask
    bias = input.new_zeros(len(weight)) if bias is None else bias
    return at_least_float32(input, weight, offset, mask, bias)
