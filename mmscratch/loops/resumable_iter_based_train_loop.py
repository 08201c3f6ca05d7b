"""Iteration-based training that resumes at once and exactly."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from mmdet.registry import LOOPS
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch.nn import Module
from torch.utils.data import BatchSampler, DataLoader

from mmscratch.loops.seeded_dataset import SeededDataset, derive_seed


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(IterBasedTrainLoop):
    """``IterBasedTrainLoop`` that steps over past iterations without loading an image.

    mmengine resumes by loading every batch of the past: hours for a long schedule. Here only the
    indices of the past are counted off before the first worker starts, so that neither workers nor
    prefetching matter. A run that was stopped and resumed sees the images of a straight run in the
    same order with the same augmentation (a function of the seed, the image and the optimizer
    step), and draws the same random numbers in the model (seeded by the seed and the number of the
    batch, counted over all ranks). Both are thereby the same for any number of workers, and for any
    split of a step into GPUs and accumulation; an image that occurs twice in one step is augmented
    alike.

    The data set has to be map-style and the number of GPUs, the batch size and the accumulation
    those of the first part. A checkpoint's seed replaces that of the sampler unless the sampler
    has one of its own. With ``diff_rank_seed`` mmengine gives the sampler a seed that it does not
    save, so that a resumed run has another order.
    """

    def __init__(
        self, runner: Runner, dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> None:
        BaseLoop.__init__(self, runner, dataloader)
        dataloader = self.dataloader
        # The parent asks its loader for an iterator here, before it is known where to begin; this
        # one has no workers that would load ahead.
        super().__init__(runner, DataLoader(dataloader.dataset), *args, **kwargs)
        self.dataloader = dataloader
        self._seed_at_start = runner.seed

    def run(self) -> Module:
        """Train from iteration ``self.iter`` to the end."""
        sampler = self.dataloader.batch_sampler.sampler
        if getattr(sampler, 'seed', None) == self._seed_at_start:
            sampler.seed = self.runner.seed
        self.dataloader_iterator = self._data_batches(self._iter)
        try:
            return super().run()
        finally:
            # The workers end with the training, not whenever the garbage is collected.
            self.dataloader_iterator.close()

    def run_iter(self, data_batch: dict) -> None:
        """Iterate one mini-batch, with random numbers that follow from seed and batch."""
        batch_number = self._iter * get_world_size() + get_rank()
        torch.manual_seed(derive_seed(self.runner.seed, batch_number))
        super().run_iter(data_batch)

    def _data_batches(self, past: int) -> Iterator[Any]:
        # The parent's run() takes one batch for each past iteration and drops it.
        yield from itertools.repeat(None, past)
        accumulation = getattr(self.runner.optim_wrapper, '_accumulative_counts', 1)
        loader = copy.copy(self.dataloader)
        # DataLoader refuses to have these assigned once it is made; the copy has not been used.
        vars(loader).update(
            dataset=SeededDataset(loader.dataset, self.runner.seed),
            batch_sampler=self.keyed_batches(loader.batch_sampler, past, accumulation),
        )
        yield from loader

    @staticmethod
    def keyed_batches(
        batch_sampler: BatchSampler, past: int, accumulation: int
    ) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches from iteration ``past`` on, as lists of (index, optimizer step).

        A batch sampler that ends is started again with the next epoch's number.
        """
        iteration = 0
        for epoch in itertools.count():
            if hasattr(batch_sampler.sampler, 'set_epoch'):
                batch_sampler.sampler.set_epoch(epoch)
            for indices in batch_sampler:
                if iteration >= past:
                    yield [(index, iteration // accumulation) for index in indices]
                iteration += 1
            if iteration == 0:
                raise ValueError('the batch sampler yields no batch')
