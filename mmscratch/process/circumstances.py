"""On what machine and with which packages something was run, as results say it."""

import platform
from importlib.metadata import version

import mmscratch
from mmscratch.process import cpu_threads

PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmdet', 'numpy', 'hotcoco')


def cpu() -> str:
    """The cores that this process may use, and their architecture."""
    return f'{cpu_threads.cores()} CPU cores ({platform.machine()})'


def hardware() -> str:
    """The GPUs of all processes of this run; without one, ``cpu()``."""
    import torch
    from mmengine.dist import get_world_size

    if torch.cuda.is_available():
        return f'{get_world_size()} x {torch.cuda.get_device_name()}'
    return cpu()


def versions() -> dict[str, str]:
    """Of Python, this package and ``PACKAGES``."""
    own = dict(mmscratch=mmscratch.__version__, python=platform.python_version())
    return own | {package: version(package) for package in PACKAGES}
