"""A trial before a long run: a few steps of it, and what the whole would take."""

import contextlib
import gc
import logging
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import torch
from mmengine.config import Config
from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast_object_list,
    get_world_size,
    init_dist,
    is_distributed,
    is_main_process,
)
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmscratch.config.batch_plan import BatchPlan
from mmscratch.config.sections import as_list
from mmscratch.errors import InputError
from mmscratch.hooks.trial_hook import TrialHook, counted

NOTE = (
    'trial: all is written to a temporary folder; images are not decoded first, as the run will do '
    'once (unless --skip-decoding)'
)
# Passes of a step that accumulates; the others are like them.
PASSES = 2
# Share of a step from which waiting for images is told.
WAITED = 0.1


@contextlib.contextmanager
def prepared(cfg: Config) -> Iterator[None]:
    """Change a config for a trial; what its run writes is removed at the end, whatever that is.

    The run writes into a temporary folder, and nothing to TensorBoard or Weights & Biases. A step
    that accumulates takes ``PASSES`` passes.

    Raises:
        InputError: the machines of a distributed run do not share the folder.
    """
    if cfg.get('launcher', 'none') != 'none' and not is_distributed():
        init_dist(cfg.launcher, **((cfg.get('env_cfg') or {}).get('dist_cfg') or {}))
    with contextlib.ExitStack() as stack:
        folder = ['']
        if is_main_process():
            folder[0] = stack.enter_context(tempfile.TemporaryDirectory(prefix='mmscratch-trial-'))
        broadcast_object_list(folder)
        stack.callback(_close_logs)
        if not all(all_gather_object(Path(folder[0]).is_dir())):
            raise InputError(
                f'{folder[0]}: the machines of this trial do not share the folder: set TMPDIR to '
                'one that they share'
            )
        cfg.work_dir = folder[0]
        hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
        for section in [*hooks, *as_list(cfg.get('val_evaluator'))]:
            if section and section.get('out_dir'):
                section['out_dir'] = None
            if section and section.get('outfile_prefix'):
                section['outfile_prefix'] = f'{folder[0]}/results'
        if cfg.get('visualizer'):
            cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
        if cfg.train_cfg.get('accumulation', 1) > PASSES:
            cfg.train_cfg.accumulation = PASSES
        yield


def _close_logs() -> None:
    """Detach the log files in the folder: a later error must not be written into them."""
    for logger in MMLogger._instance_dict.values():
        for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()


def run(runner: Runner, cfg: Config, plan: BatchPlan, build: Callable[[Config], Runner]) -> None:
    """Try a run out, and print what was found.

    Args:
        runner: the run.
        cfg: its config. It is changed.
        plan: of the real run.
        build: builds a runner.

    Raises:
        InputError: the run, or its resumption, fails.
    """
    first = TrialHook()
    runner.register_hook(first, priority=TrialHook.PRIORITY)
    runner.train()
    memory = _peak_memory()
    files = {file.name: file.stat().st_size for file in Path(cfg.work_dir).glob('*.pth')}
    resumption = ''
    if first.file:
        resumption = _resume(runner, cfg, first, build)
    tried = Trial(
        plan=plan,
        passes=getattr(runner.train_loop, 'accumulation', 1),
        steps=counted(first.steps, first.ahead),
        memory=memory,
        validations=first.validations,
        val_images=first.val_images,
        val_seconds=first.val_seconds / get_world_size(),
        detections=first.detections,
        saves=first.saves,
        kept=first.kept,
        save_seconds=first.save_seconds,
        checkpoint_bytes=files.get(first.file.name, 0) if first.file else 0,
        best_bytes=sum(size for name, size in files.items() if name.startswith('best_')),
        resumption=resumption,
    )
    # the folder is no longer read
    barrier()
    if is_main_process():
        print('\n'.join(tried.lines()), flush=True)


def _resume(
    runner: Runner, cfg: Config, first: TrialHook, build: Callable[[Config], Runner]
) -> str:
    """Resume the checkpoint in a new runner, take the step after it again, and say what it gave."""
    # there may be no memory for two models
    runner.model = runner.optim_wrapper = runner.param_schedulers = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    barrier()
    cfg.resume, cfg.load_from = True, str(first.file)
    # the first run has told the rest
    cfg.log_level, cfg.experiment_name = 'WARNING', 'resumed'
    if cfg.get('visualizer'):
        cfg.visualizer.name = 'resumed'
    resumed = build(cfg)
    # a large data set takes long to read again
    resumed._train_dataloader['dataset'] = runner.train_dataloader.dataset
    if runner.val_loop is not None:
        resumed._val_dataloader['dataset'] = runner.val_dataloader.dataset
    again = TrialHook(saved=first)
    resumed.register_hook(again, priority=TrialHook.PRIORITY)
    resumed.train()
    told = f'resumed from iteration {first.iteration}: same weights, optimizer and learning rates'
    if not first.losses:
        return told
    step = f'in iteration {first.iteration + 1}'
    if again.losses == first.losses:
        return f'{told}; same losses {step}'
    losses = ' and '.join(f'{hook.losses.get("loss", 0):.6g}' for hook in (first, again))
    return f'{told}; other losses {step}, {losses} in sum'


def _peak_memory() -> str:
    """The most memory that a process of the run has held."""
    if torch.cuda.is_available():
        held = torch.cuda.max_memory_allocated()
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        where = f' of {total / 1e9:.1f} GB on the GPU'
    else:
        held, where = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, ' GB resident'
    most = max(all_gather_object(held))
    return f'{most / 1e9:.1f}{where}' + (' a process' if get_world_size() > 1 else '')


@dataclass(frozen=True)
class Trial:
    """What was measured, and what the whole run would take.

    Args:
        plan: of the real run.
        passes: that a step took here.
        steps: seconds of each step, and those of them that it waited for images.
        memory: the peak, in words.
        validations: of the whole run.
        val_images: of one validation.
        val_seconds: of an image, all processes together.
        detections: on an image, on average; None for a model that detects nothing.
        saves: checkpoints that the whole run saves.
        kept: those that stay.
        save_seconds: of one checkpoint.
        checkpoint_bytes: of one checkpoint.
        best_bytes: of the best ones.
        resumption: what it gave, in words.
    """

    plan: BatchPlan
    passes: int
    steps: Sequence[tuple[float, float]]
    memory: str
    validations: int
    val_images: int
    val_seconds: float
    detections: float | None
    saves: int
    kept: int
    save_seconds: float
    checkpoint_bytes: int
    best_bytes: int
    resumption: str

    @property
    def step_seconds(self) -> float:
        """Of a whole step.

        What it waits for images is a mean, since workers deliver several batches at once and then
        none. The rest is a median, which a pause of the machine does not change.
        """
        return self._scale * median(spent - waited for spent, waited in self.steps) + self.waiting

    @property
    def waiting(self) -> float:
        """Seconds that a step waits for images."""
        return self._scale * mean(waited for _, waited in self.steps)

    @property
    def train_seconds(self) -> float:
        """Of the whole run, with its checkpoints and without validations."""
        return self.plan.steps * self.step_seconds + self.saves * self.save_seconds

    @property
    def validate_seconds(self) -> float:
        """Of all validations, without what the evaluator takes to compute AP."""
        return self.validations * self.val_images * self.val_seconds

    @property
    def _scale(self) -> float:
        return self.plan.accumulation / self.passes

    def lines(self) -> list[str]:
        """What the terminal is told."""
        plan, step = self.plan, self.step_seconds
        speed = _number(plan.images_per_step / step)
        ends = [_number(self._scale * end(spent for spent, _ in self.steps)) for end in (min, max)]
        lines = [
            f'{plan.images_per_step} images/step, {_number(step)} s/step ('
            f'{len(self.steps)} timed, {" to ".join(ends)}), {speed} images/s, {self.memory}'
        ]
        if self.passes < plan.accumulation:
            lines[0] += f'; timed in {self.passes} of the {plan.accumulation} passes of a step'
        if self.waiting > WAITED * step:
            lines.append(
                f'a step waits {_number(self.waiting)} s for its images: more workers '
                '(train_dataloader.num_workers) may help'
            )
        if self.validations:
            lines.append(
                f'validation {_number(self.val_seconds)} s/image'
                + (
                    ''
                    if self.detections is None
                    else f' with {self.detections:.0f} detections each'
                )
                + f'; {self.val_images:,} images, {_times(self.validations)}'
            )
        if self.resumption:
            lines.append(
                f'checkpoint of {_size(self.checkpoint_bytes)}, saved in '
                f'{_number(self.save_seconds)} s; {self.resumption}'
            )
        kept = [f'the last {self.kept}'] if self.kept < self.saves else ['all'] * bool(self.saves)
        kept += ['the best one'] * bool(self.best_bytes)
        disk = self.kept * self.checkpoint_bytes + self.best_bytes
        lines.append(
            f'the whole run: about {_duration(self.train_seconds)} of training + '
            f'{_duration(self.validate_seconds)} of validation; checkpoints: {self.saves}, kept: '
            f'{" and ".join(kept) or "none"}, {_size(disk)} on disk'
        )
        return [f'trial: {line}' for line in lines]


def _times(number: int) -> str:
    return 'once' if number == 1 else f'{number:,} times'


def _number(value: float) -> str:
    """In two digits, or in all before the point."""
    return f'{value:,.0f}' if value >= 9.95 else f'{value:#.2g}'


def _size(number: float) -> str:
    return f'{number / 1e9:.1f} GB' if number >= 1e9 else f'{number / 1e6:.0f} MB'


def _duration(seconds: float) -> str:
    """In the two units that matter."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    if minutes < 100:
        return f'{minutes} min'
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f'{hours} h {minutes} min'
    days, hours = divmod(round(seconds / 3600), 24)
    return f'{days} days {hours} h'
