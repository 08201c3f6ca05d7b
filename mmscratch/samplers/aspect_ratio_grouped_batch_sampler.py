"""Batch portrait and landscape images separately, independent of the number of GPUs."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler

from mmscratch.errors import InputError
from mmscratch.samplers.finite_subset_sampler import FiniteSubsetSampler
from mmscratch.samplers.infinite_subset_sampler import InfiniteSubsetSampler


@DATA_SAMPLERS.register_module()
class AspectRatioGroupedBatchSampler(BatchSampler):
    """Group the global sequence by aspect ratio (w < h, w >= h), then deal whole batches to ranks.

    MMDetection's ``AspectRatioBatchSampler`` groups the images of each rank, so another number of
    GPUs gives other batches. Here rank r of W takes the batches r, r + W, ... of one global list.
    For one ``batch_size`` the batches of a step are the same on any number of GPUs and in any
    number of passes.

    Over a :class:`FiniteSubsetSampler`, the images left in the two groups at the end of the epoch
    are batched together, portrait ones first, so that no image is lost. ``drop_last`` drops a last
    batch that is not full. If the sampler rounds up, the epoch's first batches are repeated until
    every rank has the same number. ``len()`` is the number of this rank's batches in a pass.

    Raises:
        InputError: the sampler is another one, which has no global sequence.

    Example:
        >>> train_dataloader = dict(batch_sampler=dict(type='AspectRatioGroupedBatchSampler'))
    """

    sampler: InfiniteSubsetSampler | FiniteSubsetSampler

    def __init__(
        self,
        sampler: InfiniteSubsetSampler | FiniteSubsetSampler,
        batch_size: int,
        drop_last: bool = False,
    ) -> None:
        if not isinstance(sampler, InfiniteSubsetSampler | FiniteSubsetSampler):
            raise InputError(
                f'{type(self).__name__}: takes no {type(sampler).__name__}; give the data loader '
                "sampler=dict(type='InfiniteSubsetSampler'), or batch_sampler=None"
            )
        super().__init__(sampler, batch_size, drop_last)
        self.round_up = getattr(sampler, 'round_up', True)
        self.is_landscape = np.zeros(len(sampler.dataset), dtype=bool)
        for index in sampler.subset.indices.tolist():
            info = sampler.dataset.get_data_info(index)
            self.is_landscape[index] = info['width'] >= info['height']

    @staticmethod
    def batches(
        sequence: Iterable[int], is_landscape: np.ndarray, batch_size: int, drop_last: bool
    ) -> Iterator[list[int]]:
        """Yield the global list of batches; ``is_landscape`` has a flag for each image."""
        groups: tuple[list[int], list[int]] = ([], [])
        for index in sequence:
            group = groups[int(is_landscape[index])]
            group.append(index)
            if len(group) == batch_size:
                yield group[:]
                group.clear()
        rest = groups[0] + groups[1]
        for start in range(0, len(rest), batch_size):
            batch = rest[start : start + batch_size]
            if len(batch) == batch_size or not drop_last:
                yield batch

    @staticmethod
    def deal(
        batches: Iterable[list[int]], rank: int, world_size: int, round_up: bool
    ) -> Iterator[list[int]]:
        """Yield the batches ``rank``, ``rank + world_size``, ... of an epoch's global list."""
        batches = list(batches)
        count = len(batches)
        if round_up:
            count = math.ceil(count / world_size) * world_size
        return (batches[number % len(batches)] for number in range(rank, count, world_size))

    def __iter__(self) -> Iterator[list[int]]:
        sampler = self.sampler
        batches = self.batches(
            sampler.global_sequence(), self.is_landscape, self.batch_size, self.drop_last
        )
        if isinstance(sampler, InfiniteSubsetSampler):
            return islice(batches, sampler.rank, None, sampler.world_size)
        return self.deal(batches, sampler.rank, sampler.world_size, self.round_up)

    def __len__(self) -> int:
        rounded = math.floor if self.drop_last else math.ceil
        count = rounded(self.sampler.subset_size / self.batch_size)
        rank, world_size = self.sampler.rank, self.sampler.world_size
        if self.round_up:
            return math.ceil(count / world_size)
        return len(range(rank, count, world_size))
