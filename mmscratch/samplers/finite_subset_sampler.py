"""One pass over a subset, for epoch-based training and for evaluation."""

import math
from collections.abc import Iterator, Sized

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler

from mmscratch.samplers.pass_order import pass_order
from mmscratch.samplers.subset import select_subset


@DATA_SAMPLERS.register_module()
class FiniteSubsetSampler(DefaultSampler):
    """Yield this rank's dataset indices of one epoch; over all ranks each chosen image comes once.

    Rank r of W takes the draws r, r + W, ... of the epoch's order, which is that of the same pass
    of :class:`~mmscratch.samplers.InfiniteSubsetSampler`. With ``round_up`` the order is repeated
    from its start until every rank has equally many, without it nothing is added or left out.
    ``len()`` is the number of draws of this rank. ``subset`` and ``subset_seed`` are those of the
    infinite sampler.
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
        chosen = select_subset(dataset, subset, subset_seed)
        self.members = chosen.indices
        self.subset_ids = chosen.ids
        self.subset_sha256 = chosen.sha256
        self.subset_seed = chosen.seed
        self.subset_size = len(self.members)
        self.total_size = self.subset_size
        if round_up:
            self.total_size = math.ceil(self.subset_size / self.world_size) * self.world_size
        self.num_samples = len(range(self.rank, self.total_size, self.world_size))

    @staticmethod
    def share(order: np.ndarray, total_size: int, rank: int, world_size: int) -> np.ndarray:
        """Part of a rank in ``order``, which is repeated from its start up to ``total_size``."""
        return order[np.arange(rank, total_size, world_size) % len(order)]

    def global_sequence(self) -> Iterator[int]:
        """The epoch's draws of all ranks together, not rounded up."""
        order = pass_order(self.subset_size, self.shuffle, self.seed, self.epoch)
        return iter(self.members[order].tolist())

    def __iter__(self) -> Iterator[int]:
        order = pass_order(self.subset_size, self.shuffle, self.seed, self.epoch)
        draws = self.share(order, self.total_size, self.rank, self.world_size)
        return iter(self.members[draws].tolist())
