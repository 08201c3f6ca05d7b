"""How a tool ends: with one line for an error that users can fix, with a traceback for a bug."""

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from mmscratch.process import stop_signals

_PROJECT = Path(__file__).resolve().parents[1]
_OUT_OF_MEMORY = 'OutOfMemoryError'  # torch's; its name saves the import of torch
# what torch's loader says -> a cure
_LOADER = {
    'DataLoader timed out': 'a worker hangs; see to the disk of the images, or give it more time: '
    'train_dataloader.timeout, in seconds',
    'DataLoader worker (pid': 'is memory or shared memory (/dev/shm) full? Take fewer workers: '
    'train_dataloader.num_workers',
}
_LONGEST = 500  # characters of another package's message
# torch's loader gives the traceback of a worker as the message of its error
_FROM_WORKER = 'Original Traceback (most recent call last):'
_FRAME = re.compile(r'^  File "(.+?)", line', re.MULTILINE)


class InputError(ValueError):
    """A fault in what the user gave: a file, a folder, an option or a config.

    The message is a single line that names the file, the value and the cure.
    """


@contextlib.contextmanager
def one_line_errors(interrupted: str = 'interrupted') -> Iterator[None]:
    """End a tool with one line on stderr and exit status 2, unless the error is a bug.

    An :class:`InputError` is that line. For the error of a library or of the operating system the
    line also names the run's log, which has the traceback. A bug of this project (:func:`is_bug`)
    keeps its traceback on stderr.

    A signal (:mod:`mmscratch.process.stop_signals`) ends the tool with the line ``interrupted`` and
    status 130, or, if a run has saved its last step, with that line and status 75. Its worker
    processes, which might wait for ever for a killed tool, end with it.
    """
    with stop_signals.handled():
        try:
            yield
        except stop_signals.Stopped as stopped:
            _end(str(stopped), stop_signals.RESUMABLE)
        except KeyboardInterrupt:
            _end(interrupted, stop_signals.INTERRUPTED)
        except Exception as error:
            if stop_signals.is_ending():  # what the interruption broke on its way
                _end(interrupted, stop_signals.INTERRUPTED)
            if is_bug(error):
                raise
            line = f'error: {describe(error)}'
            if not isinstance(error, InputError):
                file = _log_traceback() or _save_traceback()
                frame = traceback.extract_tb(error.__traceback__)[-1]
                source = frame.filename.rpartition('site-packages/')[2]
                line += f' (raised in {source}, line {frame.lineno}, {frame.name})'
                line += f'; the traceback is in {file}'
            elif error.__cause__ or _FROM_WORKER in str(error):
                # the line says enough; the log gets the traceback of the library's error
                _log_traceback()
            _end(line, 2)


def _end(line: str, status: int) -> NoReturn:
    if line:
        print(line, file=sys.stderr, flush=True)
    # one that hangs would be waited for; of a killed one torch would tell with a traceback
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()
    torch = sys.modules.get('torch')
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        # see mmscratch.config.distributed.leave
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def is_bug(error: BaseException) -> bool:
    """Whether the error is a mistake in the code of this project.

    The innermost frame outside of Python's own library decides: it belongs to this project or to an
    installed package. An error of the operating system, and a lack of memory, are never bugs.
    """
    if isinstance(error, InputError | OSError | MemoryError | ImportError):
        return False
    if type(error).__name__ == _OUT_OF_MEMORY or str(error).startswith(tuple(_LOADER)):
        return False
    # a loader's worker sends its traceback as text
    files = _FRAME.findall(str(error)) if _FROM_WORKER in str(error) else []
    files = files or [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    for file in map(Path, reversed(files)):
        if file.is_relative_to(_PROJECT / 'mmscratch') or file.is_relative_to(_PROJECT / 'tools'):
            return True
        if 'site-packages' in file.parts:
            return False
    return True


def describe(error: BaseException) -> str:
    """The error in one line. It begins with the kind, unless that is :class:`InputError`."""
    text, kind = str(error), type(error).__name__
    if _FROM_WORKER in text:
        # the lines after the last frame, such as "mmscratch.errors.InputError: ..."
        text = re.split(r'^ .*\n', text.strip(), flags=re.MULTILINE)[-1]
        kind, _, text = text.partition(': ')
        kind = kind.rpartition('.')[2]
    text = ' '.join(text.split())
    if len(text) > _LONGEST:
        text = f'{text[:_LONGEST]} ...'
    # OpenCV calls its errors "error", and begins their text with its name
    if kind in (InputError.__name__, 'error'):
        return text
    for begin, cure in _LOADER.items():
        if text.startswith(begin):
            return f'{text.rstrip(".")}: {cure}'
    if kind == _OUT_OF_MEMORY:
        return f'{text}; take fewer or smaller images at a time (train_dataloader.batch_size)'
    return f'{kind}: {text}' if text else kind


def _log_traceback() -> str | None:
    """Write the current traceback to the run's log; return the log's name, None without a log."""
    from mmengine.logging import MMLogger

    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            text = traceback.format_exc()
            handler.emit(logging.LogRecord('mmscratch', logging.ERROR, '', 0, text, None, None))
            return handler.baseFilename
    return None


def _save_traceback() -> str:
    """Write the current traceback to a temporary file, and return its name."""
    with tempfile.NamedTemporaryFile('w', prefix='mmscratch-', suffix='.log', delete=False) as file:
        file.write(traceback.format_exc())
    return file.name
