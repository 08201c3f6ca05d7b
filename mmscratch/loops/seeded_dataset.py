"""Random augmentation that depends on what is loaded, not on who loads it."""

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


def derive_seed(*key: int) -> int:
    """A seed, 0 .. 2^32 - 1, from whole numbers >= 0; other numbers give unrelated streams."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


class SeededDataset(Dataset):
    """Map-style data set with keys (index, step); augmentation follows from (seed, index, step).

    Python's, NumPy's and torch's global generators are seeded before ``dataset[index]`` and put
    back after it, so that the result is the same in any worker process or none, and the caller's
    random stream goes on as if nothing had been loaded.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, step = key
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        seed = derive_seed(self.seed, index, step)
        random.seed(seed)
        np.random.seed(seed)
        # Not torch.manual_seed: in the main process that would seed the GPUs too.
        torch.default_generator.manual_seed(seed)
        try:
            return self.dataset[index]
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])
