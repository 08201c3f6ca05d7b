"""The demo on the device, as users run it: training, resumption, test, inference."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHAPES = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
TINY = [
    '--cfg-options',
    *('train_dataloader.batch_size=2', 'auto_scale_lr.base_batch_size=2'),
    *('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0'),
]


def measure(folder: Path, device: str, tiny: bool) -> Iterator[dict[str, dict[str, Any]]]:
    """Train on SHAPES in each precision, resume, test and infer, one after the other.

    Args:
        folder: holds the data set ``shapes``, and gets what the runs leave.
        device: ``cuda``, or ``cpu``, which has float32 alone.
        tiny: four iterations, for a test of the suite itself.

    Yields:
        All numbers so far. Of each run: ``status``, ``seconds`` with the start, box and mask AP in
        [0, 1]; of a training ``train_seconds``; of one that fails the end of its ``log``.
    """
    data = folder / 'shapes'
    # the checkpoint before the last one, and the last one
    middle, end = (3, 4) if tiny else (240, 360)
    numbers: dict[str, dict[str, Any]] = {}
    formats: dict[str, list[str]] = {'float32': [], 'bfloat16': ['--amp-bfloat16']}
    options = ['--iterations', str(end), *(TINY if tiny else [])]
    for name, amp in formats.items() if device == 'cuda' else [('float32', [])]:
        train = ['train.py', SHAPES, '--data', data, '--skip-decoding', *amp, *options]
        checkpoints = folder / name
        last = checkpoints / f'iter_{end}.pth'
        for run, command in {
            name: train,
            f'{name}_resumed': [*train, '--resume', checkpoints / f'iter_{middle}.pth'],
            f'{name}_test': ['test.py', SHAPES, last, '--data', data],
            f'{name}_infer': ['infer.py', last, data / 'val'],
        }.items():
            tool, *arguments = map(str, command)
            where = '--out' if tool == 'infer.py' else '--work-dir'
            line = [sys.executable, f'tools/{tool}', where, str(folder / run), *arguments]
            begin = time.monotonic()
            done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
            seconds = round(time.monotonic() - begin, 1)
            numbers[run] = dict(status=done.returncode, seconds=seconds, **report(folder / run))
            if done.returncode:
                numbers[run]['log'] = (done.stdout + done.stderr)[-2000:]
            yield numbers


def report(work_dir: Path) -> dict[str, Any]:
    """What the run's metrics say, if it has written any."""
    found: dict[str, Any] = {}
    for file in work_dir.glob('*metrics.json'):
        metrics = json.loads(file.read_text())
        values = metrics.get('last') or metrics['test']
        found |= {key: values[key] for key in ('bbox_mAP', 'segm_mAP') if key in values}
        found |= {key: metrics[key] for key in ('train_seconds',) if key in metrics}
    return found
