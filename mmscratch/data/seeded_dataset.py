"""Random augmentation that depends on the image and the step, not on the worker."""

import contextlib
import random
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


def derive_seed(*key: int) -> int:
    """Derive a seed, 0 .. 2^32 - 1, from whole numbers >= 0. Other numbers give unrelated seeds."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's global generators as they were, a GPU's included."""
    states = random.getstate(), np.random.get_state()
    # not in a worker, where the GPU must not be used
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


# The optimizer step that an image is loaded for. Set only while it is.
current_step: ContextVar[int] = ContextVar('current_step')


class SeededDataset(Dataset):
    """Map-style data set with keys (index, step); augmentation follows from (seed, index, step).

    Python's, NumPy's and torch's global generators are seeded before ``dataset[index]`` and
    restored after it. So the result is the same in any worker process, and the caller's random
    numbers do not change. Transforms read the step in ``current_step``.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, step = key
        seed = derive_seed(self.seed, index, step)
        token = current_step.set(step)
        try:
            with random_state_kept():
                random.seed(seed)
                np.random.seed(seed)
                # not torch.manual_seed, which would seed the GPUs too in the main process
                torch.default_generator.manual_seed(seed)
                return self.dataset[index]
        finally:
            current_step.reset(token)
