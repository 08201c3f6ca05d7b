"""What a signal does to a tool: it ends it at once, or a training run saves first.

Ctrl-C, SIGTERM of a batch system, SIGUSR1 of Slurm's ``--signal`` and SIGHUP of a closed terminal
mean the same. A signal that the caller ignores, as ``nohup`` does SIGHUP, stays ignored.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
# Exit status of a run that has saved its last step: EX_TEMPFAIL of sysexits.h, "try again later".
RESUMABLE = 75
# Exit status of a tool that ended at once.
INTERRUPTED = 130
# Within so many seconds of the first, signals are the same request: a terminal sends Ctrl-C to a
# launcher and to its processes, and the launcher passes it on.
TOGETHER = 3.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None

_received: signal.Signals | None = None
_since = 0.0
_saves = _ending = _is_forking = False
_late: int | None = None


class Stopped(KeyboardInterrupt):
    """A run has saved its last step, on request. The message is a line for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        # a launcher that sees the first process end sends SIGTERM to the others
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handle ``SIGNALS`` within.

    The first raises KeyboardInterrupt, or after :func:`save_first` is noted alone.
    """
    global _received, _saves, _ending
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, _handle)
        yield
    finally:
        _received, _saves, _ending = None, False, False
        for number, handler in before.items():
            signal.signal(number, handler)


def save_first(is_able: bool) -> None:
    """From now on the first signal is a request (:func:`requested`), and a second ends at once.

    Args:
        is_able: False to have the first one end the tool again.
    """
    global _saves
    _saves = is_able


def requested() -> str:
    """The name of the signal that has asked this process to stop, or nothing."""
    return _received.name if _received else ''


def is_ending() -> bool:
    """Whether a signal has raised KeyboardInterrupt."""
    return _ending


def requeue() -> None:
    """Put this job of Slurm into the queue again, and say so on stderr."""
    command = ['scontrol', 'requeue', os.environ['SLURM_JOB_ID']]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        fault = done.stderr.strip() if done.returncode else ''
    except OSError as error:
        fault = str(error)
    said = f'{" ".join(command)}: ' + (fault or 'the job is in the queue again')
    print(said, file=sys.stderr, flush=True)


def _handle(number: int, frame: FrameType | None) -> None:
    global _received, _since, _ending, _late
    if _is_forking:
        _late = number
        return
    now = time.monotonic()
    if _received is None:
        _received, _since = signal.Signals(number), now
        if _saves:
            return
    # a process that is ending anyway is not disturbed
    elif now - _since < TOGETHER:
        return
    _ending = True
    raise KeyboardInterrupt


# A forked worker inherits the handlers. SIGTERM must kill it; the others reach its parent as well,
# which may still need it. The parent may be killed, and then the worker ends too.
# Python forgets a signal that arrives during a fork, and drops an exception that is raised there. A
# pool would then wait for its workers for ever. So the signals are blocked during a fork. Another
# thread may still get them, and then they are handled here nevertheless: those have to wait.


def _is_handled() -> bool:
    return signal.getsignal(signal.SIGTERM) is _handle


def _hold() -> None:
    global _is_forking
    if _is_handled():
        _is_forking = True
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _release_in_parent() -> None:
    global _is_forking, _late
    if _is_handled():
        # those that were blocked come now, and wait too: Python would drop an exception here
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _is_forking = False
        if _late is not None:
            threading.Timer(0.1, os.kill, (os.getpid(), _late)).start()
            _late = None


def _release_in_child() -> None:
    global _is_forking
    if _is_handled():
        _is_forking = False
        for number in SIGNALS:
            is_end = number == signal.SIGTERM
            signal.signal(number, signal.SIG_DFL if is_end else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


os.register_at_fork(
    before=_hold, after_in_parent=_release_in_parent, after_in_child=_release_in_child
)
