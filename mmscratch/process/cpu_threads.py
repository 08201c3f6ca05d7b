"""Threads and loader workers: how many, by the cores at hand, and how threads wait."""

import os
from collections.abc import Collection, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config

# Turns of libgomp's waiting loop before a thread sleeps. Its own number, 300,000, keeps a core from
# other processes; none, which is OMP_WAIT_POLICY=PASSIVE, makes threads sleep between operators.
SPINS = 1000
CGROUPS = Path('/sys/fs/cgroup')


def bound_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set for how long threads wait awake; without effect once torch is loaded.

    What the user has set stays as it is.
    """
    if 'OMP_WAIT_POLICY' not in environment:
        environment.setdefault('GOMP_SPINCOUNT', str(SPINS))


def cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer by a container's quota."""
    return max(1, round(min(_allowed(), _quota())))


def _allowed() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float:
    """Cores by the quota of the control group (version 2 or 1); infinite without one."""
    try:
        if (file := CGROUPS / 'cpu.max').is_file():
            quota, period = file.read_text().split()
        else:
            quota, period = (
                (CGROUPS / 'cpu' / f'cpu.cfs_{name}_us').read_text() for name in ('quota', 'period')
            )
        cores = float(quota) / float(period)
    # no such files; "max"; an unknown format
    except (OSError, ValueError, ZeroDivisionError):
        return float('inf')
    return cores if cores > 0 else float('inf')


def fit(cfg: 'Config', fixed: Collection[str] = (), split: str = 'train') -> str:
    """Take no more threads, and no more loader workers, than this process has cores.

    Processes of one launcher on this machine share its cores. ``OMP_NUM_THREADS`` wins.

    Args:
        cfg: a config with data loaders, changed in place.
        fixed: keys whose values are the user's, such as ``train_dataloader.num_workers``.
        split: whose loader the line tells of.

    Returns:
        A line for the log.
    """
    import torch

    most = max(1, cores() // int(os.environ.get('LOCAL_WORLD_SIZE') or 1))
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(min(most, torch.get_num_threads()))
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if (loader := cfg.get(key)) and f'{key}.num_workers' not in fixed:
            loader.num_workers = min(loader.get('num_workers', 0), most)
    workers = cfg[f'{split}_dataloader'].get('num_workers', 0)
    return (
        f'{cores()} CPU cores; {torch.get_num_threads()} threads, '
        f'{workers} loader workers in this process'
    )
