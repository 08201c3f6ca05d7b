"""Training steps of several models, timed in turns; where the time of one goes."""

import contextlib
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mmscratch.benchmark.ceilings import seconds, wait
from mmscratch.benchmark.settings import Settings
from mmscratch.benchmark.stepper import (
    MMDETECTION,
    OURS_BN,
    OURS_R101,
    TORCHVISION,
    Stepper,
    Variant,
    batches,
    wrapped,
)
from mmscratch.models import speedups

# operators by which Python waits for the GPU, or copies
CALLS = ('aten::item', 'aten::nonzero', 'aten::copy_', 'aten::to')

NO_LEVER = dict(levers=())
FROZEN = dict(model=OURS_BN, bf16=True, frozen_norm=True)
# the most telling ones first: a run that is cut has those
VARIANTS = {
    'mmscratch': Variant(),
    'mmscratch bf16': Variant(bf16=True),
    'mmdetection': Variant(MMDETECTION, **NO_LEVER),
    'torchvision': Variant(TORCHVISION, **NO_LEVER),
    'mmscratch bf16, graph': Variant(bf16=True, dense='graph'),
    'mmscratch bf16, no lever': Variant(bf16=True, **NO_LEVER),
    'mmdetection bf16': Variant(MMDETECTION, bf16=True, **NO_LEVER),
    'torchvision bf16': Variant(TORCHVISION, bf16=True, **NO_LEVER),
    'frozen BN bf16': Variant(**FROZEN),
    'frozen BN bf16, graph': Variant(**FROZEN, dense='graph'),
    'mmscratch bf16, graph, batch 8': Variant(bf16=True, dense='graph', batch=8),
    'mmscratch bf16, batch 8': Variant(bf16=True, batch=8),
    'mmdetection bf16, batch 8': Variant(MMDETECTION, bf16=True, batch=8, **NO_LEVER),
    'torchvision bf16, batch 8': Variant(TORCHVISION, bf16=True, batch=8, **NO_LEVER),
    'frozen BN bf16, graph, batch 8': Variant(**FROZEN, dense='graph', batch=8),
    'mmscratch, graph': Variant(dense='graph'),
    'mmscratch, no lever': Variant(**NO_LEVER),
    **{
        f'mmscratch bf16, {lever} alone': Variant(bf16=True, levers=(lever,))
        for lever in speedups.LEVERS
        if lever != 'GroupNorm rows'
    },
    'mmscratch bf16, GroupNorm and its rows': Variant(
        bf16=True, levers=('GroupNorm', 'GroupNorm rows')
    ),
    'mmdetection, batch 8': Variant(MMDETECTION, batch=8, **NO_LEVER),
    'torchvision, batch 8': Variant(TORCHVISION, batch=8, **NO_LEVER),
    'mmscratch R101 bf16, graph': Variant(OURS_R101, bf16=True, dense='graph'),
    'mmscratch R101 bf16': Variant(OURS_R101, bf16=True),
}
COMPILED = {
    'bf16': Variant(bf16=True),
    'bf16 compiled, graphs': Variant(bf16=True, dense='reduce-overhead'),
    'frozen BN bf16 compiled, graphs': Variant(**FROZEN, dense='reduce-overhead'),
    'bf16 compiled': Variant(bf16=True, dense='default'),
    'bf16 compiled, channels_last': Variant(bf16=True, dense='default', channels_last=True),
}
PROFILED = ('mmscratch', 'mmscratch bf16', 'mmscratch bf16, graph', 'bf16 compiled')
TINY = ('mmscratch', 'mmscratch bf16, graph', 'mmdetection', 'torchvision', 'bf16 compiled')


def measure(settings: Settings, variants: dict[str, Variant], rounds: int = 12) -> None:
    """Time ``variants`` in turns, in at most ``rounds`` rounds, and what seconds are left for.

    Saved for each: images a second of every round; ``build_seconds`` of model and first steps, with
    compilation; ``memory_mb``, the most that torch allocated for model and step; ``step_tflop``,
    what FlopCounterMode counts of an eager step of the model, forward and backward, convolutions
    and matrix products alone; ``stages_ms``, each waited for. One that fails has its ``error``.
    With no rounds models are built and run, so that what they compile is in the compiler's cache.
    """
    if settings.tiny:
        variants = {name: variant for name, variant in variants.items() if name in TINY}
    data = settings.folder / 'wide'
    images: dict[int, list[dict]] = {}
    steppers: dict[str, Stepper] = {}
    numbers: dict[str, dict[str, Any]] = {}
    tflop: dict[tuple[str, int], float] = {}
    begin = time.monotonic()
    for name, variant in variants.items():
        # what is left must do for two rounds or so, of what took longer to build
        if steppers and settings.left() < 0.2 * (time.monotonic() - begin) + 10:
            break
        numbers[name] = dict(batch=variant.batch, images_per_second=[])
        try:
            if variant.batch not in images:
                images[variant.batch] = batches(data, variant.batch, 4, settings.tiny)
            before = torch.cuda.memory_allocated() if settings.device == 'cuda' else 0
            since = time.monotonic()
            stepper = Stepper(variant, data, images[variant.batch], settings.device, settings.tiny)
            seconds(stepper, 1)
            numbers[name]['build_seconds'] = round(time.monotonic() - since, 1)
            if rounds:
                _round(stepper, numbers[name], settings)
                if settings.device == 'cuda':
                    torch.cuda.reset_peak_memory_stats()
                    stepper()
                    most = torch.cuda.max_memory_allocated() - before
                    numbers[name]['memory_mb'] = round(most / 2**20)
                model = (variant.model, variant.batch)
                if model not in tflop and not variant.dense:
                    with FlopCounterMode(display=False) as counter:
                        stepper()
                    tflop[model] = counter.get_total_flops() / 1e12
                numbers[name]['step_tflop'] = tflop.get(model)
                numbers[name]['stages_ms'] = stages(stepper, 1 if settings.tiny else 4)
                if name in PROFILED:
                    numbers[name]['profile'] = profile(stepper, 1 if settings.tiny else 3)
                steppers[name] = stepper
        except Exception as error:
            numbers[name]['error'] = f'{type(error).__name__}: {error}'[:2000]
        settings.save(numbers)
        print(f'{name}: {numbers[name].get("error") or numbers[name]["images_per_second"]}')
    for _ in range(1 if settings.tiny else rounds):
        for name, stepper in steppers.items():
            if settings.left() < 2:
                return
            _round(stepper, numbers[name], settings)
        settings.save(numbers)


def rows(numbers: dict[str, dict[str, Any]], peak: float) -> list[list[str]]:
    """The cells of a table of what :func:`measure` saved; ``peak``: the card's TFLOP/s in bf16."""
    cells = [['model', 'images/s', 'lowest', 'highest', 'MB', 'TFLOP/s', 'of bf16 products']]
    for name, own in numbers.items():
        speeds = own['images_per_second']
        if not speeds:
            cells.append([name, own.get('error', '-')[:100]])
            continue
        rate = (own.get('step_tflop') or float('nan')) * median(speeds) / own['batch']
        cells.append(
            [name, f'{median(speeds):.1f}', f'{min(speeds):.1f}', f'{max(speeds):.1f}']
            + [str(own.get('memory_mb', '-')), f'{rate:.3g}', f'{rate / peak:.1%}']
        )
    return cells


def _round(stepper: Stepper, numbers: dict[str, Any], settings: Settings) -> None:
    steps = 1 if settings.tiny else 6 if stepper.variant.batch < 8 else 3
    speed = stepper.variant.batch / seconds(stepper, steps, before=1)
    numbers['images_per_second'].append(round(speed, 2))


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
    """Where a step's time goes: operators, kernels, calls that wait, and the lines that make them.

    Times are milliseconds a step, on the GPU if there is one; counts are a step's, too.
    """
    wait()
    with torch.profiler.profile() as profiler:
        for _ in range(steps):
            stepper()
        wait()
    # an annotation's time on the GPU is that of the kernels within it
    events = [event for event in profiler.key_averages() if not event.is_user_annotation]
    kernels = [e for e in events if e.device_type != torch.profiler.DeviceType.CPU]
    operators = [e for e in events if e.device_type == torch.profiler.DeviceType.CPU]

    def longest(events: list, clock: str, number: int) -> list[tuple[str, float, float]]:
        """(name, milliseconds, count) a step."""
        key = f'self_{clock}_time_total'
        events = sorted(events, key=lambda event: -getattr(event, key))[:number]
        return [
            (e.key[:120], round(getattr(e, key) / 1000 / steps, 3), round(e.count / steps, 1))
            for e in events
        ]

    return dict(
        gpu_busy_ms=round(sum(e.self_device_time_total for e in kernels) / 1000 / steps, 2),
        operators=longest(operators, 'device', 30) if kernels else [],
        operators_by_cpu=longest(operators, 'cpu', 20),
        kernels=longest(kernels, 'device', 25),
        calls={
            e.key: round(e.count / steps, 1)
            for e in operators
            if e.key in CALLS or e.key.startswith('cu')
        },
        waits_at=waits(stepper) if kernels else {},
    )


def waits(stepper: Stepper) -> dict[str, int]:
    """How often each line of Python waits for the GPU in one step, the most frequent first."""
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            stepper()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    lines = Counter(
        f'{"/".join(Path(warning.filename).parts[-3:])}:{warning.lineno}'
        for warning in caught
        if 'synchroniz' in str(warning.message)
    )
    return dict(lines.most_common(60))
