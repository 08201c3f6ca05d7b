"""Processes of a distributed run, on GPUs or, for tests and laptops, on CPUs."""

import os

import torch
from mmengine.config import Config

from mmscratch.errors import InputError


def world_size() -> int:
    """Number of processes that torchrun or Slurm has started; 1 without them."""
    return int(os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_NTASKS') or 1)


def is_main_process() -> bool:
    """Whether this is the process that talks to the user, before any process group exists."""
    return int(os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0) == 0


def prepare_for_cpu(cfg: Config) -> None:
    """Let torchrun's processes run where there is no GPU.

    mmengine selects a CUDA device for every process and hands its number to
    DistributedDataParallel; a process group that exists already, and no device numbers, keep it
    from both.

    Raises:
        InputError: the model has SyncBN, which PyTorch has on GPUs only.
    """
    if torch.cuda.is_available():
        return
    if "'SyncBN'" in str(cfg.model.to_dict()):
        raise InputError(
            f'{cfg.filename}: SyncBN needs GPUs, and there is none: take a config with gn, or a '
            'single process, where SyncBN becomes BN'
        )
    torch.distributed.init_process_group('gloo')
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
