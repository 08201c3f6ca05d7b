"""Checkpoints that survive kills and full disks, and one more when a run is asked to stop."""

from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmscratch.config import work_dir
from mmscratch.errors import InputError
from mmscratch.process import stop_signals
from mmscratch.process.stop_signals import Stopped
from mmscratch.weights.checkpoint import HASH, hash_of_tensors

# Logged numbers of each name that are kept. MMEngine copies all of them at every step, and puts
# them into each checkpoint: after 540,000 steps 14 names are 121 MB, and tens of milliseconds.
HISTORY = 10_000
# Several processes stop after steps that this divides.
STEPS_TOGETHER = 10


@register_backend('local', force=True, prefixes='')
class AtomicLocalBackend(LocalBackend):
    """MMEngine's backend of local files, which writes each of them in a single step."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, and its folder if that is missing."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        work_dir.write(Path(filepath), obj)


class _LateRemovals(LocalBackend):
    """Removes files only when it is told to."""

    def __init__(self) -> None:
        self.due: list[str | Path] = []

    def remove(self, filepath: str | Path) -> None:
        self.due.append(filepath)


# under MMEngine's name, for all configs
@HOOKS.register_module(name='CheckpointHook', force=True)
class SafeCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that never has less than a whole checkpoint, and saves before it stops.

    It takes the place of MMEngine's, whose arguments it has:

    - A file is written aside, flushed and moved into its place. Older checkpoints and the best one
      before are removed after that, not before it: the disk needs space for one more.
    - ``meta.tensors_sha256`` is the SHA-256 of all tensors in the file, which
      :func:`mmscratch.weights.checkpoint.load` checks.
    - The history of logged numbers in it ends with the last 10,000 or so.
    - A signal (:mod:`mmscratch.process.stop_signals`) lets the run finish its step, saves a
      checkpoint and ends the run with status 75. Several processes stop after the same step, the
      next that ``STEPS_TOGETHER`` divides. A second signal ends the run at once, as the first does
      in a loop of epochs.
    - If an image cannot be loaded, or a loader's worker dies, the last step is saved. Of several
      processes only the first can: it alone has all that belongs into a checkpoint, and when
      another fails, it waits for that one amid a step.
    - A run that goes back to an earlier checkpoint of its folder leaves the later ones for good:
      they get the ending ``.abandoned``, and ``--resume`` does not come back to them.
    """

    file_backend: Any

    def before_train(self, runner: Runner) -> None:
        """Abandon later checkpoints, and let the first signal wait for the end of a step."""
        super().before_train(runner)
        if runner._resume and runner._load_from and is_main_process():
            _abandon_later(runner, Path(self.out_dir))
        if isinstance(self.file_backend, LocalBackend):
            self.file_backend = _LateRemovals()
        # a trial switches saving off
        saves = not self.by_epoch and (self.interval > 0 or self.save_last)
        stop_signals.save_first(saves and isinstance(runner.train_loop, IterBasedTrainLoop))

    def after_train(self, runner: Runner) -> None:
        """Let a signal end the process at once again."""
        super().after_train(runner)
        stop_signals.save_first(False)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the hash of the tensors, and let the history of logged numbers grow no longer."""
        checkpoint['meta'][HASH] = hash_of_tensors(checkpoint)
        for history in runner.message_hub.log_scalars.values():
            history.max_length = HISTORY

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save when it is time to, or when the run is asked to stop.

        Raises:
            Stopped: the run was asked to stop.
        """
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        # several processes have to ask each other, for which a GPU would wait at every step
        is_due = get_world_size() == 1 or (runner.iter + 1) % STEPS_TOGETHER == 0
        if is_due and _is_asked():
            self._stop(runner, runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and stop, if one process is asked to. The resumed run validates again.

        Several processes may have different numbers of batches, and stop after the validation.
        """
        if get_world_size() == 1 and not _is_averaged(runner) and stop_signals.requested():
            self._stop(runner, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save a new best checkpoint."""
        super().after_val_epoch(runner, metrics or {})
        self._remove_old()

    def on_data_fault(self, runner: Runner) -> None:
        """Save the last step; the training loop calls this if a batch or a validation fails.

        Raises:
            Stopped: the run was asked to stop, by a signal that killed the workers of validation.
        """
        if not _is_averaged(runner):
            self._save(runner, runner.iter)
            if get_world_size() == 1 and stop_signals.requested():
                self._stop(runner, runner.iter)

    def _stop(self, runner: Runner, iteration: int) -> None:
        self._save(runner, iteration)
        # the first process that ends takes the others with it
        barrier()
        raise Stopped(
            f'stopped ({stop_signals.requested() or "another process was"}); iteration '
            f'{iteration:,} is saved: --resume goes on from {self.last_ckpt}'
            if is_main_process()
            else ''
        )

    def _save(self, runner: Runner, iteration: int) -> None:
        if self.by_epoch or iteration == 0:
            return
        if Path(self.last_ckpt or '').name != self.filename_tmpl.format(iteration):
            meta = dict(epoch=runner.epoch, iter=iteration)
            self._save_checkpoint_with_step(runner, iteration, meta)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not Path(runner.work_dir).is_dir():
            raise InputError(
                f'{runner.work_dir}: was removed under its run, and all checkpoints with it'
            )
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_old()

    def _remove_old(self) -> None:
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        kept = {self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best}
        if isinstance(self.file_backend, _LateRemovals):
            # in place of the best one before there may be a new one of the same name
            for file in set(self.file_backend.due) - kept:
                Path(file).unlink(missing_ok=True)
            self.file_backend.due.clear()


def _abandon_later(runner: Runner, folder: Path) -> None:
    file = folder / Path(runner._load_from).name
    if not file.is_file() or not file.samefile(runner._load_from):
        return
    later = work_dir.abandon_later(file)
    work_dir.write(Path(runner.work_dir, 'last_checkpoint'), str(file).encode())
    if later:
        runner.logger.warning(
            f'{file.name} is not the newest checkpoint: the later ones are now {", ".join(later)}'
        )


def _is_averaged(runner: Runner) -> bool:
    """Whether the model may have the averaged weights, as EMAHook gives it in validation."""
    return any(isinstance(hook, EMAHook) for hook in runner.hooks)


def _is_asked() -> bool:
    """Whether any process was asked to stop; the same answer in all of them."""
    asked = bool(stop_signals.requested())
    if get_world_size() > 1:
        flag = torch.tensor(int(asked))
        all_reduce(flag, op='max')
        asked = bool(flag)
    return asked
