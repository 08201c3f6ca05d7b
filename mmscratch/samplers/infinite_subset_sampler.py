"""Sample a subset without end, for iteration-based training."""

from collections.abc import Iterator, Sized

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import InfiniteSampler

from mmscratch.samplers.pass_order import pass_order
from mmscratch.samplers.subset import select_subset


@DATA_SAMPLERS.register_module()
class InfiniteSubsetSampler(InfiniteSampler):
    """Yield dataset indices without end; each pass contains every image of the subset once.

    All ranks share one global sequence, of which rank r of W takes the draws r, r + W, .... So the
    W x batch x accumulation images of a step are the same for every split of that product. The
    sequence is a pure function of (seed, rank, world size, draw). There is no state, so a new
    iterator begins at the first draw. ``len()`` is the number of images of the subset.

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

    @staticmethod
    def sequence(
        indices: np.ndarray, shuffle: bool, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[int]:
        """Yield the draws ``start``, ``start + step``, ... of the endless sequence."""
        draw = start
        while True:
            number, offset = divmod(draw, len(indices))
            chunk = indices[pass_order(len(indices), shuffle, seed, number)[offset::step]]
            yield from chunk.tolist()
            draw += step * len(chunk)

    def global_sequence(self) -> Iterator[int]:
        """Yield the draws of all ranks together."""
        return self.sequence(self.subset.indices, self.shuffle, self.seed)

    def __iter__(self) -> Iterator[int]:
        indices, rank, world_size = self.subset.indices, self.rank, self.world_size
        return self.sequence(indices, self.shuffle, self.seed, rank, world_size)
