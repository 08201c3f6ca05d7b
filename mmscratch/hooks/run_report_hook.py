"""What a run leaves for people and programs: metrics.json, curves.png, a table in the log."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmengine.dist import broadcast_object_list, get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

import mmscratch
from mmscratch.hooks.runner_state import batch_of, images_per_step
from mmscratch.visualization import draw_curves

PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmdet', 'numpy', 'faster-coco-eval')


@HOOKS.register_module()
class RunReportHook(Hook):
    """Write ``metrics.json`` and ``curves.png`` into the work directory after every validation.

    ``metrics.json`` holds: the COCO numbers and per-class AP, or VOC's mAP, of the last and of the
    best validation (by keypoint AP if there is one, else by box AP, else by VOC's mAP), AP over
    iterations, seconds of training (validation not counted; sums over resumed parts), images seen,
    parameters, seed, versions, git commit, command and hardware. Testing a checkpoint writes
    ``test_metrics.json`` instead.

    A run that is resumed from a checkpoint whose validation was not finished begins with that one:
    checkpoints are saved before it, and mmengine would never make up for it.
    """

    # after LoggerHook has written the scalars that the curves are drawn from
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._history: list[dict] = []
        self._seconds = 0.0
        self._since: float | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take up the clock of the run that is resumed."""
        if runner._resume:
            self._seconds = checkpoint['meta'].get('train_seconds', 0.0)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave the clock where a resumed run finds it."""
        checkpoint['meta']['train_seconds'] = self._train_seconds()

    def before_train(self, runner: Runner) -> None:
        """Start the clock, and take up the history of the run that is resumed."""
        self._since = time.monotonic()
        if runner.iter == 0:
            return
        file = Path(runner.work_dir) / 'metrics.json'
        if file.exists():
            report = json.loads(file.read_text())
            # the history has the best one without its per-class numbers
            entries = {e['iteration']: e for e in (*report['history'], report['best'])}
            self._history = [e for e in entries.values() if e['iteration'] <= runner.iter]
        # as the main process has it, whose folder the others may not see
        missing = [all(entry['iteration'] != runner.iter for entry in self._history)]
        broadcast_object_list(missing)
        if missing[0] and _validates_now(runner):
            runner.logger.info(f'iteration {runner.iter} has not been validated yet')
            runner.val_loop.run()

    def before_val_epoch(self, runner: Runner) -> None:
        """Stop the clock: validation isn't training."""
        self._seconds = self._train_seconds()
        self._since = None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Record the metrics and write everything anew."""
        self._since = time.monotonic()
        numbers = _short(metrics)
        entry = {'iteration': runner.iter, 'train_seconds': round(self._seconds, 1), **numbers}
        self._history.append(entry)
        self._write(runner)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write ``test_metrics.json`` and log the table."""
        numbers = _short(metrics)
        report = {'test': numbers, 'checkpoint': runner._load_from, **self._circumstances(runner)}
        self._dump(report, Path(runner.work_dir) / 'test_metrics.json')
        runner.logger.info('\n' + metrics_table(numbers))

    def after_train(self, runner: Runner) -> None:
        """Log the table of the last validation."""
        if self._history:
            runner.logger.info('\n' + metrics_table(self._history[-1]))

    def _train_seconds(self) -> float:
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._seconds + running

    @master_only
    def _write(self, runner: Runner) -> None:
        work_dir = Path(runner.work_dir)
        report = {
            'last': self._history[-1],
            'best': max(self._history, key=_quality),
            'history': [_headline(entry) for entry in self._history[:-1]] + self._history[-1:],
            'iterations': runner.iter,
            'train_seconds': round(self._seconds, 1),
            'images_seen': runner.iter * images_per_step(batch_of(runner)),
            **self._circumstances(runner),
        }
        self._dump(report, work_dir / 'metrics.json')
        draw_curves(work_dir, work_dir / 'curves.png')

    def _circumstances(self, runner: Runner) -> dict:
        model = getattr(runner.model, 'module', runner.model)
        return {
            'config': os.path.relpath(runner.cfg.filename),
            'command': ' '.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            'parameters': sum(p.numel() for p in model.parameters()),
            'seed': runner.seed,
            'git_commit': _git_commit(),
            'versions': {'mmscratch': mmscratch.__version__, 'python': platform.python_version()}
            | {package: version(package) for package in PACKAGES},
            'hardware': _hardware(),
        }

    @staticmethod
    @master_only
    def _dump(report: dict, file: Path) -> None:
        # in one move, for a run that is stopped meanwhile to keep the older file
        unfinished = file.with_suffix('.tmp')
        unfinished.write_text(json.dumps(report, indent=2) + '\n')
        unfinished.replace(file)


def _validates_now(runner: Runner) -> bool:
    """Whether the run validates at the iteration that it is at."""
    loop = runner.train_loop
    if runner.val_loop is None or not isinstance(loop, IterBasedTrainLoop):
        return False
    is_due = loop.iter % loop.val_interval == 0 or loop.iter == loop.max_iters
    return is_due and loop.iter >= loop.val_begin


def metrics_table(numbers: dict[str, float]) -> str:
    """The twelve COCO numbers in percent, one row for boxes and, if any, one for masks.

    Below, if any, the ten numbers of keypoints under a header of their own. VOC and classifiers
    have one number.
    """
    for kind, label in (('voc_mAP', 'VOC mAP'), ('accuracy', 'accuracy')):
        if kind in numbers:
            return f'{label} {100 * numbers[kind]:.1f}'
    rows: list[str] = []
    header = ''
    for metric, label in (('bbox', 'box'), ('segm', 'mask'), ('keypoints', 'keyp.')):
        own = {
            key.removeprefix(f'{metric}_'): value
            for key, value in numbers.items()
            if key.startswith(f'{metric}_') and '/' not in key
        }
        # of bbox and segm the same, unless each has a metric of its own
        if own and _header(own) != header:
            header = _header(own)
            rows.append(header)
        if own:
            rows.append(_row(label, own))
    return '\n'.join(rows)


def _header(numbers: dict[str, float]) -> str:
    names = (name.replace('mAP', 'AP') for name in numbers)
    return ' ' * 6 + ''.join(f'{name:>{_width(numbers)}}' for name in names)


def _row(label: str, numbers: dict[str, float]) -> str:
    width = _width(numbers)
    cells = (f'{100 * v:{width}.1f}' if v >= 0 else f'{"-":>{width}}' for v in numbers.values())
    return f'{label:6}' + ''.join(cells)


def _width(numbers: dict[str, float]) -> int:
    return max(9, 1 + max(map(len, numbers)))


def _quality(entry: dict) -> float:
    """The metric by which the best validation is chosen; higher is better."""
    kinds = ('keypoints_mAP', 'bbox_mAP', 'voc_mAP', 'accuracy')
    return next((entry[kind] for kind in kinds if kind in entry), -1)


def _short(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics without the metric's own name before theirs; ``voc_`` for ``pascal_voc/``."""
    return {
        re.sub('^(coco|classifier)/', '', key).replace('pascal_voc/', 'voc_'): value
        for key, value in metrics.items()
    }


def _headline(entry: dict) -> dict:
    """Without the per-class numbers, which would grow with classes times validations."""
    return {key: value for key, value in entry.items() if '/' not in key}


def _git_commit() -> str | None:
    """Commit of the code that runs, with ``+`` behind it if its code or configs differ from it."""
    package = Path(mmscratch.__file__).parent
    git = ['git', '-C', str(package.parent)]
    try:
        head = subprocess.run(
            [*git, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, 'diff', '--quiet', 'HEAD', '--', package.name, 'configs', 'tools']
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + '+' * (changed.returncode != 0)


def _hardware() -> str:
    if torch.cuda.is_available():
        return f'{get_world_size()} x {torch.cuda.get_device_name()}'
    return f'{os.cpu_count()} CPU cores ({platform.machine()})'
