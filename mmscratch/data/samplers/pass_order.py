"""The order of one pass over the images."""

import numpy as np


def pass_order(size: int, shuffle: bool, seed: int, number: int) -> np.ndarray:
    """Return the order of pass (epoch) ``number`` over ``size`` images: a permutation of indices.

    Each pass has a generator of its own, so pass 70 needs no state of the passes before it. The
    generator is ``RandomState``, because NumPy has frozen its stream (NEP 19). torch promises no
    such thing for ``torch.randperm``.
    """
    if not shuffle:
        return np.arange(size)
    return np.random.RandomState([seed, number]).permutation(size)
