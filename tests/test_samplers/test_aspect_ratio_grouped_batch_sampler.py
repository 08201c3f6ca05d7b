from itertools import islice

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler

from mmscratch.errors import InputError
from mmscratch.samplers import (
    AspectRatioGroupedBatchSampler,
    FiniteSubsetSampler,
    InfiniteSubsetSampler,
)

SHAPES = dict(portrait=(30, 40), square=(30, 30), landscape=(40, 30))


class Images:
    def __init__(self, shapes):
        self.shapes = shapes

    def __len__(self):
        return len(self.shapes)

    def get_data_info(self, index):
        width, height = SHAPES[self.shapes[index]]
        return dict(img_id=index, width=width, height=height)


MIXED = Images([list(SHAPES)[i] for i in np.random.RandomState(0).randint(0, 3, 41)])


def batch_sampler(kind, rank=0, world_size=1, batch_size=2, drop_last=False, **kwargs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
        return AspectRatioGroupedBatchSampler(kind(MIXED, seed=1, **kwargs), batch_size, drop_last)


# 0 and 3 are portrait, 1, 2, 4, 5, 6 are not; the left-over 3rd portrait 7 goes with 6.
@pytest.mark.parametrize(
    ('sequence', 'drop_last', 'expected'),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], False, [[1, 2], [0, 3], [4, 5], [7, 6]]),
        ([0, 1, 2, 3, 4, 5, 6], False, [[1, 2], [0, 3], [4, 5], [6]]),
        ([0, 1, 2, 3, 4, 5, 6], True, [[1, 2], [0, 3], [4, 5]]),
        ([0], False, [[0]]),
        ([0], True, []),
        ([], False, []),
    ],
)
def test_groups_by_hand(sequence, drop_last, expected):
    is_landscape = np.array([False, True, True, False, True, True, True, False])
    batches = AspectRatioGroupedBatchSampler.batches(sequence, is_landscape, 2, drop_last)
    assert list(batches) == expected


@pytest.mark.parametrize(
    ('count', 'world_size', 'round_up', 'expected'),
    [
        (4, 2, True, [[0, 2], [1, 3]]),
        (5, 3, True, [[0, 3], [1, 4], [2, 0]]),
        (5, 3, False, [[0, 3], [1, 4], [2]]),
        (2, 5, True, [[0], [1], [0], [1], [0]]),
        (2, 5, False, [[0], [1], [], [], []]),
        (0, 2, True, [[], []]),
    ],
)
def test_dealing_by_hand(count, world_size, round_up, expected):
    batches = [[number] for number in range(count)]
    for rank, share in enumerate(expected):
        dealt = AspectRatioGroupedBatchSampler.deal(batches, rank, world_size, round_up)
        assert list(dealt) == [[number] for number in share]


def test_a_square_image_goes_with_the_lying_ones():
    sampler = AspectRatioGroupedBatchSampler(FiniteSubsetSampler(Images(list(SHAPES)), seed=0), 2)
    assert sampler.is_landscape.tolist() == [False, True, True]


@pytest.mark.parametrize('subset', [None, 23])
def test_endless_batches_hold_one_shape_only(subset):
    sampler = batch_sampler(InfiniteSubsetSampler, batch_size=4, subset=subset)
    for batch in islice(sampler, 100):
        assert len(batch) == 4
        assert len({bool(sampler.is_landscape[index]) for index in batch}) == 1


def test_nothing_is_lost_or_repeated_over_passes():
    drawn = [i for batch in islice(batch_sampler(InfiniteSubsetSampler), 205) for i in batch]
    # 410 images = 10 passes over 41; at most one image a group waits for its batch to fill.
    times = np.bincount(drawn, minlength=41)
    assert set(times) <= {9, 10, 11}
    assert abs(times - 10).sum() <= 2


@pytest.mark.parametrize(('world_size', 'accumulation'), [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_a_step_sees_the_same_batches_however_it_is_split(world_size, accumulation):
    single = list(islice(batch_sampler(InfiniteSubsetSampler), 160))
    ranks = [
        list(islice(batch_sampler(InfiniteSubsetSampler, rank, world_size), 160 // world_size))
        for rank in range(world_size)
    ]
    for step in range(20):
        part = slice(step * accumulation, (step + 1) * accumulation)
        seen = [batch for batches in ranks for batch in batches[part]]
        assert sorted(seen) == sorted(single[8 * step : 8 * step + 8])


@pytest.mark.parametrize('world_size', [1, 2, 3, 30])
@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('round_up', [False, True])
def test_an_epoch_holds_every_image_once(world_size, drop_last, round_up):
    ranks = []
    for rank in range(world_size):
        sampler = batch_sampler(
            FiniteSubsetSampler, rank, world_size, drop_last=drop_last, round_up=round_up
        )
        ranks.append(list(sampler))
        assert list(sampler) == ranks[-1]
        assert len(sampler) == len(ranks[-1])
    times = np.bincount([i for batches in ranks for batch in batches for i in batch], minlength=41)
    if round_up:
        assert len({len(batches) for batches in ranks}) == 1
    else:
        assert times.max() == 1
    # 41 images in pairs: one is left over.
    assert (times == 0).sum() == (1 if drop_last else 0)


def test_epochs_differ():
    sampler = batch_sampler(FiniteSubsetSampler)
    first = list(sampler)
    sampler.sampler.set_epoch(1)
    assert list(sampler) != first


@pytest.mark.parametrize('sampler', [None, DefaultSampler(MIXED)])
def test_another_sampler_is_refused(sampler):
    with pytest.raises(InputError, match=f'takes no {type(sampler).__name__}; give'):
        AspectRatioGroupedBatchSampler(sampler, 2)
