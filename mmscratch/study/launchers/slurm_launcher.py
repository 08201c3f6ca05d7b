"""Jobs of Slurm, by submitit."""

import contextlib
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmscratch.errors import InputError
from mmscratch.process import stop_signals
from mmscratch.study.launchers.task import Task

# Beside the work directories: submitit's files, and what job each task has.
FOLDER = 'slurm'
MINUTES = 240
# The time limit may end a run that often: it is put into the queue again.
MOST_TIMEOUTS = 20
# Exit status of a tool that was stopped by a signal
STOPPED = (stop_signals.RESUMABLE, stop_signals.INTERRUPTED, -signal.SIGTERM)
# Within this time Slurm ends a job that it has sent SIGTERM, or puts it into the queue again.
GRACE_SECONDS = 120


def job_file(task: Task) -> Path:
    """Has the job of a task from its submission until the study has noted its end."""
    return task.folder.parent / FOLDER / f'{task.folder.name}.pkl'


class SlurmJob:
    """What a job does. Preempted, it stops its process and is put into the queue again."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Run the task, and return its exit status."""
        # the job before this one may not have ended yet: it was cancelled just now, or the study
        # was killed before it had noted the job
        with job_file(self.task).with_suffix('.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._process = self.task.start(
                pass_fds=[lock.fileno()],
                # Slurm sends signals to all processes of a job; this one is for submitit
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
            )
            try:
                status = self._process.wait()
            finally:
                self._process.terminate()
                self.task.note_end()
        if status in STOPPED:
            # not the end of the run: Slurm stops this job
            time.sleep(GRACE_SECONDS)
        return status

    def checkpoint(self) -> Any:
        """Stop the process; submitit calls this before the job goes into the queue again."""
        from submitit.helpers import DelayedSubmission

        if self._process:
            self._process.terminate()
            # not Popen.wait, which this signal has interrupted
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process.pid, 0)
        return DelayedSubmission(SlurmJob(self.task))


@dataclass
class SlurmLauncher:
    """A job for each task; those that are ready at the same time are one array.

    Jobs outlive the study. Started again, it knows them and submits none twice. A preempted job
    goes on from its last checkpoint.

    Args:
        partition: where the jobs go.
        options: of sbatch, without dashes, such as ``{'gres': 'gpu:1'}``. ``time`` is in minutes.
        jobs: in the queue or running at a time.
        cluster: ``local`` takes processes of this machine in the place of Slurm, for tests.
    """

    partition: str
    options: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 16
    cluster: str = 'slurm'
    _running: dict[Task, Any] = field(default_factory=dict, init=False)

    def start(self, tasks: Sequence[Task], lock: int) -> None:
        """Submit the tasks that have no job yet.

        Raises:
            InputError: no submitit, or no Slurm.
        """
        known = {task: job for task in tasks if (job := self._known(task))}
        self._running |= known
        if new := [task for task in tasks if task not in known]:
            executor = self._executor(new[0].folder.parent / FOLDER)
            with executor.batch():
                jobs = [executor.submit(SlurmJob(task)) for task in new]
            for task, job in zip(new, jobs):
                job_file(task).write_bytes(pickle.dumps(job))
                self._running[task] = job

    def _known(self, task: Task) -> Any:
        """The job that an earlier study has submitted, unless it failed or was cancelled."""
        if not job_file(task).exists():
            return None
        _import_submitit()
        job = pickle.loads(job_file(task).read_bytes())
        return None if job.done(force_check=True) and self._fault(task, job) else job

    def _executor(self, folder: Path) -> Any:
        submitit = _import_submitit()
        extra = dict(self.options)
        minutes = extra.pop('time', str(MINUTES))
        if not minutes.isdecimal():
            raise InputError(f'--slurm-options time={minutes}: give a whole number of minutes')
        try:
            executor = submitit.AutoExecutor(
                folder, self.cluster, slurm_max_num_timeout=MOST_TIMEOUTS
            )
        except RuntimeError as error:  # submitit found no srun
            raise InputError(f'--slurm: {error} Run this where sbatch works') from None
        executor.update_parameters(
            name='study',
            timeout_min=int(minutes),
            slurm_partition=self.partition,
            slurm_additional_parameters=extra,
        )
        return executor

    def ended(self) -> list[tuple[Task, str]]:
        """The tasks whose job ended."""
        ended = [(task, job) for task, job in self._running.items() if job.done()]
        faults = [(task, self._fault(task, job)) for task, job in ended]
        for task, _ in ended:
            del self._running[task]
            job_file(task).unlink()
        return faults

    def _fault(self, task: Task, job: Any) -> str:
        submitit = _import_submitit()
        try:
            return task.fault(job.result())
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
            return f'job {job.job_id} of Slurm: {job.state}; see {job.paths.stderr}'

    def stop(self) -> None:
        """Cancel the jobs."""
        for task, job in self._running.items():
            job.cancel(check=False)
            job_file(task).unlink()
        self._running.clear()

    def leave(self) -> None:
        """Leave the jobs to Slurm, and say so."""
        if self._running:
            numbers = ' '.join(job.job_id for job in self._running.values())
            print(
                f'the jobs stay in Slurm, and the same command goes on with them; to end them: '
                f'scancel {numbers}',
                file=sys.stderr,
            )
        self._running.clear()


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise InputError(
            '--slurm needs submitit, which is not installed: pip install "submitit>=1.5,<2"'
        ) from None
    return submitit
