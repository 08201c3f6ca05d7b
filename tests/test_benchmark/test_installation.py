"""What tools/doctor.py says of installations that are broken in the usual ways."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmscratch.benchmark import installation
from mmscratch.benchmark.installation import Check, examine
from mmscratch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
CHECKS = {check.name: check for check in installation.CHECKS}


def crash():
    os.write(2, b'libcudart is unhappy\n')
    os.kill(os.getpid(), signal.SIGKILL)


def outcome(check):
    return next(examine([check]))


def test_what_fails_takes_nothing_with_it():
    def fail():
        raise InputError('it is broken')

    checks = [
        Check('good', lambda: ('fine', ''), 'none'),
        Check('bad', fail, 'mend it'),
        Check('crashing', crash, 'renew it'),
        Check('faulty', lambda: ('too old', 'update it'), 'none'),
        Check('behind', lambda: ('fine', ''), 'none', ('good', 'bad')),
        Check('last', lambda: ('fine', ''), 'none', ('good',)),
    ]
    rows = [tuple(row.values()) for row in examine(checks)]
    assert rows == [
        ('good', 'ok', 'fine', ''),
        ('bad', 'failed', 'it is broken', 'mend it'),
        ('crashing', 'failed', 'the process ended with SIGKILL: libcudart is unhappy', 'renew it'),
        ('faulty', 'failed', 'too old', 'update it'),
        ('behind', 'skipped', 'needs: bad', ''),
        ('last', 'ok', 'fine', ''),
    ]


def test_what_hangs_is_ended_with_its_processes(tmp_path):
    file = tmp_path / 'pid'

    def hang():
        file.write_text(str(subprocess.Popen(['sleep', '600']).pid))
        time.sleep(600)

    row = next(examine([Check('ranks', hang, 'export IT=1')], seconds=1.5))
    assert (row['found'], row['cure']) == ('took more than 1.5 seconds', 'export IT=1')
    # a zombie until its new parent asks
    status = Path('/proc', file.read_text(), 'stat')
    assert not status.exists() or status.read_text().split()[2] == 'Z'


@pytest.mark.parametrize('as_json', [False, True])
def test_a_broken_torch(as_json, tmp_path):
    (tmp_path / 'torch').mkdir()
    text = "raise OSError('libcudart.so.13: cannot open shared object file')"
    (tmp_path / 'torch/__init__.py').write_text(text)
    done = subprocess.run(
        [sys.executable, 'tools/doctor.py', *['--json'][: int(as_json)]],
        cwd=ROOT,
        # ahead of this checkout, if that is in it
        env=os.environ | {'PYTHONPATH': f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    cure = 'pip uninstall -y torch torchvision; pip install -r requirements.txt'
    if as_json:
        report = json.loads(done.stdout)
        rows = {row['check']: row for row in report['checks']}
        assert (rows['torch']['status'], rows['torch']['cure']) == ('failed', cure)
        assert rows['mmcv']['status'] == rows['step on CPU']['status'] == 'skipped'
        assert report['packages']['mmdet'] == '3.3.0'
    else:
        assert 'libcudart.so.13: cannot open' in done.stdout
        assert f'\n        cure: {cure}\n' in done.stdout
        assert 'skipped mmdet: needs: mmcv' in done.stdout


@pytest.mark.parametrize(
    ('check', 'module', 'cure'),
    [
        ('torch', 'torchvision', 'pip uninstall -y torch torchvision; pip'),
        ('mmcv', 'mmcv', 'pip uninstall -y mmcv mmcv-lite; pip'),
        ('mmdet', 'mmdet', 'pip uninstall -y mmdet mmengine; pip'),
    ],
)
def test_a_missing_package(check, module, cure, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    row = outcome(Check(check, CHECKS[check].run, CHECKS[check].cure))
    assert row['status'] == 'failed'
    assert f'{module} halted' in row['found']
    assert row['cure'].startswith(cure)


def test_wrong_operators(monkeypatch):
    monkeypatch.setattr('mmcv.ops.nms', lambda boxes, scores, limit: (boxes, torch.arange(3)))
    found, cure = CHECKS['mmcv'].run()
    assert 'wrong results of nms' in found
    assert cure.startswith('pip uninstall -y mmcv mmcv-lite')


@pytest.mark.parametrize(
    ('changed', 'found', 'cure'),
    [
        ({}, 'those of requirements.txt', ''),
        ({'torch': '2.11.0+cu128'}, 'those of requirements.txt', ''),
        ({'torch': '2.10.0'}, 'torch 2.10.0 (2.11.0 is tested)', ''),
        ({'mmdet': None}, 'mmdet is missing', "pip install 'mmdet==3.3.0'"),
        (
            {'mmcv-lite': None, 'mmcv': '2.2.0'},
            'mmcv is 2.2.0, and has to be <2.2,>=2.0.0',
            "pip install 'mmcv-lite<2.2,>=2.0.0'",
        ),
        ({'mmcv-lite': None, 'mmcv': '2.1.0'}, 'those of requirements.txt', ''),
        (
            {'mmcv': '2.1.0'},
            'mmcv and mmcv-lite are both installed, into the same folder',
            'pip uninstall -y mmcv mmcv-lite; pip install -r requirements.txt',
        ),
        (
            {'torch': '1.13', 'numpy': None, 'mmdet': None},
            'mmdet is missing; torch is 1.13, and has to be <2.13,>=2.6; numpy is missing',
            'pip install -r requirements.txt',
        ),
    ],
)
def test_versions(changed, found, cure, monkeypatch):
    known = {'mmscratch': '1', 'mmcv': None, 'jinja2': '3.1.6'} | installation.pins() | changed
    monkeypatch.setattr(installation, '_version', lambda name: known.get(name, '99'))
    assert installation._versions() == (found, cure)


def test_small_shared_memory(monkeypatch):
    space = SimpleNamespace(total=64 * 2**20, free=60 * 2**20)
    monkeypatch.setattr(installation.shutil, 'disk_usage', lambda path: space)
    found, cure = installation._shared_memory()
    assert found == '/dev/shm: 60 MiB free of 64 MiB'
    assert '--shm-size=8g' in cure


@pytest.mark.parametrize(
    ('cuda', 'hidden', 'found', 'cure'),
    [
        (None, None, 'but torch is built without CUDA', "install torch's build for CUDA"),
        ('13.0', None, 'but torch cannot use it: RuntimeError: too old', 'update the driver'),
        ('13.0', '', 'hidden by CUDA_VISIBLE_DEVICES=', ''),
    ],
)
def test_a_gpu_that_torch_does_not_use(cuda, hidden, found, cure, tmp_path, monkeypatch):
    command = tmp_path / 'nvidia-smi'
    command.write_text('#!/bin/sh\necho "NVIDIA H100 80GB HBM3, 535.104.05"\n')
    command.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if hidden is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', hidden)
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)

    def init():
        raise RuntimeError('too old')

    monkeypatch.setattr(torch.cuda, 'init', init)
    said, advice = installation._gpus()
    assert said.startswith('NVIDIA H100 80GB HBM3 with driver 535.104.05')
    assert found in said
    assert advice.startswith(cure)
    assert bool(advice) == bool(cure)


def test_what_works():
    """A training step; two processes that sum their numbers."""
    # in a process of its own, since torch forks none after a step with threads
    code = (
        'from mmscratch.benchmark import installation as it\n'
        "checks = [it.Check('', run, '') for run in (it._step_on_cpu, it._all_reduce_on_cpu)]\n"
        "print([row['status'] for row in it.examine(checks)])"
    )
    command = [sys.executable, '-c', code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == "['ok', 'ok']\n", ended
