"""RandomSampler's choice, drawn where the indices are."""

import numpy as np
import torch
from mmdet.models.task_modules import RandomSampler
from torch import Tensor

_mmdet_choice = RandomSampler.random_choice


def random_choice(
    self: RandomSampler, gallery: Tensor | np.ndarray | list, num: int
) -> Tensor | np.ndarray:
    """``num`` of the ``gallery``, drawn without replacement; on a CPU those MMDetection draws.

    MMDetection shuffles on the CPU, because of a fault of PyTorch 1.8 that is long repaired.
    """
    if isinstance(gallery, Tensor) and gallery.is_cuda:
        return gallery[torch.randperm(len(gallery), device=gallery.device)[:num]]
    return _mmdet_choice(self, gallery, num)
