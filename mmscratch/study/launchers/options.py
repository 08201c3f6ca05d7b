"""Options of tools that train a study: where, and how many runs at a time."""

import argparse

from mmscratch.errors import InputError
from mmscratch.process import cpu_threads
from mmscratch.study.launchers.gpu_launcher import MOST_A_GPU, GpuLauncher, visible_gpus
from mmscratch.study.launchers.launcher import Launcher
from mmscratch.study.launchers.local_launcher import LocalLauncher
from mmscratch.study.launchers.slurm_launcher import SlurmLauncher

# A process has about 1.6 GB of memory.
MOST_ON_CPU = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs``, ``--slurm`` and ``--slurm-options``."""
    parser.add_argument(
        '--jobs',
        type=int,
        metavar='N',
        help=f'runs at a time; default: one a GPU, of which each takes up to {MOST_A_GPU}; without '
        f'GPUs one a core, up to {MOST_ON_CPU}; 16 with --slurm',
    )
    parser.add_argument(
        '--slurm',
        metavar='PARTITION',
        help='train each run as a job of Slurm. If this command is stopped, the jobs stay, and the '
        'same command goes on with them',
    )
    parser.add_argument(
        '--slurm-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='of sbatch, such as gres=gpu:1 cpus-per-task=4 account=ours; time=MINUTES',
    )


def from_options(args: argparse.Namespace) -> Launcher:
    """The launcher that the options ask for.

    Raises:
        InputError: an option has a value that makes no sense.
    """
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f'--jobs {args.jobs}: give 1 or more')
    if wrong := [text for text in args.slurm_options if '=' not in text or not args.slurm]:
        raise InputError(f'--slurm-options {wrong[0]}: give KEY=VALUE, and --slurm PARTITION')
    if args.slurm:
        options = dict(text.lstrip('-').split('=', 1) for text in args.slurm_options)
        return SlurmLauncher(args.slurm, options, args.jobs or SlurmLauncher.jobs)
    if gpus := visible_gpus():
        most = MOST_A_GPU * len(gpus)
        if (args.jobs or 1) > most:
            raise InputError(
                f'--jobs {args.jobs}: more than {MOST_A_GPU} runs a GPU are slower, and here are '
                f'{len(gpus)}; give {most} or fewer'
            )
        return GpuLauncher(args.jobs or len(gpus), gpus)
    return LocalLauncher(args.jobs or min(cpu_threads.cores(), MOST_ON_CPU))
