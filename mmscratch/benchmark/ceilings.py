"""What a card can do at most."""

import time
from collections.abc import Callable
from typing import Any

import torch

from mmscratch.benchmark.settings import Settings


def measure(settings: Settings) -> None:
    """Save TFLOP/s of square matrix products of random numbers, and GB/s of copies on the card."""
    numbers, size = {}, 256 if settings.tiny else 8192
    for name, dtype, tf32 in (
        ('bf16', torch.bfloat16, False),
        ('tf32', torch.float32, True),
        ('float32', torch.float32, False),
    ):
        a, b = (torch.randn(size, size, device=settings.device, dtype=dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = tf32
        numbers[f'{name}_tflops'] = 2 * size**3 / 1e12 / seconds(lambda a=a, b=b: a @ b, 5)
    source = torch.randn(size * size, device=settings.device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / 1e9
    numbers['copy_gb_per_second'] = copied / seconds(lambda: target.copy_(source), 20)
    settings.save(numbers)


def seconds(call: Callable[[], Any], repeats: int, before: int = 3) -> float:
    """Mean of ``repeats`` calls, after those ``before``, which aren't counted."""
    for _ in range(before):
        call()
    wait()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - begin) / repeats


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
