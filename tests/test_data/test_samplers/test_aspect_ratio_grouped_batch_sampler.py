from itertools import islice

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler

from mmscratch.data.samplers import (
    AspectRatioGroupedBatchSampler,
    FiniteSubsetSampler,
    InfiniteSubsetSampler,
)
from mmscratch.errors import InputError

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


def batch_sampler(rank=0, world_size=1, batch_size=2, **kwargs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
        sampler = InfiniteSubsetSampler(MIXED, seed=1, **kwargs)
        return AspectRatioGroupedBatchSampler(sampler, batch_size)


# 0, 3 and 7 are portrait, 1, 2, 4, 5 and 6 are not
@pytest.mark.parametrize(
    ('sequence', 'expected'),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], [[1, 2], [0, 3], [4, 5]]),
        ([0, 1, 2, 3, 4, 5, 6, 7, 0], [[1, 2], [0, 3], [4, 5], [7, 0]]),
        ([0], []),
        ([], []),
    ],
)
def test_groups_by_hand(sequence, expected):
    is_landscape = np.array([False, True, True, False, True, True, True, False])
    assert list(AspectRatioGroupedBatchSampler.batches(sequence, is_landscape, 2)) == expected


def test_a_square_image_goes_with_the_lying_ones():
    sampler = AspectRatioGroupedBatchSampler(InfiniteSubsetSampler(Images(list(SHAPES)), seed=0), 2)
    assert sampler.is_landscape.tolist() == [False, True, True]


@pytest.mark.parametrize(('world_size', 'expected'), [(1, 21), (2, 11), (30, 1)])
def test_length_is_that_of_a_pass(world_size, expected):
    assert len(batch_sampler(world_size=world_size)) == expected


@pytest.mark.parametrize('subset', [None, 23])
def test_endless_batches_hold_one_shape_only(subset):
    sampler = batch_sampler(batch_size=4, subset=subset)
    for batch in islice(sampler, 100):
        assert len(batch) == 4
        assert len({bool(sampler.is_landscape[index]) for index in batch}) == 1


def test_nothing_is_lost_or_repeated_over_passes():
    drawn = [i for batch in islice(batch_sampler(), 205) for i in batch]
    # 410 images = 10 passes over 41; at most one image a group waits for its batch to fill.
    times = np.bincount(drawn, minlength=41)
    assert set(times) <= {9, 10, 11}
    assert abs(times - 10).sum() <= 2


@pytest.mark.parametrize(('world_size', 'accumulation'), [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_a_step_sees_the_same_batches_however_it_is_split(world_size, accumulation):
    single = list(islice(batch_sampler(), 160))
    ranks = [
        list(islice(batch_sampler(rank, world_size), 160 // world_size))
        for rank in range(world_size)
    ]
    for step in range(20):
        part = slice(step * accumulation, (step + 1) * accumulation)
        seen = [batch for batches in ranks for batch in batches[part]]
        assert sorted(seen) == sorted(single[8 * step : 8 * step + 8])


@pytest.mark.parametrize(
    'sampler', [None, DefaultSampler(MIXED), FiniteSubsetSampler(MIXED, seed=0)]
)
def test_another_sampler_is_refused(sampler):
    with pytest.raises(InputError, match=f'takes no {type(sampler).__name__}; give'):
        AspectRatioGroupedBatchSampler(sampler, 2)
