"""Take a few steps of a run, one validation, one checkpoint and its resumption, and time them."""

import copy
import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader

from mmscratch.errors import InputError
from mmscratch.hooks.comparison_pictures_hook import ComparisonPicturesHook
from mmscratch.hooks.start_cascade_hook import StartCascadeHook
from mmscratch.hooks.train_ap_hook import TrainApHook
from mmscratch.hooks.val_loss_hook import ValLossHook
from mmscratch.loops.runner_state import bare_model
from mmscratch.weights.checkpoint import hash_of_tensors

# The first steps, which are slower, are not counted.
WARM_UP = 2
# How many are counted: so many, and for so long, but a minute is enough for a few.
STEPS, SECONDS = 10, 20
FEW_STEPS, MANY_SECONDS, MANY_STEPS = 2, 60, 100
VAL_IMAGES = 8


class TrialHook(Hook):
    """Stop a run after a few steps, and time them, for ``tools/train.py --trial``.

    The run keeps its schedule, so that the preflight checks the schedule of the real run. The hook
    times steps, saves a checkpoint, validates on a few images and takes one more step. In a run
    that resumes the checkpoint it compares the state with the saved one, and takes that step again.

    A cascade trains all its stages from the first step on, which takes most time and memory.

    Register it with ``PRIORITY``.

    Args:
        saved: the hook of the run that this one resumes.

    Attributes:
        steps: for each step its seconds, from the request for the first batch to the optimizer's
            update, and those of them that it waited for batches.
        ahead: steps whose batches the loader's workers may load during the first step.
        saves: the checkpoints that the whole run would save.
        kept: how many of them stay.
        validations: how often the whole run would validate.
        iteration: the one of the checkpoint.
        file: the checkpoint; None if the run saves none.
        save_seconds: what saving it took.
        losses: those of the step after the checkpoint; empty if the run ends with the checkpoint.
        val_images: images of a whole validation, over all processes.
        val_seconds: of an image in validation, in this process.
        detections: on an image, on average; None for a model that detects nothing.
    """

    # after ParamSchedulerHook, before CheckpointHook
    PRIORITY = 80

    def __init__(self, saved: 'TrialHook | None' = None) -> None:
        self.saved = saved
        self.steps: list[tuple[float, float]] = []
        self.losses: dict[str, float] = {}
        self.ahead = self.saves = self.kept = self.validations = self.iteration = 0
        self.file: Path | None = None
        self.save_seconds = self.val_seconds = 0.0
        self.val_images = 0
        self.detections: float | None = None
        self._state: dict[str, str] = {}
        self._found: list[int] = []
        self._val_loaders: list[_FirstBatches] = []

    def before_train(self, runner: Runner) -> None:
        """Prepare the run, which the preflight has seen as it is.

        Raises:
            InputError: the resumed state differs from the saved one.
        """
        loop = runner.train_loop
        savers = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        for hook in savers:
            saves = sum(_saves(hook, i, loop.max_iters) for i in range(1, loop.max_iters + 1))
            self.saves += saves
            self.kept += min(saves, hook.max_keep_ckpts) if hook.max_keep_ckpts > 0 else saves
        if runner.val_loop is not None:
            self.validations = sum(_validates(loop, i) for i in range(1, loop.max_iters + 1))
            self._shorten_validation(runner)
        # from here on both happen where this hook says
        for hook in savers:
            hook.interval, hook.save_last = -1, False
        loop.dynamic_milestones, loop.dynamic_intervals = [0], [1]
        loop.val_interval, loop.val_begin = 1, loop.max_iters + 1
        for hook in runner.hooks:
            if isinstance(hook, StartCascadeHook):
                hook.begin = 0
                hook.before_train(runner)
        if self.saved:
            self.iteration = self.saved.iteration
            self._compare(runner, self.saved._state)
        else:
            loader = loop.dataloader
            batches = loader.num_workers * (loader.prefetch_factor or 0)
            self.ahead = batches // getattr(loop, 'accumulation', 1)
            loop.dataloader_iterator = self._batches = _TimedBatches(loop.dataloader_iterator)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Note the step's time; save once there are enough, and stop after one step more."""
        loop = runner.train_loop
        if self.iteration:
            losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
            self.losses = {name: value.detach().item() for name, value in losses.items()}
            loop.stop_training, loop.val_begin = True, loop.max_iters + 1
            return
        self.steps.append(self._batches.take())
        is_end = runner.iter + 2 >= loop.max_iters  # the last step follows, or none
        enough = [is_end or are_enough([spent for spent, _ in counted(self.steps, self.ahead)])]
        broadcast_object_list(enough)
        if enough[0]:
            # which makes the loop validate
            self.iteration = loop.val_begin = runner.iter + 1
            self._save(runner)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = ()
    ) -> None:
        """Count the detections."""
        self._found += [len(o.pred_instances) for o in outputs if hasattr(o, 'pred_instances')]

    def after_train(self, runner: Runner) -> None:
        """Take the means of the validation."""
        self.val_seconds = sum(loader.seconds_per_image() for loader in self._val_loaders)
        if self._found:
            self.detections = sum(self._found) / len(self._found)

    def _shorten_validation(self, runner: Runner) -> None:
        """Leave a few batches of each loader that a validation reads."""
        loop = runner.val_loop
        self.val_images = len(loop.dataloader.dataset)
        loop.dataloader = _FirstBatches(loop.dataloader)
        self._val_loaders = [loop.dataloader]
        for hook in runner.hooks:
            if isinstance(hook, ComparisonPicturesHook):
                # in the first batch, which isn't counted
                hook.num_images = 1
            elif isinstance(hook, ValLossHook | TrainApHook) and hook._loader is not None:
                self._val_loaders.append(_FirstBatches(hook._loader))
                hook._loader = cast(DataLoader, self._val_loaders[-1])

    def _save(self, runner: Runner) -> None:
        saver = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if saver is None:
            return
        if is_main_process():
            self._state = _state(runner, self.iteration)
        begin = time.perf_counter()
        saver._save_checkpoint(runner)
        self.save_seconds = time.perf_counter() - begin
        self.file = Path(saver.last_ckpt)

    def _compare(self, runner: Runner, saved: dict[str, str]) -> None:
        verdict: list[list[str]] = [[]]
        if is_main_process():
            now = _state(runner, runner.iter)
            verdict = [[name for name in saved if saved[name] != now[name]]]
        broadcast_object_list(verdict)
        if verdict[0]:
            raise InputError(
                f'{runner.cfg.filename}: a run resumed from iteration {self.iteration} has other '
                f'{", ".join(verdict[0])} than were saved there, and would not go on as the '
                'stopped run: look for a hook of your own that changes them, or do not resume'
            )


class _TimedBatches:
    """Batches of a loop, and the seconds since they were asked for."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._begin: float | None = None
        self._waited = 0.0

    def __next__(self) -> Any:
        begin = time.perf_counter()
        batch = next(self._batches)
        self._waited += time.perf_counter() - begin
        self._begin = self._begin or begin
        return batch

    def take(self) -> tuple[float, float]:
        """Seconds of the step that ends here, and those of them that it waited; start anew."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent = time.perf_counter() - (self._begin or 0), self._waited
        self._begin, self._waited = None, 0.0
        return spent


class _FirstBatches:
    """The first batches of a loader; each is timed with all that is done with it."""

    def __init__(self, loader: DataLoader) -> None:
        self.dataset = loader.dataset
        # only a loader that MMEngine doesn't build has none
        batches = cast(BatchSampler, loader.batch_sampler)
        # the first one warms up
        number = 1 + -(-VAL_IMAGES // batches.batch_size)
        self._indices = list(itertools.islice(batches, number))
        self._loader = copy.copy(loader)
        # a DataLoader refuses the assignment; this unused copy can take it
        vars(self._loader).update(batch_sampler=self._indices)
        self._seconds: list[float] = []

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Any]:
        begin = time.perf_counter()
        for batch in self._loader:
            yield batch
            now = time.perf_counter()
            self._seconds.append(now - begin)
            begin = now

    def seconds_per_image(self) -> float:
        first = 1 if len(self._seconds) > 1 else 0
        images = sum(map(len, self._indices[first : len(self._seconds)]))
        return sum(self._seconds[first:]) / max(images, 1)


def counted(steps: Sequence[tuple[float, float]], ahead: int) -> Sequence[tuple[float, float]]:
    """The steps without those that warm up, but at least one.

    Two warm up. So does, within ``SECONDS``, each of the ``ahead`` steps whose batches may have
    been loaded during the first one: they hide that loading is slower than the model.
    """
    ends = itertools.accumulate(spent for spent, _ in steps)
    early = sum(i < ahead and end < SECONDS for i, end in enumerate(ends))
    return steps[max(WARM_UP, early) :] or steps[-1:]


def are_enough(seconds: Sequence[float]) -> bool:
    """Whether steps of these seconds say what a step takes."""
    number, total = len(seconds), sum(seconds)
    return (
        (number >= STEPS and total >= SECONDS)
        or (number >= FEW_STEPS and total >= MANY_SECONDS)
        or number >= MANY_STEPS
    )


def _saves(hook: CheckpointHook, iteration: int, length: int) -> bool:
    """Whether the hook saves after this iteration, as MMEngine decides it."""
    since = iteration - hook.save_begin
    is_due = not hook.by_epoch and hook.interval > 0 and since >= 0 and since % hook.interval == 0
    return is_due or (hook.save_last and iteration == length)


def _validates(loop: IterBasedTrainLoop, iteration: int) -> bool:
    """Whether the loop validates after this iteration, as MMEngine decides it."""
    milestones = [begin for begin in loop.dynamic_milestones if begin <= iteration + 1]
    interval = loop.dynamic_intervals[len(milestones) - 1]
    is_due = iteration % interval == 0 or iteration == loop.max_iters
    return is_due and iteration >= loop.val_begin


def _state(runner: Runner, iteration: int) -> dict[str, str]:
    """SHA-256 of all that a run needs to go on, to the bit, by name."""
    parts = {
        'iteration': iteration,
        'weights': bare_model(runner).state_dict(),
        'optimizer': runner.optim_wrapper.state_dict(),
        'learning rates': [scheduler.state_dict() for scheduler in runner.param_schedulers or ()],
    }
    return {
        name: hashlib.sha256(json.dumps(part, default=_plain).encode()).hexdigest()
        for name, part in parts.items()
    }


def _plain(value: Any) -> Any:
    """A tensor as its hash, for JSON."""
    return hash_of_tensors({'': value}) if isinstance(value, torch.Tensor) else repr(value)
