"""What ends a tool: a user's fault, a library's error, a bug, a signal."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# --- a SIGTERM while a process forks, when Python drops what a signal handler raises

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


# --- what is told in one line, and what keeps its traceback


def edge(body: str, folder: Path) -> subprocess.CompletedProcess:
    """Run `body` within one_line_errors, with temporary files in `folder`."""
    script = 'from mmscratch.errors import InputError, one_line_errors\n'
    script += f'with one_line_errors():\n{textwrap.indent(textwrap.dedent(body), "    ")}'
    env = os.environ | {'TMPDIR': str(folder)}
    command = [sys.executable, '-c', script]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


WORKER = """
    from torch.utils.data import DataLoader, Dataset
    class Data(Dataset):
        def __len__(self):
            return 2
        def __getitem__(self, index):
            {}
    if __name__ == '__main__':
        list(DataLoader(Data(), num_workers=1))
"""


def test_an_input_error_is_its_line_alone(tmp_path):
    done = edge('raise InputError("a.json: is wrong; correct it")', tmp_path)
    assert (done.returncode, done.stderr) == (2, 'error: a.json: is wrong; correct it\n')
    assert not list(tmp_path.iterdir())


def test_an_input_error_of_a_worker_is_its_line_alone(tmp_path):
    done = edge(WORKER.format('raise InputError("a.png: is cut;\\nreplace it")'), tmp_path)
    assert (done.returncode, done.stderr) == (2, 'error: a.png: is cut; replace it\n')


LIBRARIES = {
    'mmengine': (
        'from mmengine import Config; Config.fromstring("a = 1", ".txt")',
        r'error: OSError: Only py/yml/yaml/json type are supported now! '
        r'\(raised in mmengine/config/config.py, line \d+, \w+\); the traceback is in (\S+)\n',
    ),
    'torch': (
        'import torch; torch.utils.data.DataLoader([1], num_workers=-1)',
        r'error: ValueError: num_workers option should be non-negative.* \(raised in torch/'
        r'utils/data/dataloader.py, line \d+, __init__\); the traceback is in (\S+)\n',
    ),
    'a worker': (
        WORKER.format('import torch; return torch.utils.data.DataLoader([1], num_workers=-1)'),
        r'error: ValueError: num_workers option should .*; the traceback is in (\S+)\n',
    ),
    'the system': (
        'open("/nowhere/at/all")',
        r"error: FileNotFoundError: \[Errno 2\] No such file or directory: '/nowhere/at/all' "
        r'\(raised in .*\); the traceback is in (\S+)\n',
    ),
    'memory': (
        'import torch; raise torch.OutOfMemoryError("CUDA out of memory.\\nTried to allocate")',
        r'error: CUDA out of memory. Tried to allocate; take fewer or smaller images at a time '
        r'\(train_dataloader.batch_size\) \(raised in .*\); the traceback is in (\S+)\n',
    ),
}


@pytest.mark.parametrize('kind', LIBRARIES)
def test_an_error_of_a_library_is_a_line_and_its_traceback_a_file(tmp_path, kind):
    body, line = LIBRARIES[kind]
    done = edge(body, tmp_path)
    assert done.returncode == 2, done.stderr
    found = re.fullmatch(line, done.stderr)
    assert found, done.stderr
    assert 'Traceback (most recent call last)' in Path(found[1]).read_text()


def test_the_traceback_goes_to_the_log_of_a_run(tmp_path):
    log = tmp_path / 'run.log'
    body = f"""
        from mmengine.logging import MMLogger
        MMLogger.get_instance('run', log_file={str(log)!r})
        import torch; torch.utils.data.DataLoader([1], num_workers=-1)
    """
    done = edge(body, tmp_path)
    assert done.stderr.endswith(f'the traceback is in {log}\n')
    assert 'num_workers option should be non-negative' in log.read_text()
    assert list(tmp_path.iterdir()) == [log]


def test_the_log_tells_what_an_input_error_was_made_of(tmp_path):
    log = tmp_path / 'run.log'
    body = f"""
        from mmengine.logging import MMLogger
        MMLogger.get_instance('run', log_file={str(log)!r})
        try:
            {{}}
        except ValueError as error:
            raise InputError('a.png: is wrong; replace it') from error
    """
    done = edge(body.format('raise ValueError("no such colour")'), tmp_path)
    assert (done.returncode, done.stderr) == (2, 'error: a.png: is wrong; replace it\n')
    assert 'ValueError: no such colour' in log.read_text()
    assert list(tmp_path.iterdir()) == [log]


def test_a_bug_keeps_its_traceback(tmp_path):
    for body in (
        'from mmscratch.config.batch_plan import plan_batch; plan_batch(None, 1, "scale")',
        '1 / 0',
        WORKER.format(
            'from mmscratch.config.batch_plan import plan_batch; plan_batch(None, 1, "scale")'
        ),
    ):
        done = edge(body, tmp_path)
        assert done.returncode == 1
        assert 'Traceback (most recent call last)' in done.stderr
