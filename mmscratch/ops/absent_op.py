"""Operators that ``mmscratch.ops`` has not."""

from collections.abc import Callable
from typing import NoReturn


def refuse(op: str) -> NoReturn:
    """Say that mmscratch.ops has no such op, and who has."""
    raise NotImplementedError(
        f'{op} is not among the operators of mmscratch.ops; the full mmcv package provides it: '
        'replace mmcv-lite by mmcv, built with its compiled ops for this torch'
    )


def absent_op(name: str) -> Callable[..., NoReturn]:
    """Answer for every other name in ``mmcv._ext``.

    ``mmcv.ops`` imports only if all its ops are there; calling one of these is an error.
    """
    if name.startswith('__'):
        raise AttributeError(f"module 'mmcv._ext' has no attribute {name!r}")

    def op(*args, **kwargs) -> NoReturn:
        refuse(name)

    return op
