"""Batches of one orientation, the same on any number of GPUs."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler

from mmscratch.data.samplers.infinite_subset_sampler import InfiniteSubsetSampler
from mmscratch.errors import InputError


@DATA_SAMPLERS.register_module()
class AspectRatioGroupedBatchSampler(BatchSampler):
    """Group the global sequence by aspect ratio (w < h, w >= h), then deal whole batches to ranks.

    MMDetection's ``AspectRatioBatchSampler`` groups the images of each rank, so another number of
    GPUs gives other batches. Here rank r of W takes the batches r, r + W, ... of one global list.
    For one ``batch_size`` the batches of a step are the same on any number of GPUs and in any
    number of passes. ``len()`` is the number of this rank's batches in a pass over the images.

    Raises:
        InputError: the sampler is another one, which has no endless global sequence.

    Example:
        >>> train_dataloader = dict(batch_sampler=dict(type='AspectRatioGroupedBatchSampler'))
    """

    sampler: InfiniteSubsetSampler

    def __init__(self, sampler: InfiniteSubsetSampler, batch_size: int) -> None:
        if not isinstance(sampler, InfiniteSubsetSampler):
            raise InputError(
                f'{type(self).__name__}: takes no {type(sampler).__name__}; give the data loader '
                "sampler=dict(type='InfiniteSubsetSampler'), or batch_sampler=None"
            )
        super().__init__(sampler, batch_size, drop_last=False)
        self.is_landscape = np.zeros(len(sampler.dataset), dtype=bool)
        for index in sampler.subset.indices.tolist():
            info = sampler.dataset.get_data_info(index)
            self.is_landscape[index] = info['width'] >= info['height']

    @staticmethod
    def batches(
        sequence: Iterable[int], is_landscape: np.ndarray, batch_size: int
    ) -> Iterator[list[int]]:
        """Yield the full batches of a sequence; ``is_landscape`` has a flag for each image."""
        groups: tuple[list[int], list[int]] = ([], [])
        for index in sequence:
            group = groups[int(is_landscape[index])]
            group.append(index)
            if len(group) == batch_size:
                yield group[:]
                group.clear()

    def __iter__(self) -> Iterator[list[int]]:
        sequence = self.sampler.global_sequence()
        batches = self.batches(sequence, self.is_landscape, self.batch_size)
        return islice(batches, self.sampler.rank, None, self.sampler.world_size)

    def __len__(self) -> int:
        return math.ceil(self.sampler.size / self.batch_size / self.sampler.world_size)
