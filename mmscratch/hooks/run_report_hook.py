"""Report a run: metrics.json, curves.png, and a table in the log."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, broadcast_object_list, get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

import mmscratch
from mmscratch.config import work_dir
from mmscratch.evaluation.learning_state import learning_state
from mmscratch.evaluation.metric_names import KINDS, QUALITIES, short, title
from mmscratch.hooks.preflight_hook import PreflightHook
from mmscratch.loops.runner_state import bare_model, batch_of, images_per_step
from mmscratch.process import circumstances
from mmscratch.visualization import draw_curves


@HOOKS.register_module()
class RunReportHook(Hook):
    """Write ``metrics.json`` and ``curves.png`` into the work directory after every validation.

    ``metrics.json`` contains the numbers of the last and of the best validation (COCO's with the AP
    of each class, or VOC's mAP), AP over iterations, seconds of training without validation (summed
    over resumptions), images and pixels seen, parameters, seed, versions, git commit, command and
    hardware. ``pixels_seen`` are those of all padded batches that the model was trained on, over
    all processes and resumptions; ``pixels_seen_total`` has those of all earlier trainings too, or
    is null if one of them is unknown (:mod:`mmscratch.weights.initialization`).
    The best validation is the one with the highest keypoint AP; without keypoints the highest box
    AP, or VOC mAP, or accuracy. A test writes ``test_metrics.json``.

    ``verdict`` says whether the run still learns, has reached a plateau or overfits
    (:func:`mmscratch.evaluation.learning_state.learning_state`).

    MMEngine saves a checkpoint before the validation of its iteration. If that validation was
    interrupted, the resumed run begins with it.
    """

    # after LoggerHook has written the scalars that the curves are drawn from
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._history: list[dict] = []
        self._seconds = 0.0
        self._since: float | None = None
        # a tensor in a distributed run; None if unknown, as after older checkpoints
        self._pixels: Any = 0

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the seconds and pixels of the resumed run."""
        if runner._resume:
            self._seconds = checkpoint['meta'].get('train_seconds', 0.0)
            self._pixels = checkpoint['meta'].get('pixels_seen')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the seconds, images and pixels of training."""
        meta = checkpoint['meta']
        meta['train_seconds'] = self._train_seconds()
        # the runner has not counted the iteration yet
        meta |= self._seen(runner, meta.get('iter', runner.iter))

    def before_train(self, runner: Runner) -> None:
        """Start the clock, and read the history of a resumed run."""
        self._since = time.monotonic()
        preprocessor = getattr(bare_model(runner), 'data_preprocessor', None)
        if preprocessor is not None:
            preprocessor.register_forward_hook(self._count_pixels)
        if runner.iter == 0:
            return
        file = Path(runner.work_dir) / 'metrics.json'
        try:
            report = json.loads(file.read_text())
            # only the entry of the best one has its per-class numbers
            entries = {e['iteration']: e for e in (*report['history'], report['best'])}
            self._history = [e for e in entries.values() if e['iteration'] <= runner.iter]
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, LookupError):
            runner.logger.warning(f'{file}: is damaged; the validations before are left out of it')
        # the main process decides: the others may not see its folder
        missing = [all(entry['iteration'] != runner.iter for entry in self._history)]
        broadcast_object_list(missing)
        if missing[0] and _validates_now(runner):
            runner.logger.info(f'iteration {runner.iter} has not been validated yet')
            runner.val_loop.run()

    def before_val_epoch(self, runner: Runner) -> None:
        """Stop the clock during validation."""
        self._seconds = self._train_seconds()
        self._since = None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the metrics to the history, and write all files again."""
        self._since = time.monotonic()
        seconds = round(self._seconds, 1)
        entry = {'iteration': runner.iter, 'train_seconds': seconds, **_short_names(metrics)}
        self._history.append(entry)
        self._write(runner)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write ``test_metrics.json`` and log the table."""
        numbers = _short_names(metrics)
        report = {'test': numbers, 'checkpoint': runner._load_from, **self._circumstances(runner)}
        self._dump(report, Path(runner.work_dir) / 'test_metrics.json')
        runner.logger.info('\n' + metrics_table(numbers))

    def after_train(self, runner: Runner) -> None:
        """Log the table of the last validation."""
        if self._history:
            runner.logger.info('\n' + metrics_table(self._history[-1]))
            runner.logger.info(self._state())

    def _count_pixels(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Add the pixels of a batch; validation calls the preprocessor in eval mode."""
        if not module.training or self._pixels is None:
            return
        inputs = output.get('inputs') if isinstance(output, dict) else None
        if not isinstance(inputs, torch.Tensor):
            self._pixels = None
        else:
            pixels = len(inputs) * inputs.shape[-2] * inputs.shape[-1]
            if get_world_size() == 1:
                self._pixels += pixels
            else:
                # read when it is saved, so that no step waits for the GPU
                counted = torch.tensor(pixels, device=inputs.device)
                all_reduce(counted)
                self._pixels = self._pixels + counted

    def _seen(self, runner: Runner, iterations: int) -> dict[str, int | None]:
        return dict(
            images_seen=iterations * images_per_step(batch_of(runner)),
            pixels_seen=None if self._pixels is None else int(self._pixels),
        )

    def _train_seconds(self) -> float:
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._seconds + running

    def _state(self) -> str:
        """Whether the run still learns, by the number that decides which validation is best."""
        kind = next((kind for kind in QUALITIES if kind in self._history[-1]), QUALITIES[0])
        entries = [entry for entry in self._history if kind in entry]
        is_watched = all(f'train_{kind}' in entry for entry in entries)
        return learning_state(
            [entry['iteration'] for entry in entries],
            [entry[kind] for entry in entries],
            [entry[f'train_{kind}'] for entry in entries] if is_watched else None,
        )

    @master_only
    def _write(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        report = {
            'last': self._history[-1],
            'best': max(self._history, key=_quality),
            'verdict': self._state(),
            'history': [_without_classes(e) for e in self._history[:-1]] + self._history[-1:],
            'iterations': runner.iter,
            'train_seconds': round(self._seconds, 1),
            **self._seen(runner, runner.iter),
            'pixels_seen_total': None,
            'initialization': None,
            **self._circumstances(runner),
        }
        for hook in runner.hooks:
            if isinstance(hook, PreflightHook) and hook.proof:
                began = report['initialization'] = hook.proof.get('initialization')
                counts = report['pixels_seen'], began and began['pixels_before']
                report['pixels_seen_total'] = None if None in counts else sum(counts)
        self._dump(report, folder / 'metrics.json')
        draw_curves(folder, folder / 'curves.png', report['verdict'])

    def _circumstances(self, runner: Runner) -> dict:
        return {
            'config': os.path.relpath(runner.cfg.filename),
            'command': ' '.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            'parameters': sum(p.numel() for p in runner.model.parameters()),
            'seed': runner.seed,
            'git_commit': _git_commit(),
            'versions': circumstances.versions(),
            'hardware': circumstances.hardware(),
        }

    @staticmethod
    @master_only
    def _dump(report: dict, file: Path) -> None:
        work_dir.write(file, (json.dumps(report, indent=2) + '\n').encode())


def _validates_now(runner: Runner) -> bool:
    """Whether the run validates at its present iteration."""
    loop = runner.train_loop
    if runner.val_loop is None or not isinstance(loop, IterBasedTrainLoop):
        return False
    is_due = loop.iter % loop.val_interval == 0 or loop.iter == loop.max_iters
    return is_due and loop.iter >= loop.val_begin


def metrics_table(numbers: dict[str, float]) -> str:
    """Format metrics in percent.

    Boxes and masks have a row each, keypoints a row below a header of their own. VOC and
    classifiers have one number. A ``-`` is COCO's -1: there are no such objects.
    """
    for key in ('voc_mAP', 'accuracy'):
        if key in numbers:
            return f'{title(key)} {100 * numbers[key]:.1f}'
    rows: dict[str, dict[str, float]] = {}
    for key, value in _without_classes(numbers).items():
        kind, _, name = key.partition('_')
        if kind in KINDS:
            rows.setdefault(KINDS[kind], {})[name.replace('mAP', 'AP')] = value
    left = 2 + max(map(len, rows), default=0)
    lines: list[str] = []
    for label, own in rows.items():
        width = max(9, *(1 + len(name) for name in own))
        header = ' ' * left + ''.join(f'{name:>{width}}' for name in own)
        cells = (f'{100 * value:.1f}' if value >= 0 else '-' for value in own.values())
        lines += [header] if header not in lines else []
        lines.append(f'{label:{left}}' + ''.join(f'{cell:>{width}}' for cell in cells))
    return '\n'.join(lines)


def _quality(entry: dict) -> float:
    """Return the metric that decides which validation is best; higher is better."""
    return next((entry[kind] for kind in QUALITIES if kind in entry), -1)


def _short_names(metrics: dict[str, float] | None) -> dict[str, float]:
    return {short(key): value for key, value in (metrics or {}).items()}


def _without_classes(entry: dict) -> dict:
    """Remove the per-class numbers, whose number would grow with classes times validations."""
    return {key: value for key, value in entry.items() if '/' not in key}


def _git_commit() -> str | None:
    """Return the commit of the running code, with a ``+`` if code or configs were changed."""
    package = Path(mmscratch.__file__).parent
    git = ['git', '-C', str(package.parent)]
    diff = [*git, 'diff', '--quiet', 'HEAD', '--', package.name, 'configs', 'tools']
    try:
        head = subprocess.check_output([*git, 'rev-parse', 'HEAD'], text=True, stderr=DEVNULL)
        return head.strip() + '+' * (subprocess.call(diff) != 0)
    except (OSError, subprocess.CalledProcessError):
        return None
