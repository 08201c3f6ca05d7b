"""Sample a subset without end, for iteration-based training."""

import itertools
from collections.abc import Iterator, Sized

from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import InfiniteSampler

from mmscratch.samplers.pass_order import pass_order
from mmscratch.samplers.subset import select_subset


@DATA_SAMPLERS.register_module()
class InfiniteSubsetSampler(InfiniteSampler):
    """Yield dataset indices without end; each pass contains every image of the subset once.

    All ranks share one global sequence, a pure function of (seed, draw). There is no state, so a
    new iterator begins at the first draw. Rank r of W takes the draws r, r + W, ...;
    :class:`~mmscratch.loops.ResumableIterBasedTrainLoop` deals whole batches of the sequence
    instead. ``len()`` is the number of images of the subset.

    Args:
        subset: Number of images drawn without replacement, or a file of image ids (see
            :func:`~mmscratch.samplers.subset.read_ids`); None for all images. The draw is from the
            images that ``filter_cfg`` of the data set keeps.
        subset_seed: Chooses the images, while ``seed`` chooses their order. For one
            ``subset_seed`` a smaller subset is part of every larger one.

    Example:
        >>> train_dataloader = dict(
        ...     sampler=dict(type='InfiniteSubsetSampler', subset=10_000, subset_seed=0))
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
        self.subset = select_subset(dataset, subset, subset_seed)
        self.size = self.subset_size = len(self.subset.indices)

    def global_sequence(self) -> Iterator[int]:
        """Yield the draws of all ranks together."""
        for number in itertools.count():
            order = pass_order(self.size, self.shuffle, self.seed, number)
            yield from self.subset.indices[order].tolist()

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self.global_sequence(), self.rank, None, self.world_size)
