"""GroupNorm that stays in bfloat16."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_torch_forward = nn.GroupNorm.forward


def group_norm(self: nn.GroupNorm, x: Tensor) -> Tensor:
    """Normalized ``x`` [B, C, ...]; on a GPU in bfloat16 where autocast to it gave bfloat16.

    Autocast takes GroupNorm to float32, and whatever follows to the next convolution: twice the
    memory and twice the traffic. Statistics are of float32 within torch's kernel in either case.
    """
    if not (x.is_cuda and x.dtype == torch.bfloat16 and torch.is_autocast_enabled('cuda')):
        return _torch_forward(self, x)
    with torch.autocast('cuda', enabled=False):
        weight, bias = (None if v is None else v.to(x.dtype) for v in (self.weight, self.bias))
        return functional.group_norm(x, self.num_groups, weight, bias, self.eps)
