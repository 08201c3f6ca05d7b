"""Processes of this machine, which share its cores."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmscratch.errors import InputError
from mmscratch.process import cpu_threads
from mmscratch.study.launchers.slurm_launcher import job_file
from mmscratch.study.launchers.task import Task

# A process that hangs gets no more than this to end.
GRACE_SECONDS = 60


@dataclass
class LocalLauncher:
    """Several processes at a time, each with its share of the cores.

    Args:
        jobs: processes at a time.
    """

    jobs: int = 1
    _running: dict[Task, subprocess.Popen] = field(default_factory=dict, init=False)

    def start(self, tasks: Sequence[Task], lock: int) -> None:
        """Start a process of each task.

        The processes inherit ``lock``, which is held as long as one of them lives.

        Raises:
            InputError: Slurm has a job of a task.
        """
        for task in tasks:
            if job_file(task).exists():
                raise InputError(
                    f'{job_file(task)}: Slurm has a job of this run; go on with --slurm, or end '
                    'the job and remove this file'
                )
            self._running[task] = task.start(env=self._environment(task), pass_fds=[lock])

    def _environment(self, task: Task) -> dict[str, str]:
        """That of a new process. ``OMP_NUM_THREADS`` wins, if it is set."""
        threads = max(1, cpu_threads.cores() // self.jobs)
        return {'OMP_NUM_THREADS': str(threads)} | os.environ

    def ended(self) -> list[tuple[Task, str]]:
        """The tasks whose process ended."""
        ended = [
            (task, status)
            for task, process in self._running.items()
            if (status := process.poll()) is not None
        ]
        for task, _ in ended:
            del self._running[task]
            task.note_end()
        return [(task, task.fault(status)) for task, status in ended]

    def stop(self) -> None:
        """End the processes, and wait for their end."""
        for process in self._running.values():
            process.terminate()
        for task, process in self._running.items():
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            task.note_end()
        self._running.clear()

    leave = stop
