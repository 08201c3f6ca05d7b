"""What the card can do at most, and what norm layers cost on it."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmscratch.benchmark.settings import Settings

# a batch of two: channels, height, width of a 800 x 1344 image's maps in a ResNet-50, and RoIs
MAPS = [(2, 64, 400, 672), (2, 256, 200, 336), (2, 512, 100, 168), (2, 2048, 25, 42)]
ROIS = [(1024, 256, 7, 7), (128, 256, 14, 14)]


def measure(settings: Settings) -> None:
    """Save ceilings of the card, then milliseconds of norm layers, forward and backward."""
    numbers: dict[str, Any] = dict(ceilings(settings.device, 256 if settings.tiny else 8192))
    settings.save(numbers)
    numbers['norms_ms'] = {}
    shapes = [(2, 64, 10, 12)] if settings.tiny else MAPS + ROIS
    for shape, dtype in itertools.product(shapes, (torch.bfloat16, torch.float32)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device=settings.device, dtype=dtype)
            x = x.contiguous(memory_format=memory_format).requires_grad_()
            name = ' '.join(map(str, [*shape, dtype, memory_format]))
            numbers['norms_ms'][name] = {
                kind: _milliseconds(_forward_backward(norm, x), 2 if settings.tiny else 10)
                for kind, norm in _norms(shape[1], x).items()
            }
        settings.save(numbers)


def ceilings(device: str, size: int) -> dict[str, float]:
    """TFLOP/s of square matrix products of random numbers, and GB/s of copies on the device."""
    numbers = {}
    for name, dtype, tf32 in (
        ('bf16', torch.bfloat16, False),
        ('tf32', torch.float32, True),
        ('float32', torch.float32, False),
    ):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = tf32
        numbers[f'{name}_tflops'] = 2 * size**3 / 1e9 / _milliseconds(lambda a=a, b=b: a @ b, 5)
    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.randn(size * size, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / 1e6
    numbers['copy_gb_per_second'] = copied / _milliseconds(lambda: target.copy_(source), 5)
    return numbers


def _norms(channels: int, x: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    weight, bias = (torch.ones(channels, device=x.device, dtype=x.dtype) for _ in range(2))
    weight.requires_grad_(), bias.requires_grad_()
    batch_norm = nn.BatchNorm2d(channels, device=x.device)
    scale, shift = weight.detach()[:, None, None], bias.detach()[:, None, None]
    return {
        'GN': lambda x: functional.group_norm(x, 32, weight, bias),
        'GN in plain torch': lambda x: plain_group_norm(x, 32, weight, bias),
        'BN': batch_norm,
        'frozen BN': lambda x: x * scale + shift,
        'ReLU': functional.relu,
    }


def plain_group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
    """GN as reductions and one multiply-add, which keep the memory format.

    torch's own has one block of threads for each group of each image, 64 for two images.
    """
    count, channels = x.shape[:2]
    within = channels // groups
    # per channel first: no view of a channels_last map has the groups' values together
    mean = x.mean((2, 3), dtype=torch.float32).view(count, groups, within).mean(2, keepdim=True)
    square = (x * x).mean((2, 3), dtype=torch.float32).view(count, groups, within)
    inverse = (square.mean(2, keepdim=True) - mean.square() + 1e-5).rsqrt()
    scale = inverse * weight.view(groups, within)
    shift = bias.view(groups, within) - mean * scale
    scale, shift = (v.to(x.dtype).view(count, channels, 1, 1) for v in (scale, shift))
    return torch.addcmul(shift, x, scale)


def _forward_backward(norm: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    gradient = torch.randn_like(x)

    def call() -> None:
        norm(x).backward(gradient)
        x.grad = None

    return call


def _milliseconds(call: Callable[[], Any], repeats: int) -> float:
    """Mean of ``repeats`` calls after three that aren't counted."""
    for _ in range(3):
        call()
    _wait()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    _wait()
    return round(1000 * (time.perf_counter() - begin) / repeats, 4)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
