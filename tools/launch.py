"""torchrun, whose end is one line: launch.py TORCHRUN_OPTIONS TOOL [arguments]. See launch.sh."""

import logging
import signal
import sys
from typing import NoReturn

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException, SubprocessContext
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from mmscratch.process import stop_signals

# torchrun kills its processes 30 s after a signal. A run may train on for some steps, or validate,
# before it saves. What has sent the signal knows its own limit.
SECONDS_TO_SAVE = 3600

_close = SubprocessContext.close
_signals: list[signal.Signals] = []
# of the processes that signals were passed on to
_statuses: list[int] = []


def close(
    processes: SubprocessContext, death_sig: signal.Signals | None = None, timeout: int = 30
) -> None:
    """End the processes; the first signal that is passed on leaves them time to save.

    Without a signal one of them has failed, and the others may wait for it in vain.
    """
    if death_sig is None:
        return _close(processes, None, timeout)
    _signals.append(death_sig)
    _close(processes, death_sig, timeout if len(_signals) > 1 else SECONDS_TO_SAVE)
    _statuses[:] = [each.proc.wait() for each in processes.subprocess_handlers.values()]


def main() -> None:
    SubprocessContext.close = close  # type: ignore[method-assign, assignment]
    # its tables and tracebacks repeat what the processes have said
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        run.main()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode
        if status > 0:  # the tool has told
            sys.exit(status)
        name = signal.Signals(-status).name
        end(
            f'error: rank {rank} (process {failure.pid}) was killed by {name}, and the others were '
            'stopped: is memory full? --resume goes on from the last checkpoint, if any',
            2,
        )
    except SignalException as stopped:
        # it was passed on; a run that could save has said so
        has_saved = stop_signals.RESUMABLE in _statuses
        status = stop_signals.RESUMABLE if has_saved else stop_signals.INTERRUPTED
        end(f'stopped ({stopped.sigval.name})', status)


def end(line: str, status: int) -> NoReturn:
    print(line, file=sys.stderr, flush=True)
    sys.exit(status)


if __name__ == '__main__':
    main()
