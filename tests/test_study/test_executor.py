"""Executors and launchers, on runs that take no time."""

import argparse
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cloudpickle
import pytest

from mmscratch.errors import InputError
from mmscratch.study import launchers
from mmscratch.study.executor import Executor
from mmscratch.study.launchers import (
    GpuLauncher,
    LocalLauncher,
    SlurmLauncher,
    Task,
    slurm_launcher,
)
from mmscratch.study.launchers.gpu_launcher import visible_gpus
from mmscratch.study.launchers.task import BEFORE
from mmscratch.study.run import Data, Run

# the jobs of Slurm cannot import this file
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TOOL = 'import sys; from pathlib import Path; folder = Path(sys.argv[2]); exec(sys.argv[1])'
# notes its process, saves a checkpoint, and hangs if there was none
RESUMABLE = (
    'import os, time; last = folder / "last_checkpoint"; again = last.exists(); '
    'print(os.getpid(), file=(folder / "processes").open("a"), flush=True); '
    '(folder / "iter_1.pth").touch(); last.write_text("iter_1.pth"); again or time.sleep(600)'
)


@dataclasses.dataclass(frozen=True)
class Line(Run):
    """A line of Python in the place of a training."""

    tool: str = ''
    line: str = 'pass'
    iterations: int = 1

    @property
    def key(self) -> str:
        return self.name

    def command(self, folder) -> list[str]:
        return [self.tool, self.line, str(folder(self))]

    def output(self, later: Run) -> str:
        return 'output.log'

    def record(self, folder: Path) -> dict:
        return dict(said=(folder / 'output.log').read_text().strip())


@pytest.fixture
def run_of(tmp_path):
    (tmp_path / 'tool.py').write_text(TOOL)
    tool, data = str(tmp_path / 'tool.py'), Data('none', '')
    return lambda name, line, **needs: Line(name, '', 0, data, tool=tool, line=line, **needs)


def slurm() -> SlurmLauncher:
    return SlurmLauncher('none', cluster='local')


def executor(folder: Path, launcher: launchers.Launcher) -> Executor:
    return Executor(folder / 'results', folder / 'work_dirs', launcher)


def test_runs_wait_for_what_they_need_and_faults_are_told(tmp_path, run_of):
    first = run_of('first', 'print(1)')
    second = run_of('second', 'print(2)', weights=first)
    broken = run_of('broken', 'print("before"); sys.exit("no such weights")')
    later = run_of('later', 'print(3)', weights=broken)
    ended = []
    study = executor(tmp_path, LocalLauncher(2))
    failed = study.execute([second, later], watch=ended.extend)
    assert set(failed) == {'broken_seed0', 'later_seed0'}
    assert failed['broken_seed0'].startswith('no such weights (')
    assert failed['later_seed0'] == 'it needs broken_seed0, which failed'
    faults = {run.label: fault for run, fault in ended}
    assert faults == {'first_seed0': '', 'second_seed0': ''} | failed
    assert first.result(study.results)['said'] == '1'
    assert study.missing([second, later]) == [broken, later]


def test_the_next_run_starts_before_the_end_of_another_is_told(tmp_path, run_of):
    study = executor(tmp_path, LocalLauncher(1))
    first, second = run_of('first', ''), run_of('second', '')
    started = {}

    def watch(ends):
        started.update({run: study.folder(second).exists() for run, _ in ends})

    study.execute([first, second], watch=watch)
    assert started == {first: True, second: True}


def test_the_progress_counts_iterations_of_runs_that_go_on(tmp_path, run_of):
    run = run_of('branch', '', begin=30, iterations=20)
    assert run.logged(tmp_path) == 0
    for start, lines in ('a', '{"step": 30}\n{"step": 35}\n'), ('b', '{"step": 40}\n{"st'):
        (tmp_path / start / 'vis_data').mkdir(parents=True)
        (tmp_path / start / 'vis_data' / 'scalars.json').write_text(lines)
    assert run.logged(tmp_path) == 10
    # resumed from a checkpoint before the last lines
    (tmp_path / 'c/vis_data').mkdir(parents=True)
    (tmp_path / 'c/vis_data/scalars.json').write_text('{"step": 36, "loss": 1.0}\n')
    assert run.logged(tmp_path) == 6


def test_the_end_of_the_time_stops_runs_that_go_on_later(tmp_path, run_of, monkeypatch):
    run = run_of('long', RESUMABLE)
    study = executor(tmp_path, LocalLauncher())
    file = study.folder(run) / 'last_checkpoint'
    # time stands still until there is a checkpoint
    now = 'mmscratch.study.executor.time.monotonic'
    with monkeypatch.context() as patch:
        patch.setattr(now, lambda: 10.0 if file.exists() and file.read_text() else 0.0)
        assert study.execute([run], seconds=5) == {}
    assert run.result(study.results) is None
    [process] = map(int, (study.folder(run) / 'processes').read_text().split())
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert study.execute([run]) == {}
    assert run.result(study.results)
    assert len((study.folder(run) / 'processes').read_text().split()) == 2


def test_a_folder_without_a_checkpoint_is_emptied(tmp_path):
    """A stopped run may have left its validations, which the tool takes for another run."""
    task = Task(tmp_path / 'run', partial(list, [sys.executable, '-c', '']))
    task.folder.mkdir()
    (task.folder / 'metrics.json').touch()
    # MMEngine removes an older checkpoint before it has saved a newer one
    (task.folder / 'last_checkpoint').write_text('iter_1.pth')
    assert task.start().wait() == 0
    assert {file.name for file in task.folder.iterdir()} == {'output.log', BEFORE}


def test_a_process_that_was_killed_is_told(tmp_path):
    task = Task(tmp_path, list)
    task.log.write_text('Iter(train) [ 90/610] loss: 0.81\n')
    assert task.fault(-signal.SIGKILL).startswith('killed, probably for lack of memory')
    assert task.fault(1).startswith('Iter(train)')


def test_the_seconds_of_all_processes_are_added(tmp_path):
    task = Task(tmp_path / 'run', partial(list, [sys.executable, '-c', '']))
    assert task.seconds() == 0
    assert task.start().wait() == 0
    os.utime(task.folder / BEFORE, (1000, 1000))
    os.utime(task.log, (1012, 1012))
    assert task.seconds() == 12
    assert task.start().wait() == 0
    os.utime(task.folder / BEFORE, (5000, 5000))
    os.utime(task.log, (5030, 5030))
    assert task.seconds() == 42


def test_nobody_else_trains_in_the_same_folders(tmp_path):
    first, second = (executor(tmp_path, LocalLauncher()) for _ in range(2))
    with first.locked():
        child = subprocess.Popen(['sleep', '60'], pass_fds=[first._lock.fileno()])
    with pytest.raises(InputError, match='being trained'):
        second.execute([])
    child.kill()
    child.wait()
    assert second.execute([]) == {}


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def flock(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr('fcntl.flock', flock)
    assert executor(tmp_path, LocalLauncher()).execute([]) == {}
    assert 'lock: cannot be locked (No locks available)' in capsys.readouterr().err


def test_processes_are_spread_over_gpus_and_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr('mmscratch.process.cpu_threads.cores', lambda: 6)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    show = 'import os; print(*map(os.environ.get, ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")))'
    command = partial(list, [sys.executable, '-c', show])
    tasks = [Task(tmp_path / str(n), command) for n in range(3)]
    launcher = GpuLauncher(3, ['2', '5'])
    launcher.start(tasks, 0)
    for process in launcher._running.values():
        process.wait()
    assert launcher.ended() == [(task, '') for task in tasks]
    assert [task.log.read_text().strip() for task in tasks] == ['2 2', '5 2', '2 2']


@pytest.mark.parametrize(
    ('count', 'variable', 'names'),
    [(0, None, []), (0, '', []), (2, None, ['0', '1']), (2, '4,6', ['4', '6']), (1, '4,6', ['4'])],
)
def test_visible_gpus_have_the_names_that_cuda_knows(monkeypatch, count, variable, names):
    monkeypatch.setattr('torch.cuda.device_count', lambda: count)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if variable is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', variable)
    assert visible_gpus() == names


def test_an_interrupted_study_finds_its_slurm_jobs(tmp_path, run_of, monkeypatch, capsys):
    """submitit's processes on this machine stand in for Slurm."""
    wait = (
        'import time\nprint(1, file=(folder.parent / "started").open("a"), flush=True)\n'
        'while not (folder.parent / "go").exists(): time.sleep(0.1)'
    )
    runs = [run_of('long', wait), run_of('broken', 'sys.exit("no such weights")')]
    started = tmp_path / 'work_dirs' / 'started'

    sleep = time.sleep

    def interrupt(seconds):
        if started.exists():
            raise KeyboardInterrupt
        sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr('mmscratch.study.executor.time.sleep', interrupt)
        with pytest.raises(KeyboardInterrupt):
            executor(tmp_path, slurm()).execute(runs)
    assert 'the jobs stay in Slurm' in capsys.readouterr().err
    with pytest.raises(InputError, match='Slurm has a job of this run'):
        executor(tmp_path, LocalLauncher()).execute(runs)
    (tmp_path / 'work_dirs' / 'go').touch()
    again = executor(tmp_path, slurm())
    failed = again.execute(runs)
    assert set(failed) == {'broken_seed0'}
    assert failed['broken_seed0'].startswith('no such weights (')
    assert runs[0].result(again.results)
    assert started.read_text() == '1\n'
    assert not list((tmp_path / 'work_dirs' / 'slurm').glob('*_seed0_*.pkl'))


def test_a_preempted_job_goes_on_from_its_checkpoint(tmp_path, run_of):
    # the process preempts its own job, by the signal of Slurm
    preempt = f'again or os.kill(os.getppid(), {int(signal.SIGUSR2)}); '
    at = RESUMABLE.index('again or')
    run = run_of('preempted', RESUMABLE[:at] + preempt + RESUMABLE[at:])
    study = executor(tmp_path, slurm())
    assert study.execute([run]) == {}
    assert len((study.folder(run) / 'processes').read_text().split()) == 2


def test_what_is_ready_is_one_array_of_slurm(tmp_path, monkeypatch):
    """sbatch and srun are imitated."""
    bin_ = tmp_path / 'bin'
    bin_.mkdir()
    for name, line in (
        ('srun', 'exit 1'),
        ('sbatch', f'cat "$1" > {tmp_path}/script; echo Submitted batch job 12'),
    ):
        (bin_ / name).write_text(f'#!/bin/sh\n{line}\n')
        (bin_ / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{bin_}:{os.environ["PATH"]}')
    launcher = SlurmLauncher('gpu', {'gres': 'gpu:1', 'time': '90'})
    tasks = [Task(tmp_path / name, partial(list, ['true'])) for name in ('a', 'b')]
    launcher.start(tasks, 0)
    script = (tmp_path / 'script').read_text()
    for option in ('partition=gpu', 'gres=gpu:1', 'time=90', 'array=0-1%2'):
        assert f'#SBATCH --{option}\n' in script
    assert [job.job_id for job in launcher._running.values()] == ['12_0', '12_1']
    assert all(slurm_launcher.job_file(task).exists() for task in tasks)


def parsed(*arguments: str) -> launchers.Launcher:
    parser = argparse.ArgumentParser()
    launchers.add_options(parser)
    return launchers.from_options(parser.parse_args(arguments))


def test_options_choose_the_launcher(monkeypatch):
    visible = 'mmscratch.study.launchers.options.visible_gpus'
    monkeypatch.setattr(visible, lambda: [])
    monkeypatch.setattr('mmscratch.process.cpu_threads.cores', lambda: 64)
    assert parsed() == LocalLauncher(8)
    assert parsed('--jobs', '3') == LocalLauncher(3)
    monkeypatch.setattr(visible, lambda: ['0', '3'])
    assert parsed() == GpuLauncher(2, ['0', '3'])
    assert parsed('--jobs', '8') == GpuLauncher(8, ['0', '3'])
    assert parsed('--slurm', 'gpu', '--slurm-options', 'gres=gpu:1') == SlurmLauncher(
        'gpu', {'gres': 'gpu:1'}
    )
    for arguments, told in (
        ('--jobs 9', '--jobs 9: more than 4 runs a GPU'),
        ('--jobs 0', '--jobs 0: give 1 or more'),
        ('--slurm-options gres=gpu:1', 'and --slurm PARTITION'),
        ('--slurm gpu --slurm-options gres', '--slurm-options gres: give KEY=VALUE'),
    ):
        with pytest.raises(InputError, match=told):
            parsed(*arguments.split())


def test_slurm_without_submitit_or_without_slurm_is_told(tmp_path, monkeypatch):
    tasks = [Task(tmp_path / 'a', partial(list, ['true']))]
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(InputError, match='Could not detect "srun"'):
        SlurmLauncher('gpu').start(tasks, 0)
    with pytest.raises(InputError, match='time=1:00: give a whole number of minutes'):
        SlurmLauncher('gpu', {'time': '1:00'}).start(tasks, 0)
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(InputError, match='pip install "submitit'):
        SlurmLauncher('gpu').start(tasks, 0)
