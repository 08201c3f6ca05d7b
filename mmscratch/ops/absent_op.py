"""Operators that ``mmscratch.ops`` does not have."""

from collections.abc import Callable
from typing import NoReturn


def refuse(op: str) -> NoReturn:
    """Say that mmscratch.ops lacks the op, and which package has it."""
    raise NotImplementedError(
        f'{op} is not among the operators of mmscratch.ops; the full mmcv package provides it: '
        'replace mmcv-lite by mmcv, built with its compiled ops for this torch'
    )


def absent_op(name: str) -> Callable[..., NoReturn]:
    """What ``mmcv._ext`` has under every other name: an op that refuses to be called.

    ``mmcv.ops`` imports only if all its ops are there.
    """
    if name.startswith('__'):
        raise AttributeError(f"module 'mmcv._ext' has no attribute {name!r}")

    def op(*args, **kwargs) -> NoReturn:
        refuse(name)

    return op
