"""GroupNorm that stays in bfloat16."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class GroupNorm(nn.GroupNorm):
    """torch's GroupNorm, which mixed precision on a GPU leaves in bfloat16.

    Autocast takes GroupNorm to float32, and whatever follows up to the next convolution: twice the
    memory and twice the traffic. In bfloat16, torch sums in float32, but rounds the mean and the
    variance that it keeps for the backward pass to bfloat16.

    Built from ``dict(type='GN', num_groups=32)``, as in MMDetection.

    Args:
        num_channels: C.
        num_groups: divides C.
        eps: added to the variance.
        affine: whether there are weights and biases [C].
    """

    def __init__(
        self, num_channels: int, num_groups: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        # the order in which mmcv gives arguments to all norm layers but torch's own GroupNorm
        super().__init__(num_groups, num_channels, eps, affine)

    def forward(self, x: Tensor) -> Tensor:
        """Normalized ``x`` [B, C, ...]; in bfloat16 on a GPU, where autocast is to bfloat16."""
        is_half = x.is_cuda and x.dtype == torch.bfloat16
        if not (is_half and torch.is_autocast_enabled('cuda')):
            return super().forward(x)
        with torch.autocast('cuda', enabled=False):
            weight, bias = (None if v is None else v.to(x.dtype) for v in (self.weight, self.bias))
            return functional.group_norm(x, self.num_groups, weight, bias, self.eps)
