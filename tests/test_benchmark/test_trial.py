"""What a trial says of a run, from known numbers, and what it does as a user calls it."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mmscratch.benchmark.trial import Trial
from mmscratch.config.batch_plan import BatchPlan
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.hooks import trial_hook

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
# of 16 images a step and 180,000 iterations, but for the size of images and model
FULL_SIZE = f"""
_base_ = '{ROOT}/configs/scratch/mask_rcnn_r50_gn_2x.py'
model = dict(
    backbone=dict(depth=18),
    neck=dict(in_channels=[64, 128, 256, 512]),
    rpn_head=dict(anchor_generator=dict(scales=[2])),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=50)),
    roi_head=dict(bbox_head=dict(fc_out_channels=64), mask_head=dict(num_convs=1)),
)
resize = dict(type='Resize', scale=(96, 96), keep_ratio=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='PackDetInputs'),
]
val_pipeline = [dict(type='LoadImageFromFile'), resize, *train_pipeline[1::2]]
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=val_pipeline))
"""


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    generate(root, ShapesConfig(size=96), {'train': 6, 'val': 11}, progress=False)
    return root


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Whose temporary folders are below ``tmp_path / 'tmp'``."""
    (tmp_path / 'tmp').mkdir()
    added = dict(OMP_NUM_THREADS='1', TMPDIR=str(tmp_path / 'tmp'), PYTHONPATH=str(ROOT))
    return os.environ | added


@pytest.fixture
def trial(tmp_path, run_tool):
    """Return a function that calls ``train.py --trial`` in ``tmp_path``, and returns its output.

    It counts two steps, however short they are.
    """
    folder = tmp_path / 'tmp'
    folder.mkdir()

    def prepare() -> None:
        os.chdir(tmp_path)
        tempfile.tempdir = str(folder)
        trial_hook.SECONDS, trial_hook.STEPS = 0, 2

    def call(*arguments: str | Path, expect: int = 0) -> str:
        said = run_tool('train.py', '--trial', *arguments, expect=expect, prepare=prepare)
        assert 'Traceback' not in said
        assert not list(folder.iterdir())
        return said

    return call


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob('*')}


def measured(**changed) -> Trial:
    numbers = dict(
        plan=BatchPlan(gpus=1, images_per_gpu=2, accumulation=8, lr=0.02, steps=90_000),
        passes=2,
        # a pause of the machine in the last one
        steps=[(0.5, 0.0), (0.6, 0.1), (0.5, 0.0), (90.0, 0.0)],
        memory='1.9 GB resident',
        validations=9,
        val_images=5000,
        val_seconds=0.08,
        detections=3.4,
        saves=9,
        kept=2,
        save_seconds=100.0,
        checkpoint_bytes=360_000_000,
        best_bytes=180_000_000,
        resumption='resumed from iteration 10',
    )
    return Trial(**numbers | changed)


def test_the_whole_run_follows_from_its_parts():
    """A step is 4 times its two passes: 4 x (0.5 of work + 0.1 / 4 of waiting) = 2.1 s."""
    tried = measured()
    assert tried.step_seconds == pytest.approx(2.1)
    assert tried.train_seconds == pytest.approx(90_000 * 2.1 + 9 * 100)
    assert tried.validate_seconds == pytest.approx(9 * 5000 * 0.08)
    assert tried.lines() == [
        'trial: 16 images/step, 2.1 s/step (4 timed, 2.0 to 360), 7.6 images/s, 1.9 GB resident; '
        'timed in 2 of the 8 passes of a step',
        'trial: validation 0.080 s/image with 3 detections each; 5,000 images, 9 times',
        'trial: checkpoint of 360 MB, saved in 100 s; resumed from iteration 10',
        'trial: the whole run: about 2 days 5 h of training + 60 min of validation; '
        'checkpoints: 9, kept: the last 2 and the best one, 900 MB on disk',
    ]


def test_what_a_run_lacks_is_not_told():
    plan = BatchPlan(gpus=8, images_per_gpu=2, accumulation=1, lr=0.02, steps=600)
    tried = measured(plan=plan, passes=1, validations=0, resumption='', best_bytes=0)
    lines = tried.lines()
    assert len(lines) == 2
    assert 'passes' not in lines[0]
    # 600 x 0.525 + 9 x 100
    assert 'about 20 min of training + 0 s of validation; checkpoints: 9, ' in lines[1]
    assert lines[1].endswith('kept: the last 2, 720 MB on disk')


def test_slow_loading_is_told():
    """Most steps wait for nothing, since workers deliver several batches at once."""
    tried = measured(passes=8, steps=[(0.5, 0.0), (0.5, 0.0), (0.5, 0.0), (2.5, 2.0)])
    assert tried.step_seconds == pytest.approx(1.0)
    assert tried.lines()[1].startswith('trial: a step waits 0.50 s for its images: more workers')


def test_a_full_size_config_is_tried_as_it_is(trial, shapes, tmp_path):
    config = tmp_path / 'full_size.py'
    config.write_text(FULL_SIZE)
    # the run that it would be is already there, and stays as it is
    work_dir = tmp_path / 'work_dirs/full_size_shapes'
    work_dir.mkdir(parents=True)
    (work_dir / 'iter_9.pth').write_bytes(b'weights')
    (work_dir / 'linked.pth').symlink_to(work_dir / 'iter_9.pth')
    before = contents(tmp_path)
    log = trial(config, '--data', shapes)
    assert contents(tmp_path) == before
    assert '16 images/step = 1 x 2 x 8 accumulated, lr 0.02, 180k iterations' in log
    lines = [line for line in log.splitlines() if line.startswith('trial: ')]
    assert re.fullmatch(
        r'trial: 16 images/step, \S+ s/step \(2 timed, \S+ to \S+\), \S+ images/s, \S+ GB '
        r'resident; timed in 2 of the 8 passes of a step',
        lines[0],
    )
    assert re.fullmatch(
        r'trial: validation \S+ s/image with \d+ detections each; 11 images, 18 times', lines[-3]
    )
    assert re.fullmatch(
        r'trial: checkpoint of \d+ MB, saved in \S+ s; resumed from iteration 4: same weights, '
        r'optimizer and learning rates; same losses in iteration 5',
        lines[-2],
    )
    assert re.fullmatch(
        r'trial: the whole run: about .* of training \+ .* of validation; checkpoints: 18, kept: '
        r'the last 2 and the best one, \d+ MB on disk',
        lines[-1],
    )


def test_short_runs_and_all_that_writes_elsewhere(trial, shapes, tmp_path):
    """The checkpoint of a run of one iteration has no step after it."""
    options = ['train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
    options += ['train_cfg.max_iters=1', 'param_scheduler=None']
    options += [f'default_hooks.{hook}.out_dir=elsewhere' for hook in ('checkpoint', 'logger')]
    options += ['val_evaluator.outfile_prefix=results', 'default_hooks.val_loss.type=ValLossHook']
    before = contents(tmp_path)
    log = trial(SHAPES, '--data', shapes, '--cfg-options', *options)
    assert contents(tmp_path) == before
    assert re.search(r'resumed from iteration 1: .* learning rates$', log, re.M)
    assert '11 images, once' in log
    assert 'checkpoints: 1, kept: all and the best one, ' in log


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        # as the schedule is the run's own, its faults are found too
        ([f'default_hooks.checkpoint.{option}'
          for option in ('save_begin=700', 'save_last=False', 'save_best=None')],
         r'\[schedule\] it never saves'),
        (['model.backbone.frozen_stages=1'], r'\[frozen\] .* random and frozen'),
        (['train_dataloader.dataset.pipeline.2.type=NoSuchTransform'], 'NoSuchTransform'),
    ],
)  # fmt: skip
def test_a_faulty_run_is_refused(trial, shapes, tmp_path, arguments, words):
    error = trial(SHAPES, '--data', shapes, '--cfg-options', *arguments, expect=2)
    assert re.search(f'^error: .*{words}', error, re.M)
    assert not (tmp_path / 'work_dirs').exists()


def test_faults_of_the_data_are_found_and_images_not_decoded_before(trial, tmp_path):
    data = tmp_path / 'data'
    generate(data, ShapesConfig(size=96), {'train': 2, 'val': 2}, progress=False)
    annotations = data / 'annotations/instances_train.json'
    sound = annotations.read_text()
    content = json.loads(sound)
    content['annotations'][0]['bbox'] = [-90, 1, 5, 5]
    annotations.write_text(json.dumps(content))
    error = trial(SHAPES, '--data', data, expect=2)
    assert re.search(r'^error: .*instances_train\.json: ', error, re.M)
    annotations.write_text(sound)
    broken = sorted((data / 'train').iterdir())[0]
    pixels = bytearray(broken.read_bytes())
    pixels[60:-60] = bytes(len(pixels) - 120)
    broken.write_bytes(pixels)
    # met by a step
    error = trial(SHAPES, '--data', data, expect=2)
    assert re.search(rf'error: {broken} cannot be used', error)


def test_an_interrupted_trial_leaves_nothing(environment, shapes, tmp_path):
    log = tmp_path / 'log'
    command = [sys.executable, ROOT / 'tools/train.py', SHAPES, '--data', shapes, '--trial']
    with log.open('w') as file:
        process = subprocess.Popen(
            list(map(str, command)), cwd=tmp_path, env=environment, stdout=file, stderr=file
        )
    while 'Checkpoints will be saved' not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.2)
    assert list((tmp_path / 'tmp').glob('mmscratch-trial-*'))
    # in its steps: Python can drop a signal that meets the start of the loader's workers
    time.sleep(3)
    process.terminate()
    assert process.wait(60) == 130
    assert 'interrupted; a trial leaves nothing behind' in log.read_text()
    assert not list((tmp_path / 'tmp').glob('mmscratch-*'))
    assert not (tmp_path / 'work_dirs').exists()


def test_a_trial_is_of_a_start(run_tool):
    said = run_tool('train.py', SHAPES, '--trial', '--resume', expect=2)
    assert 'error: --trial tries a run from its start: leave out --resume' in said
