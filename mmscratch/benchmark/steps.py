"""Training steps of several models, timed in turns; where the time of one goes."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from mmscratch.benchmark.stepper import (
    MMDETECTION,
    OURS_BN,
    TORCHVISION,
    Stepper,
    Variant,
    batches,
    wrapped,
)
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.models import speedups

MODELS = {
    'mmscratch': Variant(),
    'mmdetection': Variant(MMDETECTION, faster=()),
    'torchvision': Variant(TORCHVISION, faster=()),
    'mmscratch without speed-ups': Variant(faster=()),
    'frozen BN': Variant(OURS_BN),
}
FORMATS: dict[str, dict[str, Any]] = {
    '': {},
    ' bf16': dict(bf16=True),
    ' bf16, batch 8': dict(bf16=True, batch=8),
}
# the most telling ones first: a run that is cut has those
VARIANTS = {
    name + suffix: replace(variant, **how)
    for suffix, how in FORMATS.items()
    for name, variant in MODELS.items()
} | {f'mmscratch bf16, {part} alone': Variant(bf16=True, faster=(part,)) for part in speedups.PARTS}
# as many objects as COCO's images have
WIDE = ShapesConfig(size=(640, 384), objects=(4, 10), object_size=(0.1, 0.6))
PROFILED = ('mmscratch', 'mmscratch bf16', 'mmdetection', 'torchvision')


def measure(
    folder: Path, tiny: bool, rounds: int, device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """Time ``VARIANTS`` in turns, on drawn images of COCO's size, for about so many seconds.

    Args:
        folder: an empty one.
        tiny: small models and one step of each, for a test of the suite itself.
        rounds: at most.
        device: ``cuda`` or ``cpu``.
        seconds: after which neither a model nor a step is begun.

    Yields:
        All numbers so far, in ``steps``. Of each variant: ``batch``; ``images_per_second`` of every
        round; ``build_seconds`` of model and first step; ``memory_mb``, the most that torch
        allocated for model and step; ``stages_ms``, each waited for; of a few ``profile``. One that
        fails has its ``error`` in place of them.
    """
    generate(folder, WIDE, dict(train=4 if tiny else 32, val=1), progress=False)
    end = time.monotonic() + seconds
    images: dict[int, list[dict]] = {}
    steppers: dict[str, Stepper] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for name, variant in VARIANTS.items():
        if tiny and name not in PROFILED:
            continue
        # half of the time is for the rounds
        if steppers and time.monotonic() > end - seconds / 2:
            break
        own = numbers[name] = dict[str, Any](batch=variant.batch, images_per_second=[])
        try:
            if variant.batch not in images:
                images[variant.batch] = batches(folder, variant.batch, 4, tiny)
            before = torch.cuda.memory_allocated() if device == 'cuda' else 0
            begin = time.perf_counter()
            stepper = Stepper(variant, folder, images[variant.batch], device, tiny)
            stepper()
            wait()
            own['build_seconds'] = round(time.perf_counter() - begin, 1)
            if device == 'cuda':
                torch.cuda.reset_peak_memory_stats()
                stepper()
                own['memory_mb'] = round((torch.cuda.max_memory_allocated() - before) / 2**20)
            own['stages_ms'] = stages(stepper, 1 if tiny else 4)
            if name in PROFILED:
                own['profile'] = profile(stepper, 1 if tiny else 3)
            steppers[name] = stepper
        # an operator may fail in any way
        except Exception as error:
            own['error'] = f'{type(error).__name__}: {error}'[:2000]
        yield dict(steps=numbers)
    for _ in range(1 if tiny else rounds):
        for name, stepper in steppers.items():
            if time.monotonic() > end and numbers[name]['images_per_second']:
                yield dict(steps=numbers)
                return
            speed = images_per_second(stepper, 1 if tiny else 6 if stepper.variant.batch < 8 else 3)
            numbers[name]['images_per_second'].append(round(speed, 2))
        yield dict(steps=numbers)


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def images_per_second(stepper: Stepper, steps: int) -> float:
    """Of so many steps, after a first one that isn't counted."""
    stepper()
    wait()
    begin = time.perf_counter()
    for _ in range(steps):
        stepper()
    wait()
    return stepper.variant.batch * steps / (time.perf_counter() - begin)


def rows(record: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of a record whose ``steps`` :func:`measure` yielded, header first.

    Ratios are those of medians, to the peer with the same format and batch.
    """
    numbers: dict[str, dict[str, Any]] = record.get('steps', {})
    peers = 'mmdetection', 'torchvision'
    cells = [['model', 'images/s', 'lowest', 'highest', *(f'/ {peer}' for peer in peers), 'MB']]
    for name, own in numbers.items():
        speeds = own['images_per_second']
        if not speeds:
            cells.append([name, 'failed', *5 * ['-']])
            continue
        suffix = ' bf16' * ('bf16' in name) + ', batch 8' * (own['batch'] == 8)
        theirs = [numbers.get(peer + suffix, {}).get('images_per_second') for peer in peers]
        ratios = [f'{median(speeds) / median(other):.2f}' if other else '-' for other in theirs]
        spread = [f'{f(speeds):.1f}' for f in (median, min, max)]
        cells.append([name, *spread, *ratios, str(own.get('memory_mb', '-'))])
    return cells


def stages(stepper: Stepper, steps: int) -> dict[str, float]:
    """Milliseconds of each stage of a step, the GPU waited for before and after; 'all': a step."""
    times: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        wait()
        begin = time.perf_counter()
        yield
        wait()
        times[name] += time.perf_counter() - begin

    with wrapped(stepper.stages(), timed):
        for _ in range(steps):
            with timed('all'):
                stepper()
    return {name: round(1000 * value / steps, 2) for name, value in times.items()}


def profile(stepper: Stepper, steps: int) -> dict[str, Any]:
    """Of a step: milliseconds of the GPU, the ten longest operators, the calls that may wait.

    Operators are [name, milliseconds, count], by their time on the GPU if there is one.
    """
    wait()
    with torch.profiler.profile() as profiler:
        for _ in range(steps):
            stepper()
        wait()
    # an annotation's time on the GPU is that of the kernels within it
    events: list[Any] = [e for e in profiler.key_averages() if not e.is_user_annotation]
    operators = [e for e in events if e.device_type == torch.profiler.DeviceType.CPU]
    kernels_us = sum(e.self_device_time_total for e in events if e not in operators)
    clock = f'self_{"device" if kernels_us else "cpu"}_time_total'
    longest = sorted(operators, key=lambda event: -getattr(event, clock))[:10]
    return dict(
        gpu_busy_ms=round(kernels_us / 1000 / steps, 2),
        operators=[
            [e.key[:120], round(getattr(e, clock) / 1000 / steps, 3), round(e.count / steps, 1)]
            for e in longest
        ],
        calls={
            e.key: round(e.count / steps, 1)
            for e in operators
            if e.key in ('aten::item', 'aten::nonzero', 'aten::copy_', 'aten::to')
            or e.key.startswith('cu')
        },
    )
