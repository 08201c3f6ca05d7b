"""Iteration-based training whose iterations are optimizer steps, and that resumes exactly."""

import contextlib
import copy
import itertools
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, cast

import torch
from mmdet.registry import LOOPS
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch.nn import Module
from torch.utils.data import BatchSampler, DataLoader

from mmscratch.data.seeded_dataset import SeededDataset, derive_seed
from mmscratch.errors import InputError
from mmscratch.loops.runner_state import loaded_file


def _start_worker(initialize: Callable[[int], None] | None, number: int) -> None:
    """Keep a worker for the last step if a batch system sends SIGTERM to all processes.

    It ends at that of its parent.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initialize:
        initialize(number)


def _end_with_parent() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(IterBasedTrainLoop):
    """``IterBasedTrainLoop`` whose iteration is an optimizer step, of one or several passes.

    An iteration takes the mean gradient of ``accumulation`` batches, one after another, and then
    updates the weights. Hooks are called once an iteration, with the mean of the passes' losses.
    After it they get the images of all passes, before it those of the first.

    The batches come from one global sequence. Rank r of W takes in pass p of step s the batch
    number ``n = (s * accumulation + p) * W + r``. Augmentation follows from the seed, the image and
    the step; the model's random numbers follow from the seed and n. For one batch size a step is
    therefore the same on any number of GPUs, in any number of passes, with any number of workers,
    but for the order of sums and for BN's statistics. With another batch size, and as many images
    a step, images and augmentation of a step stay, while batches, padding and the model's random
    numbers are others. Where a batch sampler groups images by aspect ratio, another batch size also
    moves some images to a neighbouring step.

    A run that was stopped goes on in any of these splits. Only the indices of the past are counted
    off, before the first worker starts; MMEngine would load every image of the past.

    The data set has to be map-style, a batch a dict of lists. An image that occurs twice in one
    step is augmented alike. A checkpoint's seed replaces that of the sampler unless the sampler has
    one of its own. With ``diff_rank_seed`` MMEngine gives the sampler a seed that it does not save,
    so that a resumed run has another order.

    Args:
        accumulation: Passes of an iteration. ``tools/train.py`` sets it.

    Example:
        >>> train_cfg = dict(type='ResumableIterBasedTrainLoop', max_iters=90_000, accumulation=8)
    """

    dataloader: DataLoader

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        *args: Any,
        accumulation: int = 1,
        **kwargs: Any,
    ) -> None:
        BaseLoop.__init__(self, runner, dataloader)
        dataloader = self.dataloader
        # The parent makes an iterator of its loader here, before the first iteration is known. This
        # loader has no workers that would load ahead.
        super().__init__(runner, DataLoader(dataloader.dataset), *args, **kwargs)
        self.dataloader = dataloader
        # only a loader that MMEngine doesn't build has none
        self.batch_sampler = cast(BatchSampler, dataloader.batch_sampler)
        self.accumulation = accumulation
        self._seed_at_start = runner.seed
        self._in_step = False

    def run(self) -> Module:
        """Train from iteration ``self.iter`` to the end.

        If a batch cannot be loaded, or a validation fails, the last step is whole, and hooks with a
        method ``on_data_fault`` are called.

        Raises:
            InputError: the checkpoint is from behind the end.
        """
        if self.iter > self.max_iters:
            raise InputError(
                f'{loaded_file(self.runner)}: is of iteration {self.iter:,}, and this run ends at '
                f'{self.max_iters:,}: resume it with the config and options of its start'
            )
        sampler: Any = self.batch_sampler.sampler
        if getattr(sampler, 'seed', None) == self._seed_at_start:
            sampler.seed = self.runner.seed
        # This loop takes the rank's part of the global sequence itself.
        sampler.rank, sampler.world_size = 0, 1
        if self.accumulation > 1:
            # The wrapper counts passes; the Runner has given it iterations.
            wrapper = self.runner.optim_wrapper
            wrapper._accumulative_counts = self.accumulation
            passes = (count * self.accumulation for count in (self.iter, self.max_iters))
            wrapper.initialize_count_status(self.runner.model, *passes)
        began = self._iter
        # The workers end with the training, not whenever the garbage is collected.
        with contextlib.closing(self._data_batches(self._iter)) as self.dataloader_iterator:
            try:
                return super().run()
            except Exception:
                if self._iter > began and not self._in_step:
                    # the saving is a step that no death of another worker may interrupt
                    self._in_step = True
                    with self._late_worker_faults():
                        self.runner.call_hook('on_data_fault')
                raise

    def run_iter(self, data_batch: dict) -> None:
        """Take one optimizer step; ``data_batch`` is the batch of its first pass."""
        runner = self.runner
        # all of them first: a fault of the data is met while the last step is whole
        more = (next(self.dataloader_iterator) for _ in range(self.accumulation - 1))
        batches = [data_batch, *more]
        self._in_step = True
        runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=data_batch)
        losses: list[dict[str, torch.Tensor]] = []
        for number, batch in enumerate(batches, self._iter * self.accumulation):
            batch_number = number * get_world_size() + get_rank()
            torch.manual_seed(derive_seed(runner.seed, batch_number))
            outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
            losses.append({name: value.detach() for name, value in outputs.items()})
        if self.accumulation > 1:
            data_batch = {key: [x for batch in batches for x in batch[key]] for key in data_batch}
            outputs = {key: torch.stack([each[key] for each in losses]).mean(0) for key in outputs}
        runner.call_hook(
            'after_train_iter', batch_idx=self._iter, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1
        self._in_step = False

    def _data_batches(self, past: int) -> Generator[Any, None, None]:
        # The parent's run() draws and drops one batch for each past iteration.
        yield from itertools.repeat(None, past)
        loader = copy.copy(self.dataloader)
        # A DataLoader refuses these assignments; this unused copy can take them.
        vars(loader).update(
            dataset=SeededDataset(loader.dataset, self.runner.seed),
            batch_sampler=self.keyed_batches(
                self.batch_sampler, past, self.accumulation, get_rank(), get_world_size()
            ),
            worker_init_fn=partial(_start_worker, loader.worker_init_fn),
        )
        batches = iter(loader)
        with self._late_worker_faults() as tell_late:
            try:
                for batch in batches:
                    yield batch
                    tell_late()
            except ConnectionError as error:
                # torch has not noticed its death yet
                raise RuntimeError(
                    'DataLoader worker (pid unknown) died while it handed over a batch'
                ) from error

    @contextlib.contextmanager
    def _late_worker_faults(self) -> Iterator[Callable[[], None]]:
        """Let no death of a worker interrupt a step: torch raises it wherever the process is.

        Yields:
            What raises it after the step.
        """
        tell: Any = signal.getsignal(signal.SIGCHLD)
        late = []

        def defer(*args: Any) -> None:
            if self._in_step:
                late.append(args)
            else:
                tell(*args)

        def tell_late() -> None:
            while late:
                tell(*late.pop())

        if callable(tell):  # there are workers
            signal.signal(signal.SIGCHLD, defer)
        try:
            yield tell_late
        finally:
            signal.signal(signal.SIGCHLD, tell)

    @staticmethod
    def keyed_batches(
        batch_sampler: BatchSampler, past: int, accumulation: int, rank: int, world_size: int
    ) -> Iterator[list[tuple[int, int]]]:
        """Yield a rank's batches from step ``past`` on, as lists of (index, step).

        ``batch_sampler`` yields the batches of all ranks. After its end it begins again with the
        next epoch's number.
        """
        number = 0
        for epoch in itertools.count():
            if hasattr(batch_sampler.sampler, 'set_epoch'):
                batch_sampler.sampler.set_epoch(epoch)
            for indices in batch_sampler:
                step = number // (world_size * accumulation)
                if step >= past and number % world_size == rank:
                    yield [(index, step) for index in indices]
                number += 1
            if number == 0:
                raise ValueError('the batch sampler yields no batch')
