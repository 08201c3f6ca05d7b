"""Signals, sent to processes that have nothing else to do."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mmscratch.process import stop_signals

SCRIPT = """
import multiprocessing, os, signal, sys, time
from mmscratch.process import stop_signals
from mmscratch.errors import one_line_errors

def work():
    time.sleep(600)

with one_line_errors():
    stop_signals.save_first(sys.argv[1] == 'save')
    worker = multiprocessing.get_context('fork').Process(target=work, daemon=True)
    worker.start()
    print(worker.pid, flush=True)
    while not stop_signals.requested():
        time.sleep(0.01)
    print('asked by', stop_signals.requested(), flush=True)
    time.sleep(0 if sys.argv[1] == 'save' else 600)
    raise stop_signals.Stopped('saved')
"""


@pytest.fixture(autouse=True)
def nothing_is_ignored():
    """A shell lets the commands that it runs in the background ignore Ctrl-C."""
    before = {number: signal.getsignal(number) for number in stop_signals.SIGNALS}
    for number in before:
        handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def start(mode: str, **options) -> tuple[subprocess.Popen, int]:
    """The process, and the number of its worker."""
    process = subprocess.Popen(
        [sys.executable, '-c', SCRIPT, mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    return process, int(process.stdout.readline())


def ends(pid: int) -> bool:
    for _ in range(300):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_run_is_asked_and_says_that_it_can_go_on():
    process, worker = start('save')
    # ignored by the worker, as if the whole group had got it
    os.kill(worker, signal.SIGUSR1)
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=60) == ('asked by SIGUSR1\n', 'saved\n')
    assert process.returncode == stop_signals.RESUMABLE
    assert ends(worker)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP])
def test_a_tool_ends_at_once_in_one_line(number):
    process, worker = start('end')
    process.send_signal(number)
    assert process.communicate(timeout=60) == ('', 'interrupted\n')
    assert process.returncode == stop_signals.INTERRUPTED
    assert ends(worker)


def test_nohup_stays_and_workers_end_with_a_killed_parent():
    process, worker = start('end', preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    assert ends(worker)


def test_a_second_signal_ends_at_once_unless_it_is_the_first_passed_on(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    with stop_signals.handled():
        stop_signals.save_first(True)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop_signals.requested() == 'SIGINT'
        assert not stop_signals.is_ending()
        now += 5
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop_signals.is_ending()


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('echo "$@" > {}', 'the job is in the queue again'),
        ('echo no such job >&2; exit 1', 'no such job'),
        (None, 'No such file or directory'),
    ],
)
def test_a_job_of_slurm_is_queued_again(tmp_path, monkeypatch, capsys, line, told):
    if line:
        tool = tmp_path / 'scontrol'
        tool.write_text(f'#!/bin/sh\n{line.format(tmp_path / "asked")}\n')
        tool.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('SLURM_JOB_ID', '12')
    stop_signals.requeue()
    assert told in capsys.readouterr().err
    assert 'queue again' not in told or (tmp_path / 'asked').read_text() == 'requeue 12\n'


# blocked in the thread that forks, the signal goes to the other one
DURING_FORK = """
import os, signal, threading, time
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
os.register_at_fork(before=interrupt)  # is called after those that are registered later
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
""" + SCRIPT.replace('sys.argv[1]', "'end'")


def test_a_signal_to_another_thread_during_a_fork_is_not_lost():
    process = subprocess.Popen(
        [sys.executable, '-c', DURING_FORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, said) == (stop_signals.INTERRUPTED, b'interrupted\n')
