"""What a SIGTERM does while a process forks, when Python drops what a signal handler raises."""

import subprocess
import sys

# what is registered first comes before mmscratch's own after a fork, and behind it before one
SCRIPT = """
import os, signal, time
os.register_at_fork({when}=lambda: os.kill(os.getpid(), signal.SIGTERM))
from mmscratch.errors import one_line_errors
with one_line_errors():
    worker = os.fork()
    if worker == 0:
        os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    time.sleep(60 if '{when}' == 'before' else 0)
    print('worker:', status)
"""


def run(when: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-c', SCRIPT.format(when=when)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_worker_that_is_being_forked_dies_of_it():
    done = run('after_in_child')
    assert (done.returncode, done.stdout) == (0, 'worker: -15\n'), done.stderr


def test_a_process_that_forks_ends_in_one_line():
    done = run('before')
    assert (done.returncode, done.stderr) == (130, 'interrupted\n')
