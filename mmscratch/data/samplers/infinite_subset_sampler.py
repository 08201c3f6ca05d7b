"""Sample a subset without end, for iteration-based training."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import InfiniteSampler

from mmscratch.data.samplers.pass_order import pass_order
from mmscratch.data.samplers.repeat_factors import pass_length, repeat_factors, repeated
from mmscratch.data.samplers.subset import read_ids, select_subset
from mmscratch.errors import InputError


@DATA_SAMPLERS.register_module()
class InfiniteSubsetSampler(InfiniteSampler):
    """Yield dataset indices without end; each pass contains every image of the subset once.

    All ranks share one global sequence, a pure function of (seed, draw). There is no state, so a
    new iterator begins at the first draw. Rank r of W takes the draws r, r + W, ...;
    :class:`~mmscratch.loops.ResumableIterBasedTrainLoop` deals whole batches of the sequence
    instead. ``len()`` is the number of draws of a pass: the images of the subset, or more with
    ``repeat_threshold``.

    Args:
        subset: Number of images drawn without replacement, or a file of image ids (see
            :func:`~mmscratch.data.samplers.subset.read_ids`); None for all images. The draw is from
            the images that ``filter_cfg`` of the data set keeps.
        subset_seed: Chooses the images, while ``seed`` chooses their order. For one
            ``subset_seed`` a smaller subset is part of every larger one.
        labelled: File of the ids of the labelled images, where the others have pseudo labels;
            ``--data`` sets it for a folder of ``tools/data/pseudo_labels.py``.
        labelled_share: Share of labelled images among the draws, above 0 and below 1; None: all
            images alike. Each step has this share to within one image, unless batches are grouped
            by orientation. Zoph et al. (2020) minimize (L + alpha * L_pseudo) / (1 + alpha).
            With a share s that is the mean loss of a draw for alpha = (1 - s) / s.
        repeat_threshold: Share of images below which a class is rare; images of such classes occur
            several times in a pass (:mod:`~mmscratch.data.samplers.repeat_factors`). LVIS has
            0.001, None repeats nothing. Shares are those of the subset.

    Raises:
        InputError: ``subset`` or ``repeat_threshold`` cannot be fulfilled by this data set; a
            ``labelled_share`` out of range, or without images of one kind.

    Example:
        >>> train_dataloader = dict(
        ...     sampler=dict(type='InfiniteSubsetSampler', subset=10_000, subset_seed=0))
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool = True,
        seed: int | None = None,
        subset: int | str | None = None,
        subset_seed: int = 0,
        labelled: str | None = None,
        labelled_share: float | None = 0.5,
        repeat_threshold: float | None = None,
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        self.subset = select_subset(dataset, subset, subset_seed)
        self.size = self.subset_size = len(self.subset.indices)
        # PreflightHook reads the attribute
        self.repeat_threshold, self.factors = repeat_threshold, None
        if repeat_threshold is not None:
            self.factors = repeat_factors(dataset, self.subset.indices, repeat_threshold)
            self.size = pass_length(self.factors)
        self.labelled = labelled
        self.labelled_share = labelled_share if labelled else None
        if labelled and labelled_share is not None:
            if not 0 < labelled_share < 1:
                raise InputError(f'labelled_share={labelled_share}: give a number between 0 and 1')
            known = {str(i) for i in read_ids(labelled)}
            is_labelled = np.array(
                [
                    str(dataset.get_data_info(i)['img_id']) in known
                    for i in self.subset.indices.tolist()
                ]
            )
            self._parts = np.flatnonzero(is_labelled), np.flatnonzero(~is_labelled)
            if not all(map(len, self._parts)):
                raise InputError(
                    f'{labelled}: {len(self._parts[0])} of the {self.subset_size} images to train '
                    'on are labelled: give labelled_share=None'
                )

    def global_sequence(self) -> Iterator[int]:
        """Yield the draws of all ranks together."""
        share = self.labelled_share
        if share is None:
            yield from self._passes(np.arange(self.subset_size))
            return
        labelled, others = map(self._passes, self._parts)
        for draw in itertools.count():
            is_labelled = math.floor((draw + 1) * share) > math.floor(draw * share)
            yield next(labelled if is_labelled else others)

    def _passes(self, part: np.ndarray) -> Iterator[int]:
        """Yield the images of passes over a part of the subset, given by positions in it."""
        indices = self.subset.indices[part]
        for number in itertools.count():
            if self.factors is not None:
                indices = self.subset.indices[part[repeated(self.factors[part], self.seed, number)]]
            yield from indices[pass_order(len(indices), self.shuffle, self.seed, number)].tolist()

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self.global_sequence(), self.rank, None, self.world_size)
