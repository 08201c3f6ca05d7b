"""Endless sampler over a subset, for iteration-based training."""

from collections.abc import Iterator, Sized

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import InfiniteSampler

from mmscratch.samplers.pass_order import pass_order
from mmscratch.samplers.subset import select_subset


@DATA_SAMPLERS.register_module()
class InfiniteSubsetSampler(InfiniteSampler):
    """Yield dataset indices without end; every pass holds each chosen image exactly once.

    All ranks share one global sequence, of which rank r of W takes the draws r, r + W, ...: with
    plain batches the W x batch x accumulation images of a step are the same however that product
    is split. The sequence is a pure function of (seed, rank, world size, draw): there is no state,
    and iterating again starts again. ``len()`` is the number of chosen images, over all ranks.

    Args:
        subset: Number of images drawn without replacement, or a file of image ids (see
            :func:`~mmscratch.samplers.subset.read_ids`); None for all images. It is taken from
            what the data set holds after its ``filter_cfg``.
        subset_seed: Says which images; ``seed`` says in which order. For one ``subset_seed`` a
            smaller subset lies within a larger one.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        subset: int | str | None = None,
        subset_seed: int = 0,
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        chosen = select_subset(dataset, subset, subset_seed)
        self.members = chosen.indices
        self.subset_ids = chosen.ids
        self.subset_sha256 = chosen.sha256
        self.subset_seed = chosen.seed
        self.size = self.subset_size = len(self.members)

    @staticmethod
    def sequence(
        members: np.ndarray, shuffle: bool, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[int]:
        """The draws ``start``, ``start + step``, ... of the endless sequence over ``members``."""
        draw = start
        while True:
            number, offset = divmod(draw, len(members))
            chunk = members[pass_order(len(members), shuffle, seed, number)[offset::step]]
            yield from chunk.tolist()
            draw += step * len(chunk)

    def global_sequence(self) -> Iterator[int]:
        """The draws of all ranks together."""
        return self.sequence(self.members, self.shuffle, self.seed)

    def __iter__(self) -> Iterator[int]:
        return self.sequence(self.members, self.shuffle, self.seed, self.rank, self.world_size)
