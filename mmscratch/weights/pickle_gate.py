"""Looks through a pickle before it is loaded, and creates nothing.

A safe loader decides which objects a file may name. With those alone a file can still take any
memory, crash Python by tuples that are nested too deeply to be hashed, or let numpy take numbers
for addresses by a forged type. Here a file may do with them what writers of checkpoints do.
"""

import pickle
import pickletools
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from mmap import mmap
from typing import IO, Any, cast

import torch

DEEPEST = 100  # tuples within tuples
_LARGEST = 10**6  # objects in a tuple, each counted as often as it is repeated
_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')
_NUMBER = re.compile(r'[<>=|]?[biufc]\d{1,2}')  # numpy's short names of types of numbers
# the rest of a type's state: no parts, names or fields, no flags
_PLAIN = (None, None, None, -1, -1, 0)


def _any(*args: Any) -> bool:
    return True


# Calls that are allowed, and what of their arguments. Arguments that are lists, dicts or results
# of calls are None or an `_Made` here.
_CALLS: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(('collections.OrderedDict', 'collections.Counter', 'builtins.getattr'), _any),
    **dict.fromkeys(('builtins.set', 'builtins.complex', 'torch.Size'), _any),
    '_codecs.encode': lambda text, how: how in ('latin1', 'latin-1'),
    'builtins.bytearray': lambda *args: not (args and isinstance(args[0], int)),
    'numpy.dtype': lambda name, *args: isinstance(name, str) and bool(_NUMBER.fullmatch(name)),
    'mmengine.logging.history_buffer.HistoryBuffer': lambda *args: not args,
}
for _name in ('', '_v2', '_v3'):
    _CALLS[f'torch._utils._rebuild_tensor{_name}'] = _any
for _name in ('_utils._rebuild_parameter', '_utils._rebuild_parameter_with_state', 'device'):
    _CALLS[f'torch.{_name}'] = _any
for _name in _MULTIARRAY:
    _CALLS[f'{_name}._reconstruct'] = lambda kind, shape, code: shape == (0,)
    _CALLS[f'{_name}.scalar'] = lambda kind, value: True
    _CALLS[f'{_name.replace("multiarray", "numeric")}._frombuffer'] = _any
_STATES: dict[str, Callable[..., bool]] = {
    'numpy.dtype': lambda state: isinstance(state, tuple) and state[2:] == _PLAIN,
    **{f'{_name}._reconstruct': _any for _name in _MULTIARRAY},
    'mmengine.logging.history_buffer.HistoryBuffer': _any,
    'collections.OrderedDict': _any,
}


class _Made(str):
    """The name of a global, or of what was called to make an object."""


# depth and objects of a tuple, and the value of a constant, a name or a tuple of these
_Item = tuple[int, int, Any]


def check(file: IO[bytes] | mmap) -> None:
    """Read the opcodes of one pickle.

    Classes that the caller allows to torch (``torch.serialization.safe_globals``) are allowed here.

    Args:
        file: from where the pickle begins; is left where it ends.

    Raises:
        pickle.UnpicklingError: it calls, or builds, what no writer of checkpoints does; or its
            tuples are too deep.
        ValueError, LookupError, TypeError: it is no whole pickle.
    """
    stack: list[_Item] = []
    marks: list[int] = []
    memo: dict[int, _Item] = {}
    classes = [each for each in torch.serialization.get_safe_globals() if isinstance(each, type)]
    more = {f'{each.__module__}.{each.__qualname__}': _any for each in classes}

    def to_mark() -> list[_Item]:
        begin = marks.pop()
        items = stack[begin:]
        del stack[begin:]
        return items

    def push_tuple(items: list[_Item]) -> None:
        depth = 1 + max((item[0] for item in items), default=0)
        objects = 1 + sum(item[1] for item in items)
        # to be hashed as a key, it is gone through in full, by recursion
        if depth > DEEPEST or objects > _LARGEST:
            raise pickle.UnpicklingError(f'tuples are nested more than {DEEPEST} deep, or repeated')
        stack.append((depth, objects, tuple(item[2] for item in items)))

    for op, argument, _ in pickletools.genops(cast(IO[bytes], file)):
        name, arg = op.name, cast(Any, argument)
        if name in ('PROTO', 'FRAME', 'STOP'):
            continue
        if name == 'MARK':
            marks.append(len(stack))
        elif name in ('BINPUT', 'LONG_BINPUT', 'PUT', 'MEMOIZE'):
            number = len(memo) if arg is None else arg
            # the loader's memo is a list; writers count from 0 or 1
            if number > 2 * len(memo) + 1000:
                raise ValueError(f'memo {number}')
            memo[number] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET', 'GET'):
            stack.append(memo[arg])
        elif name in ('EMPTY_LIST', 'EMPTY_DICT', 'EMPTY_SET'):
            stack.append((0, 1, None))
        elif name in ('LIST', 'DICT'):
            to_mark()
            stack.append((0, 1, None))
        elif name in ('EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3'):
            count = 0 if name == 'EMPTY_TUPLE' else len(op.stack_before)
            push_tuple(to_mark() if name == 'TUPLE' else [stack.pop() for _ in range(count)][::-1])
        elif name in ('APPENDS', 'SETITEMS', 'ADDITEMS'):
            to_mark()
        elif name in ('APPEND', 'SETITEM'):
            for _ in op.stack_before[1:]:
                stack.pop()
        elif name in ('GLOBAL', 'STACK_GLOBAL'):
            if name == 'GLOBAL':
                module, _, inner = arg.partition(' ')
            else:
                inner, module = stack.pop()[2], stack.pop()[2]
            # as both loaders do for files of Python 2
            module, inner = NAME_MAPPING.get((module, inner), (module, inner))
            stack.append((0, 1, _Made(f'{IMPORT_MAPPING.get(module, module)}.{inner}')))
        elif name in ('REDUCE', 'NEWOBJ', 'BUILD'):
            given, made = stack.pop()[2], stack.pop()[2]
            if not isinstance(made, _Made):
                raise pickle.UnpicklingError(f'{name} of what has no name')
            allowed = (_STATES if name == 'BUILD' else _CALLS).get(made) or more.get(made)
            if allowed is None:
                raise pickle.UnpicklingError(f'GLOBAL {made} was not an allowed global by default.')
            if not allowed(*([given] if name == 'BUILD' else given)):
                raise pickle.UnpicklingError(f'{made} of another form')
            stack.append((0, 1, made))
        elif name in ('PERSID', 'BINPERSID'):
            if name == 'BINPERSID':
                stack.pop()
            stack.append((0, 1, None))
        elif not op.stack_before and len(op.stack_after) == 1:
            stack.append((0, 1, arg))  # a constant
        else:
            raise pickle.UnpicklingError(f'opcode {name}')
