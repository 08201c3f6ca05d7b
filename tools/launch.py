"""torchrun, whose end is one line: launch.py TORCHRUN_OPTIONS TOOL [arguments]. See launch.sh."""

import logging
import signal
import sys
from typing import NoReturn

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from mmscratch.config import stop_signals


def main() -> None:
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
        end(f'stopped ({stopped.sigval.name})', stop_signals.RESUMABLE)


def end(line: str, status: int) -> NoReturn:
    print(line, file=sys.stderr, flush=True)
    sys.exit(status)


if __name__ == '__main__':
    main()
