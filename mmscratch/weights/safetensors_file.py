"""Checkpoints as safetensors files, the format of timm and the Hugging Face hub.

The format, https://github.com/huggingface/safetensors, holds tensors by name, and texts by name.
What a release says of its weights (``meta``) is one such text, in JSON.
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
# JSON has lists alone, and strings alone as keys. What else a meta holds is {TAG: its contents}.
TUPLE, PAIRS = '__tuple__', '__dict__'


def save(content: Mapping[str, Any], file: str | os.PathLike) -> None:
    """Write the ``state_dict`` and the ``meta`` of ``content``, so that :func:`load` returns them.

    Tensors that share memory are written once each; equal contents make equal files.

    Raises:
        TypeError: ``meta`` has other types than JSON's, tuples and dicts.
    """
    weights = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in content['state_dict'].items()
    }
    # one text alone: the library puts several in an order of chance
    data = serialized(weights, metadata={META: json.dumps(_tag(content['meta']))})
    # not by the library, whose files none but their owner may read
    Path(file).write_bytes(data)


def load(file: str | os.PathLike) -> dict[str, Any]:
    """``state_dict`` and, of a file that :func:`save` wrote, ``meta``.

    Tensors are on the CPU, in memory of their own.

    Raises:
        InputError: the file is damaged, or of another format.
    """
    try:
        with safe_open(file, framework='pt') as opened:
            # a clone, since the tensor is a map of the file, which may be replaced
            weights = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
            text = (opened.metadata() or {}).get(META, '')
    except SafetensorError as error:
        raise InputError(
            f'{file}: is damaged, cut short or not a safetensors file '
            f'({str(error).splitlines()[0]}); copy or download it again'
        ) from None
    try:
        meta = json.loads(text, object_hook=_untag)
    except (ValueError, TypeError, RecursionError):  # a text of another program
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
