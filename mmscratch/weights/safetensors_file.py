"""Read and write checkpoints as safetensors files, the format of timm and the Hugging Face hub.

The format (https://github.com/huggingface/safetensors) stores tensors by name, and texts by name.
The ``meta`` of a release is one such text, in JSON.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized

from mmscratch.errors import InputError

META = 'meta'
# JSON has neither tuples nor keys that are no strings. These become {TAG: content}.
TUPLE, PAIRS = '__tuple__', '__dict__'


def save(content: Mapping[str, Any], file: str | os.PathLike) -> None:
    """Write ``state_dict`` and ``meta`` of ``content`` for :func:`load`.

    Each of the tensors that share memory is written in full. Equal contents make equal files.

    Raises:
        TypeError: ``meta`` has other types than JSON's, tuples and dicts.
    """
    weights = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in content['state_dict'].items()
    }
    # a single text, since the library writes several in random order
    data = serialized(weights, metadata={META: json.dumps(_tag(content['meta']))})
    # not written by the library, whose files only their owner can read
    Path(file).write_bytes(data)


def load(file: str | os.PathLike) -> dict[str, Any]:
    """Read ``state_dict``, and ``meta`` if :func:`save` wrote the file.

    Tensors are on the CPU, in memory of their own.

    Raises:
        InputError: the file is damaged, or has another format.
    """
    try:
        with safe_open(file, framework='pt') as opened:
            # cloned, since the tensor is mapped to the file, which may be replaced
            weights = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
            text = (opened.metadata() or {}).get(META, '')
    except SafetensorError as error:
        raise InputError(
            f'{file}: is damaged, cut short or not a safetensors file '
            f'({str(error).splitlines()[0]}); copy or download it again'
        ) from None
    try:
        meta = json.loads(text, object_hook=_untag)
    except (ValueError, TypeError, RecursionError):  # written by another program
        meta = None
    return dict(state_dict=weights, **(dict(meta=meta) if isinstance(meta, dict) else {}))


def _tag(value: Any) -> Any:
    if isinstance(value, tuple):
        return {TUPLE: [_tag(item) for item in value]}
    if isinstance(value, list):
        return [_tag(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _tag(item) for key, item in value.items()}
        return {PAIRS: [[_tag(key), _tag(item)] for key, item in value.items()]}
    return value


def _untag(value: dict) -> Any:
    if value.keys() == {TUPLE}:
        return tuple(value[TUPLE])
    return dict(value[PAIRS]) if value.keys() == {PAIRS} else value
