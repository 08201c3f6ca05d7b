"""The one kind of error that a user, not a developer, has to put right."""

import contextlib
import signal
import sys
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
