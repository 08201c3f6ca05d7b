"""What a long run leaves behind: memory, open files, threads and processes over its steps."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmscratch.benchmark.start import ROOT, children, memory_mb
from mmscratch.data.shapes.drawing import ShapesConfig, generate

CONFIG = 'configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py'
STEPS, SAMPLES = 2000, 20


def measure(folder: Path, tiny: bool, rounds: int = 1) -> Iterator[dict[str, Any]]:
    """Train the smallest detector, with two loader workers, and look at its processes now and then.

    It validates and saves at every sample, and draws its curves.

    Args:
        folder: gets data and run.
        tiny: a few steps, for a test of the suite itself.
        rounds: not used: what is measured is no time.

    Yields:
        All samples so far.
    """
    generate(
        folder / 'data',
        ShapesConfig(size=64, object_size=(0.2, 0.5)),
        {'train': 100, 'val': 2},
        progress=False,
    )
    steps, samples = (4, 2) if tiny else (STEPS, SAMPLES)
    interval = steps // samples
    command = [sys.executable, 'tools/train.py', CONFIG, '--data', str(folder / 'data')]
    command += ['--work-dir', str(folder / 'run'), '--iterations', str(steps), '--cfg-options']
    command += ['train_dataloader.batch_size=1', 'auto_scale_lr.base_batch_size=1']
    command += [f'train_cfg.val_interval={interval}', f'default_hooks.logger.interval={interval}']
    command += [f'default_hooks.checkpoint.interval={interval}', 'train_dataloader.num_workers=2']
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    numbers: dict[str, Any] = dict(samples=[])
    told = []
    try:
        for line in process.stdout or ():
            told.append(line)
            found = re.search(r'Iter\(train\) +\[ *(\d+)/', line)
            # the end of an epoch is logged too
            if found and int(found[1]) % interval == 0:
                numbers['samples'].append(dict(step=int(found[1]), **sample(process.pid)))
                yield numbers
    finally:
        process.kill()
    if process.wait() or len(numbers['samples']) != samples:
        raise RuntimeError(f'{" ".join(command)}: {"".join(told)[-2000:]}')


def sample(pid: int) -> dict[str, Any]:
    """Memory in MB, open files and threads of a process, and its workers."""
    workers = children(pid)
    processes = [pid, *workers]
    return dict(
        main_mb=memory_mb(pid)['own'],
        workers_mb=[memory_mb(worker)['own'] for worker in workers],
        files=sum(len([*Path(f'/proc/{number}/fd').iterdir()]) for number in processes),
        threads=sum(len([*Path(f'/proc/{number}/task').iterdir()]) for number in processes),
        processes=len(processes),
    )


def rows(numbers: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of what :func:`measure` yielded: five rows, to the end of the run."""
    cells = [['step', 'main process, MB', 'a worker, MB', 'open files', 'threads', 'processes']]
    samples = numbers['samples']
    # the first one is from before the first validation
    for one in samples[:0:-1][:: max(1, len(samples) // 5)][::-1]:
        cells.append(
            [
                f'{one["step"]:,}',
                f'{one["main_mb"]:,}',
                f'{max(one["workers_mb"], default=0):,}',
                *(str(one[key]) for key in ('files', 'threads', 'processes')),
            ]
        )
    return cells
