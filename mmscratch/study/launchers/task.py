"""A command with a folder of its own, in which it can be stopped and started again."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmscratch.config import work_dir

# Has the seconds of the processes before the present one, and was written when that one started.
BEFORE = 'seconds_before'


@dataclass(frozen=True)
class Task:
    """A tool and its work directory.

    Args:
        folder: the work directory. ``output.log`` in it has what the newest process printed.
        command: gives the command. It is called at each start, since a run that is started again
            goes on from its last checkpoint. Slurm needs one that can be pickled.
    """

    folder: Path
    command: Callable[[], list[str]]

    @property
    def log(self) -> Path:
        """What the newest process printed."""
        return self.folder / 'output.log'

    def start(self, **options: Any) -> subprocess.Popen:
        """Start the process, with ``options`` of ``subprocess.Popen``.

        A folder without a checkpoint to go on from is emptied: what a stopped process left there
        would be in the way.
        """
        before = self.seconds()
        if not work_dir.saved_checkpoints(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open('w') as log:
            (self.folder / BEFORE).write_text(f'{before:.1f}\n')
            return subprocess.Popen(self.command(), stdout=log, stderr=subprocess.STDOUT, **options)

    def note_end(self) -> None:
        """Note that its process has ended just now."""
        self.log.touch()

    def seconds(self) -> float:
        """What its processes took together; an end that nobody noted is that of the output."""
        file = self.folder / BEFORE
        if not file.exists():
            return 0.0
        last = self.log.stat().st_mtime - file.stat().st_mtime
        return float(file.read_text()) + max(0.0, last)

    def fault(self, status: int) -> str:
        """Why its process failed: the signal or the last line that it printed; '' for status 0."""
        if not status:
            return ''
        if status == -signal.SIGKILL:
            return f'killed, probably for lack of memory: give fewer --jobs ({self.folder})'
        lines = self.log.read_text(errors='replace').strip().splitlines()
        return f'{lines[-1] if lines else f"no output, status {status}"} ({self.folder})'
