"""Checkpoints under torch >= 2.6, whose loader takes tensors, plain types and an allow-list only.

An mmengine checkpoint holds more than that: the message hub's ``HistoryBuffer``, numpy arrays in
it, and numpy scalars among the metrics. Importing this module allows exactly those, and puts
:func:`load` and :func:`load_url` in place of mmengine's loaders, so that ``resume``,
``load_from`` and mmdet's inferencers refuse any other object by its name.
"""

import codecs
import contextlib
import hashlib
import numbers
import os
import pickle
import re
import struct
import urllib.error
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import mmengine.runner.checkpoint
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmscratch.errors import InputError
from mmscratch.weights import safetensors_file

# How a file begins that torch.save has written: a zip, or before torch 1.6 a pickled number.
ZIP_HEAD = b'PK\x03\x04'
OLD_HEAD = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
# What pickled numpy arrays refer to, in all protocols, by numpy before and since version 2.
BLOB_GLOBALS = {
    '_codecs.encode': codecs.encode,
    'numpy.dtype': np.dtype,
    'numpy.ndarray': np.ndarray,
}
for _core in ('numpy.core', 'numpy._core'):
    BLOB_GLOBALS |= {
        f'{_core}.multiarray._reconstruct': np.empty(0).__reduce__()[0],
        f'{_core}.multiarray.scalar': np.float64(0).__reduce__()[0],
        f'{_core}.numeric._frombuffer': np.empty(0).__reduce_ex__(5)[0],
    }


def statistic(owner: type, name: str) -> Callable:
    """What stands for ``getattr`` in a checkpoint, where a ``HistoryBuffer`` refers to its methods.

    The real one would let a file reach, and change, any module's globals.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    module = getattr(owner, '__module__', type(owner).__module__)
    qualname = getattr(owner, '__qualname__', type(owner).__qualname__)
    # In the words of torch's own refusal, for `refusals` to find the name.
    raise pickle.UnpicklingError(
        f'GLOBAL {module}.{qualname}.{name} was not an allowed global by default.'
    )


def allowed_globals() -> list[Callable | tuple[Callable, str]]:
    """What mmengine checkpoints hold beyond torch's defaults.

    numpy names its two functions differently before and since version 2, and a checkpoint may be
    read by another version than the one that wrote it.
    """
    rebuild_array = np.empty(0).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    return [
        HistoryBuffer,
        (statistic, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        type(np.dtype(np.float64)),
        type(np.dtype(np.float32)),
        type(np.dtype(np.int64)),
        (rebuild_array, 'numpy._core.multiarray._reconstruct'),
        (rebuild_array, 'numpy.core.multiarray._reconstruct'),
        (rebuild_scalar, 'numpy._core.multiarray.scalar'),
        (rebuild_scalar, 'numpy.core.multiarray.scalar'),
    ]


def _refused(message: str) -> str:
    """The name of the object that torch's message is about, or what else it says of it."""
    named = re.search(r'GLOBAL (\S+) (?:was not an allowed global|whose module)', message)
    named = named or re.search(r"but got <class '(\S+)'>", message)
    if named:
        return named[1] if '.' in named[1] else f'builtins.{named[1]}'
    detail = re.search(r'WeightsUnpickler error:\s*([^\n]+)', message)
    return f'what the safe loader cannot read ({detail[1] if detail else message.splitlines()[0]})'


@contextlib.contextmanager
def refusals(filename: str) -> Iterator[None]:
    """Turn what torch says of an unfit file into one line that names the file and the cure.

    Raises:
        InputError: the file is damaged, or holds an object that is not allowed.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f'{filename}: holds {_refused(str(error))}, which no training run here writes; '
            'made by another program? Export its state_dict alone: '
            "torch.save({'state_dict': model.state_dict()}, FILE)"
        ) from None
    except (EOFError, struct.error, RuntimeError) as error:
        # Other RuntimeErrors, such as memory that ran out, are not about the file.
        if isinstance(error, RuntimeError) and not re.search(
            'PytorchStreamReader|hasRecord|TorchScript|unexpected EOF', str(error)
        ):
            raise
        raise InputError(
            f'{filename}: is damaged, cut short or not a checkpoint; copy it again, '
            'or take an earlier checkpoint'
        ) from None


class _BlobUnpickler(pickle.Unpickler):
    """Reads numpy arrays and plain types: what Detectron and detectron2 pickle."""

    def find_class(self, module: str, name: str) -> type | Callable:
        """Refuse what is neither numpy's nor the bytes that Python 2 wrote."""
        found = BLOB_GLOBALS.get(f'{module}.{name}')
        if found is None:
            # in the words of torch's own refusal, for `refusals` to find the name
            raise pickle.UnpicklingError(
                f'GLOBAL {module}.{name} was not an allowed global by default.'
            )
        return found


def load_blobs(filename: str) -> dict:
    """The dict in a ``.pkl`` of Detectron or detectron2; any other kind of file is refused.

    Raises:
        InputError: the file is damaged, is no pickle, or holds another object.
    """
    with refusals(filename), open(filename, 'rb') as file:
        try:
            blobs = _BlobUnpickler(file, encoding='latin1').load()
        except pickle.UnpicklingError as error:
            if 'GLOBAL' in str(error):
                raise
            raise EOFError from None
        except (ValueError, IndexError, KeyError, AttributeError, TypeError):
            raise EOFError from None
    if not isinstance(blobs, dict):
        raise InputError(f'{filename}: holds a {type(blobs).__name__}, not weights by name')
    return blobs


def load(
    filename: str | os.PathLike, map_location: str | torch.device | Callable | None = 'cpu'
) -> dict:
    """The checkpoint in a local file: tensors, plain types and what :func:`allowed_globals` names.

    A ``.pkl`` is read as Detectron's (:func:`load_blobs`), a ``.safetensors`` as weights, or as a
    release (:mod:`mmscratch.weights.safetensors_file`).

    Raises:
        InputError: no such file, or the file is empty, damaged, no checkpoint, or holds any other
            object, which is not created.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise InputError(f'{filename}: no such checkpoint file; check the path')
    with open(filename, 'rb') as file:
        head = file.read(len(OLD_HEAD))
    if not head:
        raise InputError(f'{filename}: is empty; copy it again, or take another checkpoint')
    if filename.endswith('.pkl'):
        return checked(load_blobs(filename), filename)
    if filename.endswith('.safetensors'):
        return checked(safetensors_file.load(filename), filename)
    if not head.startswith((ZIP_HEAD, OLD_HEAD)):
        raise InputError(
            f'{filename}: is not a checkpoint that torch.save has written; give a .pth file, or '
            'one that ends in .safetensors or, of Detectron or detectron2, in .pkl'
        )
    with refusals(filename):
        if head.startswith(ZIP_HEAD) and not zipfile.is_zipfile(filename):
            raise EOFError
        checkpoint = torch.load(filename, map_location=map_location, weights_only=True)
    if not isinstance(checkpoint, dict):
        raise InputError(
            f'{filename}: holds a {type(checkpoint).__name__}, not a checkpoint or state_dict; '
            'give a .pth file of a model'
        )
    return checked(checkpoint, filename)


def checked(checkpoint: dict, file: str) -> dict:
    """The same, without what cannot be a run's state, and without ``meta['config']``.

    Old versions of MMEngine kept the config there. ``Runner.resume`` of MMEngine 0.10.7 executes
    it as Python, to compare numbers of GPUs.

    Raises:
        InputError: an entry of the state is of another kind than a run here writes.
    """
    for key in ('meta', 'message_hub'):
        if key in checkpoint and not isinstance(checkpoint[key], dict):
            del checkpoint[key]
    meta = checkpoint.get('meta', {})
    meta.pop('config', None)
    runtime = checkpoint.get('message_hub', {}).get('runtime_info', {})
    if not isinstance(runtime, dict):
        runtime = {None: runtime}
    wrong = [f'meta.{key}' for key, fits in META.items() if key in meta and not fits(meta[key])]
    wrong += [
        f'message_hub.runtime_info ({key!r})'
        for key, value in runtime.items()
        if not _fits_run(key, value)
    ]
    if wrong:
        raise InputError(
            f'{file}: its {wrong[0]} is not what a training run writes there; do not use this '
            'file, unless you trust who made it: then export its state_dict alone'
        )
    return checkpoint


def _is_proof(value: Any) -> bool:
    """Whether it is built as what :class:`mmscratch.hooks.preflight_hook.PreflightHook` writes."""
    if not value or not isinstance(value, dict):
        return value is None or value == {}
    batch = value.get('batch', dict.fromkeys(BATCH, 1))
    subset, files = value.get('subset'), value.get('annotations')
    return (
        isinstance(value.get('init'), str)
        and isinstance(value.get('allowed'), list | tuple)
        and all(isinstance(name, str) for name in value['allowed'])
        and isinstance(files, list | tuple)
        and all(isinstance(file, dict) and 'sha256' in file for file in files)
        and isinstance(batch, dict)
        and all(isinstance(batch.get(key), int) for key in BATCH)
        and (subset is None or (isinstance(subset, dict) and isinstance(subset.get('sha256'), str)))
    )


def _is_dataset_meta(value: Any) -> bool:
    """Whether it is a data set's metainfo, or a list of several."""
    metas = value if isinstance(value, list) else [value or {}]
    return all(
        isinstance(meta, dict)
        and all(isinstance(key, str) for key in meta)
        and isinstance(meta.get('classes') or (), list | tuple)
        and all(isinstance(name, str) for name in meta.get('classes') or ())
        for meta in metas
    )


def _fits_run(key: Any, value: Any) -> bool:
    if not isinstance(key, str):
        return False
    if key == 'keep_ckpt_ids':
        return isinstance(value, list | tuple)
    return not key.startswith('best_score') or isinstance(value, numbers.Real)


BATCH = ('gpus', 'images_per_gpu', 'accumulation')
# What code here and MMEngine's compute with
META = {
    'epoch': lambda value: isinstance(value, numbers.Integral) and value >= 0,
    'iter': lambda value: isinstance(value, numbers.Integral) and value >= 0,
    'seed': lambda value: value is None or isinstance(value, numbers.Integral),
    'train_seconds': lambda value: isinstance(value, numbers.Real),
    'dataset_meta': _is_dataset_meta,
    'preflight': _is_proof,
}


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: str | torch.device | Callable | None) -> dict:
    """What mmengine calls for a path; its log takes "local" from the name."""
    return load(filename, map_location)


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: str | torch.device | Callable | None = 'cpu',
    progress: bool = True,
    file_name: str | None = None,
) -> dict:
    """What :func:`load` makes of the file, downloaded into torch's folder unless it is there.

    A ``.pth`` has the name that :func:`torch.hub.load_state_dict_from_url` gives it. Others are
    seldom named after what they hold (``model.safetensors``): theirs begin with the URL's hash.

    Raises:
        InputError: as for :func:`load`, or there is no way to the server.
    """
    name = file_name or os.path.basename(urllib.parse.urlparse(url).path)
    if name.endswith(('.pkl', '.safetensors')):
        name = f'{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}'
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, path, progress=progress)
        except urllib.error.URLError as error:
            raise InputError(
                f'{url}: cannot be downloaded ({error.reason}); download it elsewhere and put it '
                f'into {folder} as {name}, or name the file with --init'
            ) from None
    return load(path, map_location)


torch.serialization.add_safe_globals(allowed_globals())
# http://, torchvision:// and open-mmlab:// all download through this name.
mmengine.runner.checkpoint.load_url = load_url
