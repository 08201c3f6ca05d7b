"""What ends a tool: one line for what the user can put right, a traceback for a bug."""

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1]
_OUT_OF_MEMORY = 'OutOfMemoryError'  # torch's, which need not be imported for it
_LONGEST = 500  # characters of another package's message
# how torch's loader passes on the error of a worker: its traceback as the message
_FROM_WORKER = 'Original Traceback (most recent call last):'
_FRAME = re.compile(r'^  File "(.+?)", line', re.MULTILINE)


class InputError(ValueError):
    """Something the user gave is wrong: a file, a folder, an option or a config.

    The message is a single line that names the file, the value and the cure.
    """


@contextlib.contextmanager
def one_line_errors(interrupted: str = 'interrupted') -> Iterator[None]:
    """Turn what the user has to put right into one line on stderr and exit status 2.

    That is an :class:`InputError`; an error that a library raised, since it was asked for something
    that it cannot do; and an error of the operating system. The traceback of the latter two goes to
    the run's log, which the line names. A bug of this project (:func:`is_bug`) keeps its traceback
    on stderr.

    An interruption, by Ctrl-C or by the SIGTERM of a batch system, ends with the line
    ``interrupted`` and status 130, and with all worker processes: those of a process that SIGTERM
    kills at once may wait for it for ever.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr, flush=True)
        sys.exit(130)
    except Exception as error:
        if is_bug(error):
            raise
        line = f'error: {describe(error)}'
        if not isinstance(error, InputError):
            file = _log_traceback() or _save_traceback()
            line += f' ({_place(error)}); the traceback is in {file}'
        elif error.__cause__ or _FROM_WORKER in str(error):
            # a library's error that was given its file or option: the line says enough
            _log_traceback()
        print(line, file=sys.stderr, flush=True)
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, before)


def is_bug(error: BaseException) -> bool:
    """Whether code of this project raised the error, and not on purpose.

    The innermost frame that is not of Python's own library decides: it is this project's, or that
    of an installed package. Errors of the operating system and of exhausted memory are no bugs,
    wherever they come from.
    """
    if isinstance(error, InputError | OSError | MemoryError | ImportError):
        return False
    if type(error).__name__ == _OUT_OF_MEMORY:
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
    """The error in one line; before it its kind, if it is not an :class:`InputError`."""
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
    if kind == _OUT_OF_MEMORY:
        return f'{text}; take fewer or smaller images at a time (train_dataloader.batch_size)'
    return f'{kind}: {text}' if text else kind


def _place(error: BaseException) -> str:
    """The innermost frame, in a form that does not name the machine's folders."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    file = frame.filename.rpartition('site-packages/')[2]
    return f'raised in {file}, line {frame.lineno}, {frame.name}'


def _log_traceback() -> str | None:
    """Write the traceback that is being handled to the run's log; return the log's name, if any."""
    from mmengine.logging import MMLogger

    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            text = traceback.format_exc()
            handler.emit(logging.LogRecord('mmscratch', logging.ERROR, '', 0, text, None, None))
            return handler.baseFilename
    return None


def _save_traceback() -> str:
    """Write the traceback that is being handled to a temporary file, and return its name."""
    with tempfile.NamedTemporaryFile('w', prefix='mmscratch-', suffix='.log', delete=False) as file:
        file.write(traceback.format_exc())
    return file.name


# Workers that are forked have to die of SIGTERM, as without the handler that they inherit: Python
# forgets a signal that is caught while it forks, and drops an exception that is raised then, so
# that a pool that ends at once would wait for its workers for ever. Until the fork is over,
# SIGTERM is held back.


def _hold_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm_in_parent() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        except KeyboardInterrupt:  # would be dropped here
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()


def _release_sigterm_in_child() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


os.register_at_fork(
    before=_hold_sigterm,
    after_in_parent=_release_sigterm_in_parent,
    after_in_child=_release_sigterm_in_child,
)
