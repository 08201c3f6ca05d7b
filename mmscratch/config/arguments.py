"""Which keyword arguments a class or function takes, followed through its ``**kwargs``."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

_KEYWORD_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@functools.cache
def accepted_arguments(target: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Names that can be passed by keyword, and whether there are no others.

    A ``**kwargs`` that goes nowhere but into the ``__init__`` of a parent is followed up the
    method resolution order; one that is used otherwise may take any name.
    """
    if not inspect.isclass(target):
        names, rest = _signature(target)
        return names, not rest
    order = [cls for cls in inspect.getmro(target) if cls not in (object, nn.Module)]
    names: frozenset[str] = frozenset()
    while order:
        cls = order.pop(0)
        if '__init__' not in cls.__dict__:
            continue
        own, rest = _signature(cls.__dict__['__init__'])
        names |= own
        if not rest:
            return names - {'self'}, True
        receiver = _receiver(cls.__dict__['__init__'], rest)
        if receiver is None:
            return names - {'self'}, False
        name, skip = receiver
        if name and not (skip and name == cls.__name__):
            later = [parent.__name__ for parent in order]
            if name not in later:
                return names - {'self'}, False
            order = order[later.index(name) + skip :]
    return names - {'self'}, issubclass(target, nn.Module)


def _signature(function: Callable[..., Any]) -> tuple[frozenset[str], str]:
    """Its named arguments, and the name of its ``**kwargs``, '' without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # Some built-ins have none.
        return frozenset(), 'kwargs'
    rest = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD]
    return frozenset(p.name for p in parameters if p.kind in _KEYWORD_KINDS), ''.join(rest)


def _receiver(function: Callable[..., Any], kwargs: str) -> tuple[str, bool] | None:
    """Whose ``__init__`` gets `kwargs`, if that is their only use, else None.

    (Name, False) is that class, (Name, True) the one after it in the method resolution order,
    ('', False) the one after the function's own.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return None
    if sum(isinstance(node, ast.Name) and node.id == kwargs for node in ast.walk(tree)) != 1:
        return None
    for call in _init_calls(tree):
        passed = [keyword.value for keyword in call.keywords if keyword.arg is None]
        if any(isinstance(value, ast.Name) and value.id == kwargs for value in passed):
            owner = call.func.value
            if isinstance(owner, ast.Name):
                return owner.id, False
            if isinstance(owner, ast.Call) and getattr(owner.func, 'id', '') == 'super':
                return (ast.unparse(owner.args[0]), True) if owner.args else ('', False)
    return None


def _init_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == '__init__':
            yield node
