"""The one kind of error that a user, not a developer, has to put right."""

import contextlib
import sys
from collections.abc import Iterator


class InputError(ValueError):
    """Something the user gave is wrong: a file, a folder, an option or a config.

    The message is a single line that names the file, the value and the cure.
    """


@contextlib.contextmanager
def one_line_errors(interrupted: str = 'interrupted') -> Iterator[None]:
    """Turn an :class:`InputError` into one line on stderr and exit status 2.

    A bug keeps its traceback. An interruption (Ctrl-C) ends with the line ``interrupted`` and
    status 130.
    """
    try:
        yield
    except InputError as error:
        print(f'error: {error}', file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr, flush=True)
        sys.exit(130)
