"""The order of one pass over the images."""

import numpy as np


def pass_order(size: int, shuffle: bool, seed: int, number: int) -> np.ndarray:
    """Order of pass (epoch) ``number`` over ``size`` images: a permutation of 0 .. size - 1.

    Each pass has a generator of its own, so that pass 70 needs no state from the passes before.
    ``RandomState`` because NumPy has frozen its stream (NEP 19); that of ``torch.randperm`` is not
    promised to outlive a release.
    """
    if not shuffle:
        return np.arange(size)
    return np.random.RandomState([seed, number]).permutation(size)
