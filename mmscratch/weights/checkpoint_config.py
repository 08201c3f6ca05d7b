"""Read the config inside a checkpoint as data, without executing it.

A checkpoint may come from anyone. MMEngine executes its config as Python. MMEngine's registries
import any dotted name that a ``type`` gives, so even a config of literals can call any function.
Here the config is parsed, and a ``type`` must name something that a registry already contains. Only
a config file that the user names is executed.
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

# A type may be the dotted path of a registered class of these packages.
PACKAGES = ('mmcv', 'mmdet', 'mmengine', 'mmscratch', 'torch', 'torchvision')
SCOPES = ('mmcv', 'mmdet', 'mmengine')
_NUMBERS = {'inf': math.inf, 'nan': math.nan}
# Keys of which MMDetection executes, opens or downloads the string.
_HARMFUL = {
    'teacher_config': 'executed as a config file',
    'teacher_ckpt': 'opened or downloaded',
    'warp_mode': 'executed as Python',
}


def config_of(loaded: Mapping[str, Any], file: str) -> Config:
    """Read the config that a training run or a release has saved in a checkpoint.

    Args:
        loaded: the checkpoint, as :func:`mmscratch.weights.checkpoint.load` returns it.
        file: its name, for errors.

    Raises:
        InputError: the checkpoint has no config, or :func:`read` refuses it.
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
        content = {}
        for node in ast.parse(text).body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    content[name] = ast.literal_eval(_Literals().visit(value))
                case _:
                    raise ValueError(f'line {node.lineno} is no assignment to a name')
        return Config(content)
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        reason = str(error).partition(': <ast')[0] or type(error).__name__
        raise InputError(
            f'{file}: its config is not plain data ({" ".join(reason.split())}), and is not '
            'executed; do not use this file, unless you trust who made it: then save it again '
            'with a config dumped by MMEngine'
        ) from None


class _Literals(ast.NodeTransformer):
    """Turns ``dict(...)``, inf and nan, which MMEngine writes, into literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return ``dict(a=1)`` and ``dict({...}, a=1)`` as a dict display."""
        self.generic_visit(node)
        parts = node.keywords
        match node.func, node.args or [ast.Dict([], [])]:
            # MMEngine writes dict({...}) if a key is no identifier
            case ast.Name(id='dict'), [ast.Dict(keys, values)] if all(part.arg for part in parts):
                keys = [*keys, *(ast.Constant(part.arg) for part in parts)]
                return ast.Dict(keys, [*values, *(part.value for part in parts)])
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Return the number that the name stands for."""
        return ast.Constant(_NUMBERS[node.id]) if node.id in _NUMBERS else node


def refuse_foreign_types(
    section: Config | Mapping[str, Any], file: str, buildable: bool = False
) -> None:
    """Refuse a config whose types or scopes make a registry import something.

    Args:
        section: a config or a part of it.
        file: where it comes from, for the error.
        buildable: True if the section will be built, so that every type must be registered. False
            allows the unknown name of a class too, without a dot.

    Raises:
        InputError: a type is neither a registered name nor the dotted path of a registered class of
            ``PACKAGES``; a scope is none of ``SCOPES``; or MMDetection would execute, open or
            download a text.
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
                # layers build the values of resize_type, conv_type, padding_mode and the like
                fits = '.' not in text or not str(key).endswith(('type', 'mode'))
            if not fits and registered_at(text) is None:
                shown = repr(kind) if len(repr(kind)) <= 60 else repr(kind)[:57] + '...'
                raise InputError(
                    f'{file}: its config has the {key} {shown}, which is not registered by '
                    f'MMDetection, MMEngine, mmcv or mmscratch; {_CURE}'
                )


def registered_at(path: str) -> Any:
    """Find the registered class of ``PACKAGES`` with a dotted path, without an import.

    Returns:
        The class; the path itself if it is a scope and a name, such as ``mmdet.ResNet``; None for
        anything else.
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
    """Keep MMEngine's registries from importing the dotted names of a config."""
    original = mmengine_registry.get_object_from_string
    mmengine_registry.get_object_from_string = _registered_class
    try:
        yield
    finally:
        mmengine_registry.get_object_from_string = original


def _registered_class(path: str) -> Any:
    found = registered_at(path)
    return None if isinstance(found, str) else found


_CURE = (
    'a config inside a checkpoint may use registered classes only; for a class of your own, give '
    'the config file that imports it (tools/infer.py --config)'
)
