"""Two processes, and one that takes two passes, are the same training, also in turns."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from torch import Tensor

from mmscratch.config import distributed
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.weights import checkpoint

ROOT = Path(__file__).resolve().parents[2]

RECORDER = '''
import json
from pathlib import Path
from mmdet.registry import HOOKS
from mmengine.hooks import Hook

@HOOKS.register_module()
class ImageRecorder(Hook):
    """Write the image ids and the loss of every step to a file of this process."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        ids = [sample.img_id for sample in data_batch["data_samples"]]
        with open(Path(runner.work_dir) / f"images_{runner.rank}.jsonl", "a") as file:
            file.write(json.dumps([runner.iter, ids, float(outputs["loss"])]) + "\\n")
'''

CONFIG = """
_base_ = '{root}/configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
custom_imports = dict(imports={imports})
custom_hooks = [dict(type='ImageRecorder')]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
train_cfg = dict(max_iters=4, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=3),
    dict(type='MultiStepLR', by_epoch=False, milestones=[3], gamma=0.1, end=4),
]
auto_scale_lr = dict(base_batch_size=4)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path:
    """A folder with data, a config and the module it imports."""
    folder = tmp_path_factory.mktemp('distributed')
    generate(folder / 'shapes', ShapesConfig(size=96), {'train': 11, 'val': 3}, progress=False)
    (folder / 'image_recorder.py').write_text(RECORDER)
    runtime = Config.fromfile(ROOT / 'configs/_base_/runtime.py')
    imports = [*runtime.custom_imports.imports, 'image_recorder']
    (folder / 'tiny.py').write_text(CONFIG.format(root=ROOT, imports=imports))
    return folder


def run_two(place: Path, work_dir: Path, *options: str | Path, **variables: str) -> str:
    """Train in two processes on the data of ``place``; return stdout and stderr."""
    env = os.environ | {
        'OMP_NUM_THREADS': '1',
        'PYTHON': sys.executable,
        'PYTHONPATH': f'{place}{os.pathsep}{ROOT}',
        'PORT': '29617',
    }
    command = [ROOT / 'tools/dist_train.sh', place / 'tiny.py', '2', '--data', place / 'shapes']
    command += ['--work-dir', work_dir, *options]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=env | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture
def train(place, run_tool):
    """Return a function that trains in one or two processes.

    It returns the log, images and loss of every step of 4, and the last weights.
    """

    def run(
        name: str, processes: int, *options: str | Path, past: int = 0
    ) -> tuple[str, list[set[int]], list[float], dict[str, Tensor]]:
        work_dir = place / name
        if processes == 2:
            log = run_two(place, work_dir, *options)
        else:
            arguments = [place / 'tiny.py', '--data', place / 'shapes', '--work-dir', work_dir]

            def prepare() -> None:
                sys.path.insert(0, str(place))

            log = run_tool('train.py', *arguments, *options, prepare=prepare)
        steps: dict[int, list[int]] = {}
        losses: dict[int, float] = {}
        for file in sorted(work_dir.glob('images_*.jsonl')):
            for line in file.read_text().splitlines():
                iteration, ids, loss = json.loads(line)
                steps.setdefault(iteration, []).extend(ids)
                # the mean over all ranks, on each of them
                assert losses.setdefault(iteration, loss) == loss
        assert list(steps) == list(range(past, 4))
        assert {len(ids) for ids in steps.values()} == {4}
        weights = checkpoint.load(work_dir / 'iter_4.pth')['state_dict']
        images = [set(ids) for ids in steps.values()]
        return log, images, list(losses.values()), weights

    return run


def difference(weights: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def test_two_processes_and_two_passes_are_the_same_training(place, train):
    log, together, losses, weights = train('processes', 2)
    assert '4 images/step = 2 x 2, lr 0.04, 4 iterations' in log
    log, alone, losses_alone, weights_alone = train('passes', 1)
    assert '4 images/step = 1 x 2 x 2 accumulated, lr 0.04, 4 iterations' in log
    assert together == alone
    assert len(set.union(*alone[:2])) == 8, 'no image twice before all were seen once'
    # the same images, augmentation, sampled proposals and weights: only sums are rounded otherwise
    assert losses == pytest.approx(losses_alone, rel=1e-4)
    assert difference(weights, weights_alone) < 1e-4
    # the other way round: test_resumable_iter_based_train_loop.py
    resume = ['--resume', place / 'processes/iter_2.pth']
    log, rest, losses_rest, weights_rest = train('to_one', 1, *resume, past=2)
    assert 'the run began with 4 images a step = ' in log
    assert rest == alone[2:]
    assert losses_rest == pytest.approx(losses_alone[2:], rel=1e-4)
    assert difference(weights_rest, weights_alone) < 1e-4
    for name in ('processes', 'passes', 'to_one'):
        meta = checkpoint.load(place / name / 'iter_4.pth')['meta']
        assert (meta['images_seen'], meta['pixels_seen']) == (16, 16 * 96 * 96)


def test_two_processes_try_a_run_together(place, tmp_path):
    log = run_two(place, tmp_path / 'run', '--trial', TMPDIR=str(tmp_path))
    assert '4 images/step = 2 x 2, lr 0.04, 4 iterations' in log
    lines = [line for line in log.splitlines() if line.startswith('trial: ')]
    assert re.match(r'trial: 4 images/step, .* GB resident a process$', lines[0])
    assert 'same losses in iteration 4' in log
    assert len(lines) == len(set(lines)) == 4
    assert not [*tmp_path.glob('mmscratch-*'), *tmp_path.glob('run')]


def test_syncbn_without_gpus_is_refused(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    cfg = Config.fromfile(ROOT / 'configs/scratch/mask_rcnn_r50_syncbn_6x.py')
    distributed.prepare_for_cpu(cfg)
    cfg.launcher = 'pytorch'
    with pytest.raises(InputError, match='SyncBN needs GPUs'):
        distributed.prepare_for_cpu(cfg)


TORCHRUN = dict(WORLD_SIZE='2', RANK='1')
# of a batch script, which is one process, and of the tasks that srun starts
SLURM_JOB = dict(SLURM_NTASKS='16', SLURM_PROCID='0')
SLURM_STEP = dict(SLURM_NTASKS='16', SLURM_PROCID='3', SLURM_STEP_NUM_TASKS='16')


def environment(monkeypatch, variables: dict[str, str]) -> None:
    for name in TORCHRUN | SLURM_STEP:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ('variables', 'launcher', 'expected'),
    [
        ({}, 'none', (1, True)),
        (SLURM_JOB, 'none', (1, True)),
        (SLURM_STEP | dict(SLURM_STEP_NUM_TASKS='1'), 'none', (1, True)),
        (SLURM_STEP, 'slurm', (16, False)),
        (SLURM_JOB | TORCHRUN, 'pytorch', (2, False)),
        (SLURM_STEP | TORCHRUN | dict(RANK='0'), 'pytorch', (2, True)),
        # left over, or meant for another program
        (dict(WORLD_SIZE='2'), 'none', (1, True)),
        (dict(WORLD_SIZE='x'), 'none', (1, True)),
    ],
)
def test_world_size_and_main_process_come_from_the_launcher(
    monkeypatch, variables, launcher, expected
):
    environment(monkeypatch, variables)
    assert distributed.world_size(launcher) == expected[0]
    assert distributed.is_main_process(launcher) == expected[1]


@pytest.mark.parametrize(
    ('variables', 'words'),
    [
        (SLURM_STEP, 'SLURM_STEP_NUM_TASKS=16 without .*--launcher slurm'),
        (SLURM_STEP | TORCHRUN, 'WORLD_SIZE=2 without .*--launcher pytorch'),
    ],
)
def test_a_forgotten_launcher_is_told(monkeypatch, variables, words):
    environment(monkeypatch, variables)
    with pytest.raises(InputError, match=words):
        distributed.world_size('none')
    with pytest.raises(InputError, match=words):
        distributed.is_main_process('none')


@pytest.mark.parametrize(
    ('variables', 'launcher', 'words'),
    [
        (TORCHRUN | dict(WORLD_SIZE='x'), 'pytorch', 'WORLD_SIZE=x: .* whole number from 1'),
        (TORCHRUN | dict(WORLD_SIZE='x'), 'none', 'WORLD_SIZE=x: .* whole number from 1'),
        (TORCHRUN | dict(WORLD_SIZE='0'), 'pytorch', 'WORLD_SIZE=0: .* whole number from 1'),
        (TORCHRUN | dict(RANK='-1'), 'pytorch', 'RANK=-1: .* whole number from 0'),
        (SLURM_STEP | dict(SLURM_NTASKS='2(x3)'), 'slurm', r'SLURM_NTASKS=2\(x3\): '),
        (SLURM_STEP | dict(SLURM_PROCID='1.5'), 'slurm', 'SLURM_PROCID=1.5: '),
        (dict(SLURM_STEP_NUM_TASKS='x'), 'none', 'SLURM_STEP_NUM_TASKS=x: '),
    ],
)
def test_what_the_environment_says_has_to_be_a_number(monkeypatch, variables, launcher, words):
    environment(monkeypatch, variables)
    with pytest.raises(InputError, match=words):
        distributed.world_size(launcher)
    with pytest.raises(InputError, match=words):
        distributed.is_main_process(launcher)
