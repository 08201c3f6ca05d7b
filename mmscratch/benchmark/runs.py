"""Runs of the tools on the device, as users start them: training, resumption, test, inference."""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from mmscratch.benchmark.settings import Settings
from mmscratch.benchmark.stepper import OURS

ROOT = Path(__file__).resolve().parents[2]
SHAPES = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
TINY = [
    *('--iterations', '4', '--cfg-options', 'train_dataloader.batch_size=2'),
    *('auto_scale_lr.base_batch_size=2', 'default_hooks.checkpoint.interval=2'),
    *('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0'),
]
# pictures of a validation take longer than the validation, 0.12 s each
NO_PICTURES = [
    'default_hooks.visualization.num_images=0',
    'default_hooks.checkpoint.max_keep_ckpts=4',
]
LOG_EACH = ['default_hooks.logger.interval=1', 'log_processor.window_size=1']


class Runs:
    """Tools that run side by side, each with its log in the folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.numbers: dict[str, dict[str, Any]] = {}

    def start(self, **commands: list[str | Path]) -> None:
        """Run ``tools/COMMAND`` by its name, all at once, until all have ended or time is over."""
        begin, running = time.monotonic(), {}
        for name, (tool, *arguments) in commands.items():
            command = [sys.executable, ROOT / 'tools' / tool, *arguments]
            with self._log(name).open('w') as log:
                running[name] = subprocess.Popen(
                    list(map(str, command)), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
                )
            self.numbers[name] = {}
        while running and self.settings.left() > 2:
            for name in [name for name, process in running.items() if process.poll() is not None]:
                self._ended(name, running.pop(name).returncode, time.monotonic() - begin)
            time.sleep(0.1)
        for name, process in running.items():
            process.terminate()
            process.wait()
            self._ended(name, process.returncode, time.monotonic() - begin)

    def _log(self, name: str) -> Path:
        return self.settings.folder / f'{self.settings.part}_{name}.log'

    def _ended(self, name: str, status: int, seconds: float) -> None:
        numbers = dict(status=status, seconds=round(seconds, 1))
        if status:
            numbers['log'] = self._log(name).read_text()[-3000:]
        work_dir = self.work_dir(name)
        for file in work_dir.glob('*metrics.json'):
            report = json.loads(file.read_text())
            values = report.get('last') or report['test']
            numbers |= {key: values[key] for key in ('bbox_mAP', 'segm_mAP') if key in values}
            numbers |= {key: report[key] for key in ('train_seconds', 'hardware') if key in report}
        self.numbers[name] = numbers | self._steps(work_dir)
        self.settings.save(self.numbers)

    @staticmethod
    def _steps(work_dir: Path) -> dict[str, float]:
        """Of the iterations after the first five: images/s, seconds, and those of them in loading.

        Iterations are logged one by one. The numbers are medians.
        """
        lines = [
            line
            for file in work_dir.glob('*/vis_data/scalars.json')
            for line in file.read_text().splitlines()
        ]
        logged = [entry for entry in map(json.loads, lines) if 'data_time' in entry][5:]
        if not logged or not (work_dir / 'metrics.json').exists():
            return {}
        report = json.loads((work_dir / 'metrics.json').read_text())
        numbers = {key: median(entry[key] for entry in logged) for key in ('time', 'data_time')}
        images = report['images_seen'] / report['iterations']
        return numbers | dict(
            memory_mb=logged[-1].get('memory'), images_per_second=images / numbers['time']
        )

    def work_dir(self, name: str) -> Path:
        """Where the run of that name leaves its files."""
        return self.settings.folder / 'runs' / f'{self.settings.part}_{name}'


def shapes(settings: Settings) -> None:
    """Train the demo in each precision at once, then resume, test and infer.

    Saved: status, seconds with the start, box and mask AP.
    """
    runs, data = Runs(settings), settings.folder / 'shapes'
    middle, end = (2, 4) if settings.tiny else (320, 360)
    length = ['--iterations', str(end), '--cfg-options', 'train_dataloader.num_workers=3']
    options = [*(TINY if settings.tiny else length), *LOG_EACH, *NO_PICTURES]
    train = ['train.py', SHAPES, '--data', data, '--skip-decoding']
    first, then = {}, {}
    for name, amp in precisions(settings).items():
        work_dirs = [f'{name}{what}' for what in ('', '_resumed', '_test', '_infer')]
        trained, resumed, test, infer = map(runs.work_dir, work_dirs)
        first[name] = [*train, '--work-dir', trained, *amp, *options]
        checkpoint = trained / f'iter_{end}.pth'
        then |= {
            f'{name}_resumed': [*train, '--resume', trained / f'iter_{middle}.pth']
            + ['--work-dir', resumed, *amp, *options],
            f'{name}_test': ['test.py', SHAPES, checkpoint, '--data', data, '--work-dir', test],
            f'{name}_infer': ['infer.py', checkpoint, data / 'val', '--out', infer],
        }
    runs.start(**first)
    runs.start(**then)


def together(settings: Settings) -> None:
    """Loading and steps at once: a few steps of the full-size config, by tools/train.py."""
    runs, data = Runs(settings), settings.folder / 'wide'
    options = ['--iterations', '54', '--cfg-options', 'train_dataloader.num_workers=12']
    # a step a batch; OURS adds up the gradients of several
    options += ['auto_scale_lr.base_batch_size=2', 'default_hooks.init.stats=False']
    options = [*(TINY if settings.tiny else options), *LOG_EACH, *NO_PICTURES]
    for name, amp in reversed(precisions(settings).items()):
        if settings.left() > 25:
            command = ['train.py', SHAPES if settings.tiny else OURS, '--data', data]
            command += ['--skip-decoding', '--work-dir', runs.work_dir(name), *amp]
            runs.start(**{name: [*command, *options]})


def precisions(settings: Settings) -> dict[str, list[str]]:
    """Arguments of tools/train.py by number format; a CPU has float32 alone."""
    formats = {'float32': [], 'bfloat16': ['--amp', 'bfloat16']}
    return formats if settings.device == 'cuda' else {'float32': []}
