"""Sample a subset once an epoch, for epoch-based training and for evaluation."""

import math
from collections.abc import Iterator, Sized

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler

from mmscratch.data.samplers.pass_order import pass_order
from mmscratch.data.samplers.repeat_factors import pass_length, repeat_factors, repeated
from mmscratch.data.samplers.subset import select_subset


@DATA_SAMPLERS.register_module()
class FiniteSubsetSampler(DefaultSampler):
    """Yield this rank's dataset indices of one epoch; over all ranks each image occurs once.

    Rank r of W takes the draws r, r + W, ... of the epoch's order. This order is that of the same
    pass of :class:`~mmscratch.data.samplers.InfiniteSubsetSampler`. With ``round_up`` the order is
    repeated from its start until every rank has the same number of images. ``len()`` is the number
    of draws of this rank. ``subset``, ``subset_seed`` and ``repeat_threshold`` are those of the
    infinite sampler; with the latter images of rare classes occur several times.

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
        repeat_threshold: float | None = None,
    ) -> None:
        super().__init__(dataset, shuffle, seed, round_up)
        self.subset = select_subset(dataset, subset, subset_seed)
        self.size = self.subset_size = len(self.subset.indices)
        # PreflightHook reads the attribute
        self.repeat_threshold, self.factors = repeat_threshold, None
        if repeat_threshold is not None:
            self.factors = repeat_factors(dataset, self.subset.indices, repeat_threshold)
            self.size = pass_length(self.factors)
        self.total_size = self.size
        if round_up:
            self.total_size = math.ceil(self.size / self.world_size) * self.world_size
        self.num_samples = len(range(self.rank, self.total_size, self.world_size))

    def __iter__(self) -> Iterator[int]:
        draws = np.arange(self.rank, self.total_size, self.world_size) % self.size
        indices = self.subset.indices
        if self.factors is not None:
            indices = indices[repeated(self.factors, self.seed, self.epoch)]
        order = pass_order(self.size, self.shuffle, self.seed, self.epoch)
        return iter(indices[order[draws]].tolist())
