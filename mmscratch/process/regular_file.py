"""Opens files of others: those that never end, or never begin, are refused."""

import errno
import os
import stat
from typing import BinaryIO


def open_regular(file: str | os.PathLike) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is no regular file: a pipe would wait for a writer, and a
            device such as ``/dev/zero`` has no end. Links are followed.
    """
    try:
        number = os.open(file, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0))
    except BlockingIOError:  # a file server holds a lease on it
        number = os.open(file, os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, 'it is no regular file', os.fspath(file))
    return os.fdopen(number, 'rb')


def read_bytes(file: str | os.PathLike) -> bytes:
    """The content of a file; the errors are those of :func:`open_regular`."""
    with open_regular(file) as opened:
        return opened.read()
