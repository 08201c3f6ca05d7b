"""What a signal to the launcher of several processes does."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch.distributed.elastic.multiprocessing.api import SubprocessContext

ROOT = Path(__file__).resolve().parents[1]

TOOL = """
import os, sys, time
from mmscratch.process import stop_signals
from mmscratch.errors import one_line_errors
with one_line_errors():
    stop_signals.save_first(sys.argv[1] == 'save')
    print('ready', flush=True)
    end = time.monotonic() + 60
    while not stop_signals.requested() and time.monotonic() < end:
        time.sleep(0.1)
    print('asked by', stop_signals.requested(), flush=True)
    raise stop_signals.Stopped('saved')
"""


@pytest.mark.parametrize(
    ('number', 'how', 'status'),
    [(signal.SIGUSR1, 'save', 75), (signal.SIGTERM, 'save', 75), (signal.SIGUSR1, 'end', 130)],
)
def test_a_signal_is_passed_on_and_the_status_is_that_of_the_processes(
    tmp_path, number, how, status
):
    tool = tmp_path / 'tool.py'
    tool.write_text(TOOL)
    env = os.environ | dict(PYTHON=sys.executable, PYTHONPATH=str(ROOT), PORT='29633')
    process = subprocess.Popen(
        [ROOT / 'tools/launch.sh', '2', tool, how],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert [process.stdout.readline() for _ in range(2)] == ['ready\n'] * 2
    process.send_signal(number)
    out, error = process.communicate(timeout=300)
    asked = [f'asked by {number.name}'] * 2
    assert out.splitlines() == (asked if how == 'save' else [])
    assert error.splitlines()[-1] == f'stopped ({number.name})'
    assert process.returncode == status


def test_the_first_signal_leaves_time_to_save(monkeypatch):
    """A second one does not, nor does the fault of one process."""
    waited = []
    monkeypatch.setattr(
        SubprocessContext, 'close', lambda processes, death_sig, timeout: waited.append(timeout)
    )
    close = runpy.run_path(str(ROOT / 'tools/launch.py'))['close']
    processes = SimpleNamespace(subprocess_handlers={})
    for number in (None, signal.SIGUSR1, signal.SIGTERM):
        close(processes, number)
    assert waited == [30, 3600, 30]
