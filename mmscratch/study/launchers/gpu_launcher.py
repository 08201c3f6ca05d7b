"""Processes of this machine, each on one of its GPUs."""

import os
from dataclasses import dataclass, field

from mmscratch.study.launchers.local_launcher import LocalLauncher
from mmscratch.study.launchers.task import Task

# With more, processes mostly wait for each other.
MOST_A_GPU = 4


@dataclass
class GpuLauncher(LocalLauncher):
    """A process sees one GPU, the one with the fewest processes.

    Args:
        jobs: processes at a time.
        gpus: their names, as in ``CUDA_VISIBLE_DEVICES``.
    """

    gpus: list[str] = field(default_factory=lambda: ['0'])
    _taken: dict[Task, str] = field(default_factory=dict, init=False)

    def _environment(self, task: Task) -> dict[str, str]:
        taken = [self._taken[running] for running in self._running]
        self._taken[task] = min(self.gpus, key=taken.count)
        return super()._environment(task) | {'CUDA_VISIBLE_DEVICES': self._taken[task]}


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
    return named[:count] if len(named) >= count > 0 and named[0] else [str(n) for n in range(count)]
