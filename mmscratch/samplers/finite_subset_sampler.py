"""Sample a subset once an epoch, for epoch-based training and for evaluation."""

import math
from collections.abc import Iterator, Sized

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler

from mmscratch.samplers.pass_order import pass_order
from mmscratch.samplers.subset import select_subset


@DATA_SAMPLERS.register_module()
class FiniteSubsetSampler(DefaultSampler):
    """Yield this rank's dataset indices of one epoch; over all ranks each image occurs once.

    Rank r of W takes the draws r, r + W, ... of the epoch's order. This order is that of the same
    pass of :class:`~mmscratch.samplers.InfiniteSubsetSampler`. With ``round_up`` the order is
    repeated from its start until every rank has the same number of images. ``len()`` is the number
    of draws of this rank. ``subset`` and ``subset_seed`` are those of the infinite sampler.

    Example:
        >>> val_dataloader = dict(
        ...     sampler=dict(type='FiniteSubsetSampler', shuffle=False, subset=500))
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        subset: int | str | None = None,
        subset_seed: int = 0,
    ) -> None:
        super().__init__(dataset, shuffle, seed, round_up)
        self.subset = select_subset(dataset, subset, subset_seed)
        self.subset_size = self.total_size = len(self.subset.indices)
        if round_up:
            self.total_size = math.ceil(self.subset_size / self.world_size) * self.world_size
        self.num_samples = len(range(self.rank, self.total_size, self.world_size))

    def __iter__(self) -> Iterator[int]:
        draws = np.arange(self.rank, self.total_size, self.world_size) % self.subset_size
        order = pass_order(self.subset_size, self.shuffle, self.seed, self.epoch)
        return iter(self.subset.indices[order[draws]].tolist())
