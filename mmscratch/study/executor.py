"""Trains the runs of a study that have no result yet: several at a time, each by itself."""

import contextlib
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from mmscratch.config import work_dir
from mmscratch.errors import InputError
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar
from mmscratch.study.launchers.launcher import Launcher
from mmscratch.study.launchers.local_launcher import LocalLauncher
from mmscratch.study.launchers.task import Task
from mmscratch.study.run import Run, folder_name, in_order

# Runs that ended, each with its fault; '' for one that has a result
Ends = Sequence[tuple[Run, str]]
TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@dataclass
class Executor:
    """Trains runs and leaves one small JSON file of each.

    Stopped, it goes on where it was: finished runs are recognized by their key, others continue
    from their last checkpoint. A run that fails stops only those that need it.

    Args:
        results: folder of the JSON files.
        work_dirs: parent of the work directories; those that no run needs any more are removed.
        launcher: starts the processes, by default one at a time on this machine.
    """

    results: Path
    work_dirs: Path
    launcher: Launcher = field(default_factory=LocalLauncher)
    _running: dict[Path, Run] = field(default_factory=dict, init=False)
    _lock: IO[str] | None = field(default=None, init=False)

    def execute(
        self,
        runs: Sequence[Run],
        seconds: float = math.inf,
        watch: Callable[[Ends], object] = lambda ends: None,
    ) -> dict[str, str]:
        """Train the missing ones of ``runs`` and of the runs that these need.

        Args:
            runs: in the order of their turns.
            seconds: after so many all runs are stopped; they can go on later.
            watch: is called now and then with the runs that ended since.

        Returns:
            Label -> fault of each run that failed.

        Raises:
            InputError: another executor trains in these folders.
        """
        waiting = self.missing(runs)
        failed: dict[str, str] = {}
        stop = time.monotonic() + seconds
        total, runs_in_all = sum(run.iterations for run in waiting), len(waiting)
        # the time left by the mean rate: runs start and validate in between
        with self.locked(), ProgressBar(total=total, desc='iterations', smoothing=0) as progress:
            try:
                while (waiting or self._running) and time.monotonic() < stop:
                    ended = self._collect(failed)
                    # before watch is called, which may take seconds
                    ended += self._start(waiting, failed)
                    watch([(run, failed.get(run.label, '')) for run in ended])
                    running = self._running.values()
                    left = sum(run.iterations for run in (*waiting, *running))
                    left -= sum(run.logged(folder) for folder, run in self._running.items())
                    progress.update(total - left - progress.n)
                    done = runs_in_all - len(waiting) - len(running)
                    labels = ' '.join(run.label for run in running)
                    progress.set_postfix_str(f'{done} of {runs_in_all} runs; {labels}', False)
                    time.sleep(0.5)
                self.launcher.stop()
            finally:
                # without effect on jobs that were stopped
                self.launcher.leave()
                self._running.clear()
        return failed

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second executor from writing into the same checkpoints. It may be nested.

        Runs inherit the lock: it is held as long as one of them lives, even if this process was
        killed.

        Raises:
            InputError: another executor holds it.
        """
        if self._lock:
            yield
            return
        self.work_dirs.mkdir(parents=True, exist_ok=True)
        with (self.work_dirs / 'lock').open('w') as self._lock:
            try:
                work_dir.take(
                    self._lock,
                    f'{self.work_dirs}: runs of this folder are being trained; wait for their end, '
                    'or stop them',
                )
                yield
            finally:
                self._lock = None

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        """The runs to train, in order: without a result, or without a checkpoint that is needed."""
        wanted: dict[str, Run] = {}
        for run in reversed(in_order(runs)):
            needed = [later for later in wanted.values() if run in later.needs]
            lost = any(not self._checkpoint(run, later).exists() for later in needed)
            if run.result(self.results) is None or lost:
                wanted[run.label] = run
        return [run for run in in_order(runs) if run.label in wanted]

    def folder(self, run: Run) -> Path:
        """The work directory of a run."""
        return _folder(self.work_dirs, run)

    def _checkpoint(self, run: Run, later: Run) -> Path:
        """What ``later`` takes from ``run``."""
        return self.folder(run) / run.output(later)

    def _start(self, waiting: list[Run], failed: dict[str, str]) -> list[Run]:
        """Start what is ready. The runs that cannot be, since one that they need failed."""
        unfinished = {run.label for run in (*waiting, *self._running.values())}
        ready, lost = [], []
        for run in list(waiting):
            broken = [need.label for need in run.needs if need.label in failed]
            free = len(self._running) < self.launcher.jobs
            if broken:
                failed[run.label] = f'it needs {broken[0]}, which failed'
                waiting.remove(run)
                lost.append(run)
            elif free and not unfinished & {need.label for need in run.needs}:
                waiting.remove(run)
                ready.append(self._task(run))
                self._running[self.folder(run)] = run
        assert self._lock
        self.launcher.start(ready, self._lock.fileno())
        return lost

    def _task(self, run: Run) -> Task:
        return Task(self.folder(run), partial(_command, run, self.work_dirs))

    def _collect(self, failed: dict[str, str]) -> list[Run]:
        """The runs that ended since the last call; ``failed`` gets the faults of some."""
        ended = []
        for task, fault in self.launcher.ended():
            run = self._running.pop(task.folder)
            try:
                if fault:
                    raise InputError(fault)
                self._write_result(run)
            except InputError as error:
                failed[run.label] = str(error)
            ended.append(run)
        return ended

    def _write_result(self, run: Run) -> None:
        result = dict(
            name=run.name,
            key=run.key,
            options=dict(run.options),
            begins_with=[need.label for need in run.needs],
            begin=run.begin,
            # of all its processes, if it was stopped and went on; their starts included
            process_seconds=round(self._task(run).seconds(), 1),
            **run.record(self.folder(run)),
        )
        self.results.mkdir(parents=True, exist_ok=True)
        file = self.results / f'{run.label}.json'
        whole_file.write(file, json.dumps(result, indent=1) + '\n')

    def tidy(self, runs: Sequence[Run], kept: Sequence[Run] = ()) -> None:
        """Remove the work directories of finished runs that no missing run needs, logs included.

        Those of ``kept`` stay.
        """
        needed = {need.label for run in self.missing(runs) for need in run.needs}
        needed |= {run.label for run in kept}
        for run in in_order(runs):
            if run.result(self.results) is not None and run.label not in needed:
                shutil.rmtree(self.folder(run), ignore_errors=True)


def _folder(work_dirs: Path, run: Run) -> Path:
    return work_dirs / folder_name(run.name, run.seed, run.key)


def _command(run: Run, work_dirs: Path) -> list[str]:
    """The whole command; a job of Slurm calls this when it starts."""
    tool, *options = run.command(partial(_folder, work_dirs))
    return [sys.executable, str(TOOLS / tool), *options]
