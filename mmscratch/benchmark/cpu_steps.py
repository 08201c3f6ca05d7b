"""Training steps of a small Mask R-CNN on CPU cores, with each speed-up for a CPU alone.

Each variant has processes of its own, which wait while another one is timed.
"""

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from mmscratch.data.shapes.drawing import ShapesConfig, generate

CONFIG = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
BATCH = 8
# in a turn, after one that isn't counted
STEPS = 6
# `make data/shapes`
SHAPES = ShapesConfig(
    size=128, classes=3, objects=(1, 4), object_size=(0.4, 0.7), rotation=0, occlusion=0.1
)
BUSY = 'while True: pass'
# libgomp's own waiting
SPINNING = {'GOMP_SPINCOUNT': '300000'}


@dataclass(frozen=True)
class CpuVariant:
    """How a step is run.

    Args:
        environment: set before torch loads.
        options: 'torchvision' has its RoIAlign in place of the sparse product; 'channels_last'
            lays out weights and maps so; 'compiled' compiles backbone, neck and RPN head;
            'bfloat16' has autocast on.
        processes: that share the images of a step.
    """

    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    processes: int = 1


VARIANTS = {
    'before': CpuVariant(SPINNING, ('torchvision',)),
    'today': CpuVariant(),
    'sparse RoIAlign alone': CpuVariant(SPINNING),
    'bounded spinning alone': CpuVariant(options=('torchvision',)),
    'no spinning alone': CpuVariant({'OMP_WAIT_POLICY': 'PASSIVE'}, ('torchvision',)),
    'one thread alone': CpuVariant({'OMP_NUM_THREADS': '1'}, ('torchvision',)),
    'today, one thread': CpuVariant({'OMP_NUM_THREADS': '1'}),
    'today, two processes of one thread': CpuVariant({'OMP_NUM_THREADS': '1'}, processes=2),
    'today, channels_last': CpuVariant(options=('channels_last',)),
    'today, compiled': CpuVariant(options=('compiled',)),
    'today, bfloat16': CpuVariant(options=('bfloat16',)),
}
TINY = ('before', 'today, two processes of one thread')


def measure(folder: Path, tiny: bool, rounds: int = 5) -> Iterator[dict[str, Any]]:
    """Time ``VARIANTS`` in turns, on a quiet machine and beside another busy process.

    Args:
        folder: gets the images.
        tiny: one step of a few variants, for a test of the suite itself.
        rounds: how often each variant has its turn.

    Yields:
        All numbers so far, as ``variants``. Of each ``quiet`` and ``busy``: for each round, the
        median seconds of a step. One that fails has its ``error``.
    """
    generate(folder / 'data', SHAPES, dict(train=4 * BATCH, val=1), progress=False)
    numbers: dict[str, dict[str, Any]] = {}
    workers: dict[str, list[subprocess.Popen]] = {}
    try:
        for name in TINY if tiny else VARIANTS:
            workers[name] = _start(VARIANTS[name], folder, f'group{len(workers)}')
            numbers[name] = dict(quiet=[], busy=[])
            # builds the model: alone, as it would be timed
            _turn(workers[name], 1 if tiny else 2)
        for _ in range(1 if tiny else rounds):
            for machine in ('quiet', 'busy'):
                with _busy(machine == 'busy'):
                    for name, processes in workers.items():
                        seconds = _turn(processes, 1 if tiny else STEPS)
                        if seconds is None:
                            numbers[name] = dict(error='the process ended')
                        elif 'error' not in numbers[name]:
                            numbers[name][machine].append(round(seconds, 4))
            yield dict(variants=numbers)
    finally:
        for processes in workers.values():
            for process in processes:
                process.kill()
                process.communicate()


def _start(variant: CpuVariant, folder: Path, group: str) -> list[subprocess.Popen]:
    clean = {key: os.environ[key] for key in os.environ if not key.startswith(('OMP_', 'GOMP_'))}
    job = dict(data=str(folder / 'data'), options=variant.options, rendezvous=str(folder / group))
    return [
        subprocess.Popen(
            [
                *(sys.executable, '-m', __spec__.name),
                json.dumps(job | dict(rank=rank, processes=variant.processes)),
            ],
            env=clean | variant.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(variant.processes)
    ]


def _turn(processes: list[subprocess.Popen], steps: int) -> float | None:
    """Median seconds of so many steps, those of the slower process; None if one has ended."""
    times = []
    for process in processes:
        try:
            print(steps, file=process.stdin, flush=True)
        except BrokenPipeError:
            return None
    for process in processes:
        line = process.stdout.readline() if process.stdout else ''
        if not line:
            return None
        times.append(float(line))
    return max(times)


@contextmanager
def _busy(other: bool) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, '-c', BUSY]) if other else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def rows(numbers: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of what :func:`measure` yielded, header first.

    Times of a ratio are of one round; the ratio is the median over the rounds.
    """
    cells = [['variant', 'quiet, s', 'faster than before', 'busy, s', 'faster than before']]
    variants = numbers['variants']
    for name, own in variants.items():
        row = [name]
        for machine in ('quiet', 'busy'):
            seconds = own.get(machine)
            if not seconds:
                row += ['failed', '-']
                continue
            ratios = [a / b for a, b in zip(variants['before'][machine], seconds, strict=True)]
            row += [
                f'{median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})',
                f'{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})',
            ]
        cells.append(row)
    return cells


def _serve(job: dict[str, Any]) -> None:
    """Build the model; for each number read, print the median seconds of so many steps."""
    # torch loads its threads behind mmscratch
    import torch
    from mmdet.registry import DATASETS, MODELS
    from mmengine.dataset import pseudo_collate
    from mmengine.logging import MMLogger
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import build_optim_wrapper

    from mmscratch.benchmark import speed
    from mmscratch.ops import roi_align

    # stdout is for numbers
    replies, sys.stdout = sys.stdout, sys.stderr
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    torch.manual_seed(0)
    cfg = speed.load(CONFIG, Path(job['data']))
    images = DATASETS.build(cfg.train_dataloader.dataset)
    size = BATCH // job['processes']
    batches = [
        pseudo_collate([images[(i * size + k) % len(images)] for k in range(size)])
        for i in range(4)
    ]
    model = MODELS.build(cfg.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    if 'torchvision' in job['options']:
        roi_align.is_sparse = lambda *_: False
    if 'channels_last' in job['options']:
        model.to(memory_format=torch.channels_last)
    if 'compiled' in job['options']:
        for part in (model.backbone, model.neck, model.rpn_head):
            part.compile()
    step = model.train().train_step
    if job['processes'] > 1:
        torch.distributed.init_process_group(
            'gloo',
            init_method=f'file://{job["rendezvous"]}',
            rank=job['rank'],
            world_size=job['processes'],
        )
        step = MMDistributedDataParallel(model, broadcast_buffers=False).train_step
    done = 0
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line) + 1):
            begin = time.perf_counter()
            with torch.autocast('cpu', torch.bfloat16, enabled='bfloat16' in job['options']):
                step(copy.deepcopy(batches[done % len(batches)]), optimizer)
            seconds.append(time.perf_counter() - begin)
            done += 1
        print(median(seconds[1:]), file=replies, flush=True)


if __name__ == '__main__':
    _serve(json.loads(sys.argv[1]))
