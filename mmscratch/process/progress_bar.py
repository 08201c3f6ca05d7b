"""Progress of long work: a bar on a terminal, a line every half a minute in a file."""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

_SECONDS = 30  # between two lines in a file


class ProgressBar(tqdm):
    """``tqdm``; where standard error is no terminal, a line every half a minute, with the ETA.

    Work that takes less than half a minute writes no line.

    Args:
        kwargs: those of ``tqdm``.

    Example::

        for path in ProgressBar(paths, 'decoding images'):
            ...
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not sys.stderr.isatty():
            kwargs |= dict(
                mininterval=_SECONDS,
                maxinterval=_SECONDS,
                delay=_SECONDS,
                leave=True,
                bar_format='{desc}: {n_fmt}/{total_fmt} after {elapsed}, {remaining} left{postfix}',
            )
        super().__init__(*args, **kwargs)

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """What writes the bar's text to the file."""
        if file.isatty():
            return tqdm.status_printer(file)
        return lambda text: print(text, file=file, flush=True)
