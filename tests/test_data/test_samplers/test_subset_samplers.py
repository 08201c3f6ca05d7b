"""The infinite and the finite sampler, by hand-worked tables and by their properties."""

import json
import math
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mmscratch.data.samplers import FiniteSubsetSampler, InfiniteSubsetSampler
from mmscratch.data.samplers.pass_order import pass_order
from mmscratch.data.samplers.repeat_factors import repeat_factors
from mmscratch.errors import InputError


class Images:
    """n images with the ids 100, 101, ...; every third is upright."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def get_data_info(self, index):
        width, height = (30, 40) if index % 3 == 0 else (40, 30)
        return dict(img_id=100 + index, width=width, height=height)


def on_rank(sampler, rank, world_size):
    sampler.rank, sampler.world_size = rank, world_size
    return sampler


def finite(n, rank=0, world_size=1, **kwargs):
    """A finite sampler as it would be built on a rank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
        return FiniteSubsetSampler(Images(n), **kwargs)


def take(sampler, count):
    return list(islice(sampler, count))


# Golden: a change here changes the order of every run that is resumed.
def test_order_of_a_pass_for_ever():
    assert pass_order(7, True, 0, 0).tolist() == [3, 6, 4, 0, 2, 5, 1]
    assert pass_order(7, True, 0, 1).tolist() == [0, 5, 6, 1, 3, 2, 4]
    assert pass_order(7, True, 1, 0).tolist() == [6, 3, 1, 4, 0, 2, 5]
    assert pass_order(7, False, 1, 0).tolist() == [0, 1, 2, 3, 4, 5, 6]


# members 2, 4, 5 without shuffling: 2 4 5 2 4 5 2 4 5 ...
@pytest.mark.parametrize(
    ('world_size', 'expected'),
    [
        (1, [[2, 4, 5, 2, 4, 5, 2]]),
        (2, [[2, 5, 4, 2, 5], [4, 2, 5, 4, 2]]),
        (3, [[2, 2, 2], [4, 4, 4], [5, 5, 5]]),
        # more ranks than images: rank 3 takes the draws 3, 8, 13
        (5, [[2, 5, 4], [4, 2, 5], [5, 4, 2], [2, 5, 4], [4, 2, 5]]),
    ],
)
def test_ranks_take_turns(tmp_path, world_size, expected):
    members = str(tmp_path / 'members.txt')
    Path(members).write_text('102\n104\n105\n')
    for rank, draws in enumerate(expected):
        sampler = InfiniteSubsetSampler(Images(6), shuffle=False, seed=0, subset=members)
        assert take(on_rank(sampler, rank, world_size), len(draws)) == draws


# The passes of 7 images with seed 0 (golden above) are 3 6 4 0 2 5 1 and 0 5 6 1 3 2 4.
def test_shuffled_ranks_take_turns():
    of_two = [on_rank(InfiniteSubsetSampler(Images(7), seed=0), rank, 2) for rank in (0, 1)]
    assert take(of_two[0], 7) == [3, 4, 2, 1, 5, 1, 2]
    assert take(of_two[1], 7) == [6, 0, 5, 0, 6, 3, 4]


# Ids 100 .. 106 with subset seed 0: see the test of the golden choice for how they are ranked.
def test_a_subset_is_drawn_by_its_own_seed():
    first, other = (
        InfiniteSubsetSampler(Images(7), seed=seed, subset=3, subset_seed=0) for seed in (0, 1)
    )
    assert first.subset.indices.tolist() == other.subset.indices.tolist()
    assert first.subset.ids == [100 + index for index in first.subset.indices]
    assert take(first, 30) != take(other, 30)
    third = InfiniteSubsetSampler(Images(7), seed=0, subset=3, subset_seed=1)
    assert first.subset.sha256 != third.subset.sha256
    assert (first.subset_size, len(first), first.subset.seed) == (3, 3, 0)


def test_all_images_by_number_is_the_order_of_all_images():
    by_number = InfiniteSubsetSampler(Images(7), seed=0, subset=7)
    assert take(by_number, 50) == take(InfiniteSubsetSampler(Images(7), seed=0), 50)


@pytest.mark.parametrize('world_size', [1, 2, 3, 8])
def test_every_pass_holds_each_chosen_image_once(world_size):
    sampler = InfiniteSubsetSampler(Images(20), seed=4, subset=6)
    shares = [take(on_rank(sampler, rank, world_size), 120) for rank in range(world_size)]
    together = [index for row in zip(*shares) for index in row]
    for start in range(0, 60, 6):
        assert sorted(together[start : start + 6]) == sampler.subset.indices.tolist()


def test_no_state():
    sampler = on_rank(InfiniteSubsetSampler(Images(20), seed=4, subset=7), 1, 3)
    first = take(sampler, 100)
    assert take(sampler, 100) == first
    assert take(sampler.global_sequence(), 300)[1::3] == first


def test_a_subset_of_one_image():
    sampler = InfiniteSubsetSampler(Images(9), seed=0, subset=1)
    assert take(on_rank(sampler, 3, 4), 5) == sampler.subset.indices.tolist() * 5


@pytest.mark.parametrize('sampler', [InfiniteSubsetSampler, FiniteSubsetSampler])
@pytest.mark.parametrize('subset', [0, 8])
def test_too_few_or_too_many(sampler, subset):
    with pytest.raises(InputError, match=f'subset={subset}'):
        sampler(Images(7), seed=0, subset=subset)


# 5 images in order, dealt to ranks; with round_up the beginning is repeated.
@pytest.mark.parametrize(
    ('world_size', 'round_up', 'expected'),
    [
        (1, True, [[0, 1, 2, 3, 4]]),
        (2, True, [[0, 2, 4], [1, 3, 0]]),
        (2, False, [[0, 2, 4], [1, 3]]),
        (3, True, [[0, 3], [1, 4], [2, 0]]),
        (7, False, [[0], [1], [2], [3], [4], [], []]),
        (7, True, [[0], [1], [2], [3], [4], [0], [1]]),
        (12, True, [[i % 5] for i in range(12)]),
    ],
)
def test_shares_of_an_epoch(world_size, round_up, expected):
    for rank, share in enumerate(expected):
        sampler = finite(5, rank, world_size, shuffle=False, round_up=round_up)
        assert list(sampler) == share
        assert len(sampler) == len(share)


def test_epochs_are_the_passes_of_the_infinite_sampler():
    infinite = take(InfiniteSubsetSampler(Images(9), seed=2, subset=4), 12)
    sampler = finite(9, seed=2, subset=4)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert list(sampler) == infinite[4 * epoch : 4 * epoch + 4]


def test_finite_and_infinite_choose_alike():
    infinite, epoch = InfiniteSubsetSampler(Images(9), seed=2, subset=4), finite(9, subset=4)
    assert epoch.subset.ids == infinite.subset.ids
    assert epoch.subset.sha256 == infinite.subset.sha256


def labelled_ids(tmp_path, *indices):
    file = tmp_path / 'labelled.json'
    file.write_text(json.dumps(dict(ids=[100 + index for index in indices], teacher={})))
    return str(file)


# labelled 0 and 5, without shuffling; the others are 1 2 3 4
@pytest.mark.parametrize(
    ('share', 'expected'),
    [
        (0.5, [1, 0, 2, 5, 3, 0, 4, 5, 1, 0]),
        (0.25, [1, 2, 3, 0, 4, 1, 2, 5, 3, 4]),
        (0.75, [1, 0, 5, 0, 2, 5, 0, 5, 3, 0]),
        (None, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]),
    ],
)
def test_labelled_images_have_a_fixed_share_of_each_step(tmp_path, share, expected):
    sampler = InfiniteSubsetSampler(
        Images(6), shuffle=False, labelled=labelled_ids(tmp_path, 0, 5), labelled_share=share
    )
    assert take(sampler, 10) == expected
    assert take(on_rank(sampler, 1, 2), 5) == expected[1::2]


def test_both_parts_are_shuffled_anew_in_each_pass(tmp_path):
    sampler = InfiniteSubsetSampler(
        Images(10), seed=3, labelled=labelled_ids(tmp_path, 0, 4, 7, 8), labelled_share=0.5
    )
    drawn = take(sampler, 48)
    labelled, others = drawn[1::2], drawn[::2]
    passes = [labelled[i : i + 4] for i in range(0, 24, 4)]
    assert all(sorted(one) == [0, 4, 7, 8] for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    passes = [others[i : i + 6] for i in range(0, 24, 6)]
    assert all(sorted(one) == [1, 2, 3, 5, 6, 9] for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_a_share_is_of_the_subset(tmp_path):
    file = labelled_ids(tmp_path, 0, 1, 2)
    (tmp_path / 'ids.txt').write_text('101\n104\n')
    sampler = InfiniteSubsetSampler(Images(6), subset=str(tmp_path / 'ids.txt'), labelled=file)
    assert take(sampler, 4) == [4, 1, 4, 1]


@pytest.mark.parametrize(
    ('indices', 'share', 'message'),
    [
        ([0], 1.0, 'labelled_share=1.0: give a number between 0 and 1'),
        ([0], 0, 'labelled_share=0: give'),
        (range(6), 0.5, '6 of the 6 images to train on are labelled: give labelled_share=None'),
        ([50], 0.5, '0 of the 6 images'),
    ],
)
def test_a_share_that_cannot_be(tmp_path, indices, share, message):
    with pytest.raises(InputError, match=message):
        InfiniteSubsetSampler(
            Images(6), labelled=labelled_ids(tmp_path, *indices), labelled_share=share
        )


class Labelled(Images):
    """Class 0 is on all images, 1 on every fourth, 2 on the last, whose only other object is 1's.

    A crowd of class 3 does not count.
    """

    def get_data_info(self, index):
        labels = [0] + [1] * (index % 4 == 0) + [1, 2] * (index == self.n - 1)
        instances = [dict(bbox_label=label, ignore_flag=0) for label in labels]
        instances.append(dict(bbox_label=3, ignore_flag=1))
        return super().get_data_info(index) | dict(instances=instances)


# Of 16 images class 1 is on 0, 4, 8, 12, 15 and class 2 on 15: sqrt(0.5 * 16 / 5), sqrt(0.5 * 16)
def test_repeat_factors_of_lvis():
    factors = repeat_factors(Labelled(16), np.arange(16), 0.5)
    expected = [1.6**0.5 if i % 4 == 0 else 1 for i in range(15)] + [8**0.5]
    np.testing.assert_allclose(factors, expected)
    # shares are those of the images that are drawn from: class 1 is on 0 and 15 of four images
    np.testing.assert_allclose(
        repeat_factors(Labelled(16), np.array([0, 1, 2, 15]), 0.6), [1.2**0.5, 1, 1, 2.4**0.5]
    )
    assert repeat_factors(Labelled(16), np.arange(16), 0.01).tolist() == [1] * 16


def test_each_pass_repeats_by_the_factors():
    sampler = InfiniteSubsetSampler(Labelled(16), seed=5, repeat_threshold=0.5)
    factors = sampler.factors
    length = math.ceil(factors.sum())
    assert len(sampler) == length == 19
    drawn = np.array(take(sampler, 400 * length)).reshape(400, length)
    counts = np.array([np.bincount(one, minlength=16) for one in drawn])
    assert (counts >= np.floor(factors)).all()
    assert (counts <= np.ceil(factors)).all()
    # the fraction that a pass is rounded up by goes to the rare ones
    np.testing.assert_allclose(counts.mean(0), factors, atol=0.11)
    assert len({tuple(one) for one in counts}) > 3


# Golden: a change here changes the order of every run that is resumed.
def test_order_of_repeated_images_for_ever():
    sampler = InfiniteSubsetSampler(Labelled(8), seed=0, repeat_threshold=0.5)
    first, second = [2, 6, 5, 3, 0, 0, 1, 7, 4, 7], [7, 4, 0, 7, 1, 4, 3, 2, 5, 6]
    assert take(sampler, 22) == [*first, *second, 4, 2]
    plain = InfiniteSubsetSampler(Labelled(8), shuffle=False, seed=0, repeat_threshold=0.5)
    assert take(plain, 20) == [*sorted(first), *sorted(second)]


def test_without_a_rare_class_the_order_is_the_plain_one():
    repeating = InfiniteSubsetSampler(Labelled(9), seed=2, subset=4, repeat_threshold=1e-3)
    assert take(repeating, 40) == take(InfiniteSubsetSampler(Labelled(9), seed=2, subset=4), 40)


def test_epochs_repeat_as_passes_do():
    infinite = InfiniteSubsetSampler(Labelled(16), seed=2, subset=12, repeat_threshold=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (1, 2))
        odd = FiniteSubsetSampler(Labelled(16), seed=2, subset=12, repeat_threshold=0.5)
    together = take(infinite, 3 * len(infinite))
    for epoch in range(3):
        odd.set_epoch(epoch)
        one = together[len(infinite) * epoch : len(infinite) * (epoch + 1)]
        assert list(odd) == (one + one[:1])[1::2]
        assert len(odd) == len(list(odd))


def test_repeats_keep_the_share_of_labelled_images(tmp_path):
    sampler = InfiniteSubsetSampler(
        Labelled(16), seed=1, labelled=labelled_ids(tmp_path, 0, 1, 2, 15), repeat_threshold=0.5
    )
    drawn = take(sampler, 600)
    assert all(i in (0, 1, 2, 15) for i in drawn[1::2])
    counts = Counter(drawn)
    assert counts[15] > 2 * counts[1]


@pytest.mark.parametrize('threshold', [0, -1, 1.5, True])
def test_a_threshold_that_is_none(threshold):
    with pytest.raises(InputError, match='repeat_threshold='):
        InfiniteSubsetSampler(Labelled(6), repeat_threshold=threshold)


def test_images_without_objects_have_no_rare_class():
    with pytest.raises(InputError, match='no image has an object'):
        InfiniteSubsetSampler(Images(6), repeat_threshold=0.5)
