"""Where the runs of a study are trained: on this machine's cores or GPUs, or by Slurm."""

from mmscratch.study.launchers.gpu_launcher import GpuLauncher
from mmscratch.study.launchers.launcher import Launcher
from mmscratch.study.launchers.local_launcher import LocalLauncher
from mmscratch.study.launchers.options import add_options, from_options
from mmscratch.study.launchers.slurm_launcher import SlurmLauncher
from mmscratch.study.launchers.task import Task
