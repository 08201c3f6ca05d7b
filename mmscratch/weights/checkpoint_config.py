"""The config inside a checkpoint, read as data.

A checkpoint may be a stranger's. MMEngine executes the config text in it as Python, and its
registries import any dotted name that a ``type`` gives, so that even a config without a statement
can call any function. Here the text is parsed and never executed, and a ``type`` has to be the name
of something that a registry already holds. Only a config file that the user names is a program.
"""

import ast
import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import mmengine.registry.registry as mmengine_registry
from mmengine.config import Config

from mmscratch.config.registered_classes import is_registered, registered_names
from mmscratch.config.sections import walk
from mmscratch.errors import InputError

# Packages whose classes a type may name by a dotted path, if a registry holds them.
PACKAGES = ('mmcv', 'mmdet', 'mmengine', 'mmscratch', 'torch', 'torchvision')
SCOPES = ('mmcv', 'mmdet', 'mmengine')
_NUMBERS = {'inf': math.inf, 'nan': math.nan}
# What MMDetection does with strings under these keys, and a stranger's may not have done.
_HARMFUL = {
    'teacher_config': 'executed as a config file',
    'teacher_ckpt': 'opened or downloaded',
    'warp_mode': 'executed as Python',
}


class _NotData(ValueError):
    """A node of the syntax tree that is no literal."""


def config_of(loaded: Mapping[str, Any], file: str) -> Config:
    """The config that a training run or a release has put into the checkpoint ``loaded``.

    Args:
        loaded: the checkpoint, as :func:`mmscratch.weights.checkpoint.load` returns it.
        file: its name, for errors.

    Raises:
        InputError: there is no config, or it is not data (:func:`read`).
    """
    hub, meta = loaded.get('message_hub'), loaded.get('meta')
    runtime = hub.get('runtime_info') if isinstance(hub, Mapping) else None
    for holder in (meta, runtime):
        if isinstance(holder, Mapping) and holder.get('cfg'):
            return read(holder['cfg'], file)
    raise InputError(
        f'{file}: holds weights, but not the config of their model; give a checkpoint as '
        'tools/train.py has saved it (iter_N.pth), or a release of tools/publish.py'
    )


def read(text: Any, file: str) -> Config:
    """Parse a config as MMEngine dumps it: assignments of literals, and calls of ``dict``.

    Raises:
        InputError: ``text`` is anything else.
    """
    if not isinstance(text, str):
        raise InputError(f'{file}: its config is a {type(text).__name__}, not text; do not use it')
    try:
        return Config({_name(node): _value(node.value) for node in ast.parse(text).body})
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f'{file}: its config is not plain data ({" ".join(reason.split())}), and is not '
            'executed; do not use this file, unless you trust who made it: then save it again '
            'with a config dumped by MMEngine'
        ) from None


def _name(node: ast.stmt) -> str:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
    raise _NotData(f'line {node.lineno} is no assignment to a name')


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=parts):
            return [_value(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_value(part) for part in parts)
        case ast.Set(elts=parts):
            return {_value(part) for part in parts}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_value(key): _value(value) for key, value in zip(keys, values)}
        case ast.Call(func=ast.Name(id='dict'), args=[] | [ast.Dict()], keywords=parts) if all(
            part.arg for part in parts
        ):
            # MMEngine writes dict({...}) where a key is no identifier
            first = _value(node.args[0]) if node.args else {}
            return first | {part.arg: _value(part.value) for part in parts}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _value(operand)
            if isinstance(number, int | float):
                return -number
        case ast.Name(id=name) if name in _NUMBERS:
            return _NUMBERS[name]
    raise _NotData(f'line {node.lineno} holds more than literals')


def refuse_foreign_types(
    section: Config | Mapping[str, Any], file: str, buildable: bool = False
) -> None:
    """Refuse a ``type`` or a scope by which a registry would import something from elsewhere.

    Args:
        section: a config or a part of it.
        file: where it comes from, for the error.
        buildable: whether every type has to be registered, as what is to be built must be. Else the
            name of a class that is not known here may stand, if it has no dot.

    Raises:
        InputError: a type is neither a registered name nor the dotted path of such a class in one
            of ``PACKAGES``, a scope is none of ``SCOPES``, or there is a text that MMDetection
            would execute, open or download.
    """
    known = registered_names()
    for node in walk(section._cfg_dict if isinstance(section, Config) else section):
        scope = node.get('_scope_', 'mmdet')
        if scope not in SCOPES:
            raise InputError(f'{file}: its config has the scope {scope!r}; {_CURE}')
        for key, done in _HARMFUL.items():
            if isinstance(node.get(key), str):
                raise InputError(f'{file}: its config has {key}, which would be {done}; {_CURE}')
        for key, kind in node.items():
            text = kind if isinstance(kind, str) else ''
            if key == 'type':
                fits = text in known or (text.isidentifier() and not buildable)
            else:
                # resize_type, conv_type, padding_mode ...: layers make types of them
                fits = '.' not in text or not str(key).endswith(('type', 'mode'))
            if not fits and registered(text) is None:
                shown = repr(kind) if len(repr(kind)) <= 60 else repr(kind)[:57] + '...'
                raise InputError(
                    f'{file}: its config has the {key} {shown}, which is not registered by '
                    f'MMDetection, MMEngine, mmcv or mmscratch; {_CURE}'
                )


def registered(path: str) -> Any:
    """What a dotted path stands for, if it is in one of ``PACKAGES`` and a registry holds it.

    Nothing is imported for it. ``mmdet.ResNet``, with a scope in place of a module, counts too.

    Returns:
        None for anything else.
    """
    module, _, name = path.rpartition('.')
    if module.partition('.')[0] not in PACKAGES:
        return None
    if module in SCOPES and name in registered_names():
        return path
    found = getattr(sys.modules.get(module), name, None)
    return found if is_registered(found) else None


@contextlib.contextmanager
def no_imports() -> Iterator[None]:
    """Let MMEngine's registries import nothing, whichever key of a config a dotted name is from."""
    original = mmengine_registry.get_object_from_string
    mmengine_registry.get_object_from_string = _registered_class
    try:
        yield
    finally:
        mmengine_registry.get_object_from_string = original


def _registered_class(path: str) -> Any:
    found = registered(path)
    return None if isinstance(found, str) else found


_CURE = (
    'a config inside a checkpoint may name nothing else; if the class is your own, name the config '
    'file that imports it (tools/infer.py --config)'
)
