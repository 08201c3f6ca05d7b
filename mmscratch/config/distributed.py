"""Processes of a distributed run, on GPUs or, for tests and laptops, on CPUs."""

import logging
import multiprocessing
import os
import sys

import torch
from mmengine.config import Config

from mmscratch.errors import InputError


def world_size(launcher: str) -> int:
    """How many processes ``launcher`` has started; 1 with ``'none'``, in a Slurm job too."""
    return _started(launcher)[0]


def is_main_process(launcher: str) -> bool:
    """Whether this process is the first one; works before a process group exists."""
    return _started(launcher)[1] == 0


def _started(launcher: str) -> tuple[int, int]:
    """Return the number of processes, and the index of this one.

    Raises:
        InputError: there are several processes and ``launcher`` is ``'none'``, or a variable of
            the environment is no number.
    """
    if launcher == 'pytorch':
        return _number('WORLD_SIZE', 1), _number('RANK', 0)
    if launcher == 'slurm':
        return _number('SLURM_NTASKS', 1), _number('SLURM_PROCID', 0)
    # not SLURM_NTASKS: a batch script is a single process, and there it is the job's number
    signs = {'SLURM_STEP_NUM_TASKS': 'slurm'}
    # WORLD_SIZE without RANK is a leftover, or of another program
    if 'RANK' in os.environ:
        signs = {'WORLD_SIZE': 'pytorch', **signs}
    for variable, needed in signs.items():
        if (processes := _number(variable, 1)) > 1:
            raise InputError(
                f'{variable}={processes} without --launcher: this is one of several processes that '
                f'would write over each other: give --launcher {needed}, or start a single process'
            )
    return 1, 0


def _number(variable: str, least: int) -> int:
    """The value of an environment variable; `least` if it is not set."""
    text = os.environ.get(variable) or str(least)
    if not text.isdecimal() or int(text) < least:
        raise InputError(
            f'{variable}={text}: the launcher sets it to a whole number from {least}; unset it, or '
            'start with tools/dist_train.sh or tools/slurm_train.sh'
        )
    return int(text)


def prepare_for_cpu(cfg: Config) -> None:
    """Let torchrun's processes run where there is no GPU.

    MMEngine selects a CUDA device for every process, unless a process group exists already. It
    also passes the device to DistributedDataParallel, unless ``device_ids`` is None.

    Raises:
        InputError: the model has SyncBN, which PyTorch has on GPUs only.
    """
    if cfg.get('launcher') != 'pytorch' or torch.cuda.is_available():
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
        # as mmengine has it on GPUs
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def leave() -> None:
    """End this process with status 0, once all processes of the run are done; not without a group.

    It ends at once: Python's own end destroys the threads of the group in any order, which now and
    then aborts a process ("terminate called without an active exception"). The launcher then calls
    the run failed.
    """
    if not torch.distributed.is_initialized():
        return
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    for worker in multiprocessing.active_children():
        worker.terminate()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
