"""GroupNorm that stays in bfloat16, and whose statistics occupy the whole GPU."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

_torch_forward = nn.GroupNorm.forward
# whether long rows are split; a lever of its own
SPLIT = False
# elements of one group of one image, from which on a row is long
LONG = 2**17


def group_norm(self: nn.GroupNorm, x: Tensor) -> Tensor:
    """Normalized ``x`` [B, C, ...]; on a GPU in bfloat16 where autocast to it gave bfloat16.

    Autocast takes GroupNorm to float32, and whatever follows to the next convolution: twice the
    memory and twice the traffic.
    """
    half = x.is_cuda and x.dtype == torch.bfloat16 and torch.is_autocast_enabled('cuda')
    if SPLIT and (half or x.dtype == torch.float32) and _is_long(self, x):
        with torch.autocast('cuda', enabled=False):
            return SplitGroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)
    if not half:
        return _torch_forward(self, x)
    with torch.autocast('cuda', enabled=False):
        weight, bias = (None if v is None else v.to(x.dtype) for v in (self.weight, self.bias))
        return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


def _is_long(self: nn.GroupNorm, x: Tensor) -> bool:
    return (
        x.is_cuda
        and self.affine
        and x.numel() >= LONG * len(x) * self.num_groups
        and x.is_contiguous()
        # a compiler has its own way
        and not torch.compiler.is_compiling()
    )


class SplitGroupNorm(Function):
    """GroupNorm of long rows.

    torch takes one block of threads for the mean and variance of each group of each image: 64 for
    two images, on a GPU that runs some 1,000 at once. Here a row is up to 64 pieces, each with a
    block of its own. Statistics are float32, in the backward pass of the format of the input.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        """Normalized ``x``, contiguous [B, C, ...] on a GPU; ``weight``, ``bias`` [C] float32."""
        count, channels = x.shape[:2]
        rows = count * groups
        pieces = math.gcd(x.numel() // rows, 64)
        mean, inverse = torch.batch_norm_stats(x.view(1, rows * pieces, -1), eps)
        # of the whole row: the mean of the variances and the variance of the means
        mean = mean.view(rows, pieces)
        variance = inverse.view(rows, pieces).pow(-2).mean(1) + mean.var(1, correction=0)
        mean, inverse = mean.mean(1), variance.rsqrt()
        of_channels = (
            v[:, None].expand(-1, channels // groups).reshape(-1) for v in (mean, inverse)
        )
        of_images = (v.repeat(count) for v in (weight, bias))
        out = torch.batch_norm_elemt(
            x.view(1, count * channels, -1), *of_images, *of_channels, eps
        ).view_as(x)
        ctx.save_for_backward(x, mean, inverse, weight)
        ctx.groups = groups
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of ``x``, ``weight`` and ``bias``, by torch's own kernels."""
        x, mean, inverse, weight = ctx.saved_tensors
        count, channels = x.shape[:2]
        grads = torch.ops.aten.native_group_norm_backward(
            grad.contiguous(),
            x,
            *(v.view(count, ctx.groups).to(x.dtype) for v in (mean, inverse)),
            weight.to(x.dtype),
            count,
            channels,
            x[0, 0].numel(),
            ctx.groups,
            [True, True, True],
        )
        return grads[0], *(v.to(weight.dtype) for v in grads[1:]), None, None
