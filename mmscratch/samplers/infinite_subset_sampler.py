"""Endless sampler over a subset, for iteration-based training."""

import itertools
from collections.abc import Iterator, Sized

from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import InfiniteSampler

from mmscratch.samplers.pass_order import pass_order
from mmscratch.samplers.subset import select_subset


@DATA_SAMPLERS.register_module()
class InfiniteSubsetSampler(InfiniteSampler):
    """Yield dataset indices without end; every pass holds each chosen image exactly once.

    All ranks share one global sequence, a pure function of (seed, draw): there is no state, and
    iterating again starts again. Rank r of W takes the draws r, r + W, ...;
    :class:`~mmscratch.loops.ResumableIterBasedTrainLoop` deals whole batches of the sequence in
    place of that. ``len()`` is the number of chosen images, over all ranks.

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

    def global_sequence(self) -> Iterator[int]:
        """The draws of all ranks together."""
        for number in itertools.count():
            order = pass_order(self.size, self.shuffle, self.seed, number)
            yield from self.members[order].tolist()

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self.global_sequence(), self.rank, None, self.world_size)
