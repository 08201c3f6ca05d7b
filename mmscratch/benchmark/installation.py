"""Whether the installation works: packages, GPUs, a training step, an all-reduce between processes.

Nothing but Python's own library is imported here. Each check imports what it is about in a process
of its own, so that a package that is missing, crashes or hangs fails its check and no other.
"""

import ast
import contextlib
import csv
import functools
import importlib
import multiprocessing
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, cast

from mmscratch.errors import InputError, describe
from mmscratch.process import cpu_threads

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
REINSTALL = 'pip install -r requirements.txt'
RENEW_MMCV = f'pip uninstall -y mmcv mmcv-lite; {REINSTALL}'
PYTHONS = (3, 10), (3, 12)
SHARED = Path('/dev/shm')
# loaders send decoded batches through it; Docker gives 64 MiB
LEAST_SHARED = 512 * 2**20
SECONDS = 180  # that a check may take; the first import from a network's disk takes a minute
# of the environment, in bug reports
VARIABLES = ('CUDA_', 'GLOO_', 'MKL_', 'NCCL_', 'OMP_', 'TORCH_')
Found = tuple[str, str]  # what a check found, and the cure; no cure if all is well


@dataclass(frozen=True)
class Check:
    """A thing that has to work.

    Attributes:
        name: of the check.
        run: returns what it found, and a cure if that is a fault; or raises an error.
        cure: of an error, a crash, or a check that takes longer than ``SECONDS``.
        needs: names of earlier checks without which this one is skipped.
    """

    name: str
    run: Callable[[], Found]
    cure: str
    needs: tuple[str, ...] = ()


def examine(checks: Sequence[Check], seconds: float = SECONDS) -> Iterator[dict[str, str]]:
    """Run the checks in order.

    Yields:
        Of each check ``check``, its name; ``status``: ok, failed or skipped; ``found``, what it
        found; ``cure``, in one line, '' unless it failed.
    """
    states: dict[str, str] = {}
    for check in checks:
        lacking = [name for name in check.needs if states[name] != 'ok']
        if lacking:
            status, found, cure = 'skipped', f'needs: {lacking[0]}', ''
        else:
            found, cure = _in_process(check, seconds)
            status = 'failed' if cure else 'ok'
        states[check.name] = status
        yield dict(check=check.name, status=status, found=found, cure=cure)


def _in_process(check: Check, seconds: float) -> Found:
    """Run the check in a process of its own, and end what it leaves behind."""
    ours, its = multiprocessing.Pipe(duplex=False)
    with tempfile.TemporaryFile('w+', errors='replace') as output:
        # a fork: Python's own library is all that is loaded
        process = multiprocessing.get_context('fork').Process(
            target=_send, args=(check, its, output)
        )
        process.start()
        its.close()
        try:
            if not ours.poll(seconds):
                return f'took more than {seconds:g} seconds', check.cure
            return ours.recv()
        except EOFError:
            process.join()
            code = process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f'status {code}'
            output.seek(0)
            said = [line.strip() for line in output if line.strip()]
            return f'the process ended with {how}{(said and f": {said[-1]}") or ""}', check.cure
        finally:
            # with the processes that it has started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(cast(int, process.pid), signal.SIGKILL)
            process.join()


def _send(check: Check, pipe: Connection, output: IO[str]) -> None:
    os.setsid()
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    try:
        result = check.run()
    except Exception as error:
        result = describe(error), check.cure
    pipe.send(result)


def circumstances() -> dict[str, Any]:
    """What a bug report needs beside the checks."""
    return dict(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu_cores=cpu_threads.cores(),
        packages={name: found for name in sorted(pins()) if (found := _version(name))},
        environment={k: v for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)},
    )


def pins() -> dict[str, str]:
    """The version of each package that ``requirements.txt`` has for this Python."""
    from packaging.requirements import Requirement

    found = {}
    for line in (ROOT / 'requirements.txt').read_text().splitlines():
        if text := line.partition('#')[0].strip():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate():
                found[requirement.name] = next(iter(requirement.specifier)).version
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> Found:
    found = f'{platform.python_version()} on {platform.platform()}, {cpu_threads.cores()} CPU cores'
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return found, ''
    return found, 'take Python 3.10, 3.11 or 3.12: make setup PYTHON=python3.12'


def _versions() -> Found:
    """Compare what is installed with ``pyproject.toml`` and ``requirements.txt``."""
    from packaging.requirements import Requirement

    known = pins()
    text = (ROOT / 'pyproject.toml').read_text()
    # Python 3.10 has no tomllib; an array of strings is Python, too
    array = re.search(r'^dependencies = (\[.*?^\])', text, re.DOTALL | re.MULTILINE)
    assert array
    faults, repairs, others = [], [], []
    if _version('mmscratch') is None:
        faults.append('mmscratch is not installed')
        repairs.append('pip install --no-deps --no-build-isolation -e .')
    if _version('mmcv') and _version('mmcv-lite'):
        # one has overwritten files of the other
        return 'mmcv and mmcv-lite are both installed, into the same folder', RENEW_MMCV
    for requirement in map(Requirement, ast.literal_eval(array[1])):
        name = requirement.name
        if name == 'mmcv-lite' and _version('mmcv'):
            name = 'mmcv'
        installed = _version(name)
        tested = known.get(requirement.name)
        if installed is None:
            faults.append(f'{name} is missing')
        elif not requirement.specifier.contains(installed, prereleases=True):
            faults.append(f'{name} is {installed}, and has to be {requirement.specifier}')
        else:
            # 2.11.0+cu128 is 2.11.0
            if tested and installed.partition('+')[0] != tested:
                others.append(f'{name} {installed} ({tested} is tested)')
            continue
        repairs.append(f"pip install '{requirement}'")
    if faults:
        return '; '.join(faults), '; '.join(repairs) if len(repairs) < 3 else REINSTALL
    return ', '.join(others) or 'those of requirements.txt', ''


def _shared_memory() -> Found:
    if not SHARED.is_dir():
        return f'no {SHARED} on this system', ''
    space = shutil.disk_usage(SHARED)
    found = f'{SHARED}: {_size(space.free)} free of {_size(space.total)}'
    if space.free >= LEAST_SHARED:
        return found, ''
    return found, (
        f'loader workers need {_size(LEAST_SHARED)} there: docker run --shm-size=8g (or '
        '--ipc=host), or train with --cfg-options train_dataloader.num_workers=0 '
        'val_dataloader.num_workers=0'
    )


def _size(number: int) -> str:
    return f'{number / 2**30:.1f} GiB' if number >= 2**30 else f'{number / 2**20:.0f} MiB'


def _torch() -> Found:
    import torch
    import torchvision

    # fails where the two are of different builds
    torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5)
    return f'torch {torch.__version__}, torchvision {torchvision.__version__}', ''


def _gpus() -> Found:
    import torch

    build = (
        f'torch is built for CUDA {torch.version.cuda}'
        if torch.version.cuda
        else (
            f'torch is built for ROCm {torch.version.hip}'
            if torch.version.hip
            else 'torch is built without CUDA'
        )
    )
    if torch.cuda.is_available():
        drivers = {driver for _, driver in _nvidia_smi()}
        found = [build, *(f'driver {driver}' for driver in sorted(drivers))]
        for i in range(torch.cuda.device_count()):
            # fails where torch has no kernels for this GPU
            torch.ones(8, device=f'cuda:{i}').sum().item()
            free, total = torch.cuda.mem_get_info(i)
            name = torch.cuda.get_device_name(i)
            found.append(f'GPU {i}: {name}, {_size(free)} free of {_size(total)}')
        return '; '.join(found), ''
    listed = _nvidia_smi()
    if not listed:
        return f'{build}; no GPU that nvidia-smi lists: training runs on the CPU', ''
    names = ', '.join(f'{name} with driver {driver}' for name, driver in listed)
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
    if hidden is not None:
        return f'{names}, hidden by CUDA_VISIBLE_DEVICES={hidden}: training runs on the CPU', ''
    if torch.version.cuda is None:
        return f'{names}, but {build}', (
            "install torch's build for CUDA: the command of pytorch.org/get-started, with "
            f'torch=={pins()["torch"]} and torchvision=={pins()["torchvision"]}'
        )
    try:
        torch.cuda.init()
        why = 'no device is available'
    except Exception as error:
        why = describe(error)
    return f'{names}, but torch cannot use it: {why}; {build}', (
        f'update the driver to one for CUDA {torch.version.cuda} (nvidia-smi shows the newest CUDA '
        'of a driver), or install a build of torch for an older CUDA (pytorch.org/get-started)'
    )


def _nvidia_smi() -> list[tuple[str, str]]:
    """Name and driver of each GPU that the driver has."""
    command = ['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader']
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return [(row[0], row[1]) for row in rows if len(row) == 2]


def _mmcv() -> Found:
    import mmcv
    import torch
    from mmcv.ops import nms, roi_align

    from mmscratch.ops import backend

    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5], [8, 8, 12, 12]])
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
    rois = torch.tensor([[0.0, 0, 0, 4, 4]])
    pooled = roi_align(torch.full((1, 1, 8, 8), 3.0), rois, (2, 2)).mean().item()
    found = f'mmcv {mmcv.__version__}; {backend.describe()}'
    if kept != [0, 2] or abs(pooled - 3) > 1e-5:
        return f'{found}; wrong results of nms or roi_align', RENEW_MMCV
    return found, ''


def _mmdet() -> Found:
    import mmdet
    import mmengine

    importlib.import_module('mmscratch.register_all')
    return f'mmdet {mmdet.__version__}, mmengine {mmengine.__version__}', ''


def _step(device: str) -> None:
    """A training step of a small Mask R-CNN, whose loss has to be finite."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import mmscratch.register_all  # noqa: F401
    from mmscratch.benchmark.model_trial import train

    init_default_scope('mmdet')
    torch.manual_seed(0)
    train(MODELS.build(Config.fromfile(CONFIG).model).to(device), 128)


def _step_on_cpu() -> Found:
    _step('cpu')
    return f'{CONFIG.stem}, two images', ''


def _step_on_gpus() -> Found:
    import torch

    number = torch.cuda.device_count()
    for i in range(number):
        try:
            _step(f'cuda:{i}')
        except Exception as error:
            raise InputError(f'GPU {i}: {describe(error)}') from error
    return f'{number} GPUs' if number else 'no GPU', ''


def _all_reduce(backend: str, processes: int) -> None:
    """Sum the numbers 1 to N of so many processes of this machine."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        rank = functools.partial(_reduce, backend, processes, port)
        sums = list(pool.map(rank, range(processes)))
    if sums != [processes * (processes + 1) / 2] * processes:
        raise InputError(f'wrong sums: {sums}')


def _reduce(backend: str, processes: int, port: int, rank: int) -> float:
    import torch
    from torch import distributed

    device = torch.device('cuda', rank) if backend == 'nccl' else torch.device('cpu')
    distributed.init_process_group(
        backend,
        init_method=f'tcp://127.0.0.1:{port}',
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=60),
    )
    # a mebibyte, as gradients have it; NCCL sends small ones another way
    values = torch.full((2**18,), rank + 1.0, device=device)
    distributed.all_reduce(values)
    total = values.mean().item()
    distributed.destroy_process_group()
    return total


def _all_reduce_on_cpu() -> Found:
    _all_reduce('gloo', 2)
    return '2 processes, gloo', ''


def _all_reduce_on_gpus() -> Found:
    import torch

    number = torch.cuda.device_count()
    if number < 2:
        return f'{number} GPU' if number else 'no GPU', ''
    _all_reduce('nccl', number)
    return f'{number} GPUs, nccl', ''


# of the command line, in this order
CHECKS = (
    Check('Python', _python, REINSTALL),
    Check('versions', _versions, REINSTALL),
    Check('shared memory', _shared_memory, f'mount {SHARED}'),
    Check('torch', _torch, f'pip uninstall -y torch torchvision; {REINSTALL}'),
    Check(
        'GPU',
        _gpus,
        "install a build of torch for this GPU and its driver (pytorch.org/get-started); if it's "
        'busy, end what nvidia-smi lists, or choose another with CUDA_VISIBLE_DEVICES',
        ('torch',),
    ),
    Check('mmcv', _mmcv, RENEW_MMCV, ('torch',)),
    Check('mmdet', _mmdet, f'pip uninstall -y mmdet mmengine; {REINSTALL}', ('mmcv',)),
    Check(
        'step on CPU',
        _step_on_cpu,
        f'{REINSTALL} in a new environment; if that does not help, report it with --json',
        ('mmdet',),
    ),
    Check(
        'step on GPUs',
        _step_on_gpus,
        'if memory is lacking, end what nvidia-smi lists; else leave this GPU out '
        '(CUDA_VISIBLE_DEVICES) and look for its errors with nvidia-smi -q and dmesg',
        ('mmdet', 'GPU'),
    ),
    Check(
        'all-reduce on CPU',
        _all_reduce_on_cpu,
        'name the network interface of 127.0.0.1, export GLOO_SOCKET_IFNAME=lo, and let the '
        'firewall pass it',
        ('torch',),
    ),
    Check(
        'all-reduce on GPUs',
        _all_reduce_on_gpus,
        'try export NCCL_P2P_DISABLE=1, then NCCL_SHM_DISABLE=1; NCCL_DEBUG=INFO says where it '
        'hangs',
        ('GPU',),
    ),
)
