"""The one kind of error that a user, not a developer, has to put right."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator


class InputError(ValueError):
    """Something the user gave is wrong: a file, a folder, an option or a config.

    The message is a single line that names the file, the value and the cure.
    """


@contextlib.contextmanager
def one_line_errors(interrupted: str = 'interrupted') -> Iterator[None]:
    """Turn an :class:`InputError` into one line on stderr and exit status 2.

    A bug keeps its traceback. An interruption, by Ctrl-C or by the SIGTERM of a batch system, ends
    with the line ``interrupted`` and status 130, and with all worker processes: those of a process
    that SIGTERM kills at once may wait for it for ever.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except InputError as error:
        print(f'error: {error}', file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr, flush=True)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)


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
