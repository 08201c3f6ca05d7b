"""What the executor of a study asks of a launcher."""

from collections.abc import Sequence
from typing import Protocol

from mmscratch.study.launchers.task import Task


class Launcher(Protocol):
    """Starts tasks as processes, and tells which have ended.

    Attributes:
        jobs: tasks at a time; the executor starts no more.
    """

    jobs: int

    def start(self, tasks: Sequence[Task], lock: int) -> None:
        """Start tasks; a process on this machine keeps the file descriptor ``lock`` open."""

    def ended(self) -> list[tuple[Task, str]]:
        """The tasks that ended since the last call, each with its fault; '' for success."""

    def stop(self) -> None:
        """End the running tasks. They can be started again, and go on."""

    def leave(self) -> None:
        """The study is interrupted: end the running tasks, or leave them to Slurm."""
