import random

import numpy as np
import torch

from mmscratch.data.seeded_dataset import SeededDataset, derive_seed


class Noise:
    """Images whose augmentation draws from all three generators."""

    def __getitem__(self, index):
        if index == 13:
            raise OSError('truncated image')
        return index, random.random(), np.random.rand(), float(torch.rand(()))


def state():
    numpy = np.random.get_state()
    return random.getstate(), numpy[1].tolist(), numpy[2], torch.get_rng_state().tolist()


def test_augmentation_follows_from_the_key():
    data = SeededDataset(Noise(), seed=5)
    first = data[3, 0]
    data[4, 0]
    np.random.rand(7)
    assert data[3, 0] == first
    assert first[0] == 3
    others = [data[3, 1], data[4, 0], SeededDataset(Noise(), seed=6)[3, 0]]
    for other in others:
        assert all(a != b for a, b in zip(first[1:], other[1:]))


def test_the_callers_random_numbers_go_on():
    before = state()
    data = SeededDataset(Noise(), seed=5)
    data[3, 0]
    assert state() == before
    try:
        data[13, 0]
    except OSError:
        assert state() == before
    else:
        raise AssertionError('the error of the data set is lost')


# Golden: a change here changes the augmentations of every run that is resumed.
def test_seeds_for_ever():
    assert derive_seed(0, 0) == np.random.SeedSequence((0, 0)).generate_state(1)[0]
    assert len({derive_seed(a, b) for a in range(50) for b in range(50)}) == 2500
