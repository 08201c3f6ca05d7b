import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmscratch.process import circumstances, cpu_threads

ROOT = Path(__file__).parents[2]

# prints the variable at the moment when torch is looked for
PROBE = """
import importlib.abc, os, runpy, sys

class Probe(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == 'torch':
            print('spins', os.environ.get('GOMP_SPINCOUNT'))
            sys.exit()

sys.meta_path.insert(0, Probe())
tool = sys.argv[1]
sys.argv = [tool, '--help']
try:
    runpy.run_path(tool, run_name='__main__')
except SystemExit:
    import torch
"""


@pytest.mark.parametrize(
    ('tool', 'variable', 'spins'),
    [
        ('train', {}, '1000'),
        ('test', {}, '1000'),
        ('infer', {}, '1000'),
        ('publish', {}, '1000'),
        ('analysis/study', {}, '1000'),
        ('train', {'GOMP_SPINCOUNT': '7'}, '7'),
        ('train', {'OMP_WAIT_POLICY': 'ACTIVE'}, 'None'),
    ],
)
def test_tools_bound_the_spinning_before_torch_loads(tool, variable, spins):
    command = [sys.executable, '-c', PROBE, str(ROOT / 'tools' / f'{tool}.py')]
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')
    }
    done = subprocess.run(
        command, env=clean | variable, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == f'spins {spins}'


@pytest.fixture
def six_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu_threads, '_allowed', lambda: 6)
    monkeypatch.setattr(cpu_threads, 'CGROUPS', tmp_path)
    for variable in ('OMP_NUM_THREADS', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(variable, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield tmp_path
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ('files', 'cores'),
    [
        ({}, 6),
        ({'cpu.max': 'max 100000'}, 6),
        ({'cpu.max': '200000 100000'}, 2),
        ({'cpu.max': '1600000 100000'}, 6),
        ({'cpu.max': '20000 100000'}, 1),
        ({'cpu.max': 'of another kind'}, 6),
        ({'cpu/cpu.cfs_quota_us': '300000', 'cpu/cpu.cfs_period_us': '100000'}, 3),
        ({'cpu/cpu.cfs_quota_us': '-1', 'cpu/cpu.cfs_period_us': '100000'}, 6),
    ],
)
def test_cores_are_those_of_the_quota(six_cores, files, cores):
    for name, text in files.items():
        (six_cores / name).parent.mkdir(exist_ok=True)
        (six_cores / name).write_text(text + '\n')
    assert cpu_threads.cores() == cores


def test_results_say_the_cores_that_a_run_may_use(six_cores, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    (six_cores / 'cpu.max').write_text('200000 100000')
    assert circumstances.hardware() == f'2 CPU cores ({platform.machine()})'


def config(train, val):
    return Config(
        dict(train_dataloader=dict(num_workers=train), val_dataloader=dict(num_workers=val))
    )


def test_no_more_threads_and_workers_than_cores(six_cores):
    (six_cores / 'cpu.max').write_text('200000 100000')
    cfg = config(4, 0)
    assert cpu_threads.fit(cfg) == '2 CPU cores; 2 threads, 2 loader workers in this process'
    assert torch.get_num_threads() == 2
    assert (cfg.train_dataloader.num_workers, cfg.val_dataloader.num_workers) == (2, 0)


def test_the_line_is_of_the_split(six_cores):
    cfg = config(4, 0)
    assert cpu_threads.fit(cfg, split='val').endswith(', 0 loader workers in this process')


def test_what_the_user_has_set_stays(six_cores, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '6')
    (six_cores / 'cpu.max').write_text('200000 100000')
    cfg = config(4, 4)
    line = cpu_threads.fit(cfg, {'train_dataloader.num_workers': 4})
    assert line == '2 CPU cores; 6 threads, 4 loader workers in this process'
    assert (cfg.train_dataloader.num_workers, cfg.val_dataloader.num_workers) == (4, 2)


def test_processes_of_a_launcher_share_the_cores(six_cores, monkeypatch):
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '3')
    cfg = config(4, 4)
    assert cpu_threads.fit(cfg) == '6 CPU cores; 2 threads, 2 loader workers in this process'
