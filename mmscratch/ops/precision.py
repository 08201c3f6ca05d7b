"""The number format in which the operators compute."""

import torch
from torch import Tensor


def at_least_float32(*tensors: Tensor) -> list[Tensor]:
    """The tensors in one common format, float32 or wider.

    torchvision has no kernels for bfloat16, none for float16 on CPU, and refuses mixed formats.
    Where it has them, box arithmetic in float16 is off by whole pixels beyond coordinate 2048.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]
