"""The tools as a user calls them: in a process of their own, on eight images."""

import contextlib
import hashlib
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmscratch.benchmark import evaluation
from mmscratch.config.batch_plan import plan_batch
from mmscratch.data.samplers.subset import choose_ids, read_ids
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.process import stop_signals
from mmscratch.weights import checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
SHORT = [
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=2',
    'param_scheduler.0.end=3',
    'param_scheduler.1.milestones=[3]',
    'param_scheduler.1.end=4',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=2',
    'auto_scale_lr.base_batch_size=2',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
]


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    generate(root, ShapesConfig(size=96), {'train': 8, 'val': 4}, progress=False)
    return root


@pytest.fixture(scope='module')
def trained(shapes, run_tool, tmp_path_factory) -> Path:
    """The work directory of four iterations."""
    work_dir = tmp_path_factory.mktemp('runs') / 'first'
    arguments = [CONFIG, '--data', shapes, '--work-dir', work_dir, '--cfg-options', *SHORT]
    log = run_tool('train.py', *arguments, is_forked=False)
    assert 'ops: torchvision' in log or 'ops: mmcv' in log
    assert '2 images/step = 1 x 2, lr 0.04, 4 iterations = 1.0 epochs of 8 images' in log
    assert 'eta:' in log
    return work_dir


@pytest.fixture
def counted(shapes, tmp_path):
    """A copy of the data, and a function that gives what opens how many of its annotation files.

    Nothing that this process has kept is of the copy.
    """
    data, file = shutil.copytree(shapes, tmp_path / 'counted'), tmp_path / 'opened'

    def count(event: str, arguments: tuple) -> None:
        if event == 'open' and re.search('instances_.*json$', name := str(arguments[0])):
            with file.open('a') as log:
                log.write(f'{Path(name).name}\n')

    file.touch()
    return data, lambda: sys.addaudithook(count), lambda: sorted(file.read_text().split())


@pytest.fixture
def train_tool():
    """train.py as a module."""
    spec = importlib.util.spec_from_file_location('train', ROOT / 'tools/train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def configured(train_tool, monkeypatch):
    """Return a function from arguments of train.py to its config."""
    monkeypatch.chdir(ROOT)

    def configure(*arguments: str | Path) -> Config:
        monkeypatch.setattr('sys.argv', ['train.py', *map(str, arguments)])
        return train_tool.configure(train_tool.parse_args())

    return configure


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ([], dict(seed=0)),
        (['--seed', '3'], dict(seed=3)),
        (
            ['--cfg-options', 'randomness.seed=3', 'randomness.deterministic=True'],
            dict(seed=3, deterministic=True),
        ),
        (['--seed', '0', '--cfg-options', 'randomness.seed=3'], dict(seed=0)),
        (['--cfg-options', 'randomness.deterministic=True'], dict(seed=0, deterministic=True)),
    ],
)
def test_randomness_is_what_config_and_options_say(configured, arguments, expected):
    assert configured(CONFIG, *arguments).randomness == expected


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ('--amp', {}),
        ('--amp-bfloat16', dict(dtype='bfloat16', loss_scale=dict(enabled=False))),
    ],
)
def test_mixed_precision_scales_losses_in_float16_alone(configured, monkeypatch, option, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    wrapper = configured(option, CONFIG).optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper'
    assert {key: wrapper[key] for key in ('dtype', 'loss_scale') if key in wrapper} == expected


@pytest.mark.parametrize(
    ('option', 'own'),
    [
        ('work_dir=x', '--work-dir'),
        ('resume=True', '--resume'),
        ('launcher=pytorch', '--launcher'),
        ('load_from=x.pth', '--init'),
        ('train_cfg.accumulation=2', '--batch accumulate'),
    ],
)
def test_what_has_an_option_is_not_set_otherwise(configured, option, own):
    with pytest.raises(InputError, match=f'--cfg-options {option}: give it with {own}'):
        configured(CONFIG, '--cfg-options', option)


def test_a_config_s_own_work_dir_is_used(configured, tmp_path):
    file = tmp_path / 'own.py'
    file.write_text(f"_base_ = '{ROOT / CONFIG}'\nwork_dir = 'runs/own'\n")
    assert configured(file).work_dir == 'runs/own'
    assert configured(file, '--work-dir', 'other').work_dir == 'other'
    assert configured(CONFIG).work_dir == 'work_dirs/scratch/mask_rcnn_r18_gn_600i_shapes'


def test_a_config_that_a_resumed_run_has_dumped_begins_anew(configured, tmp_path):
    file = tmp_path / 'dumped.py'
    file.write_text(f"_base_ = '{ROOT / CONFIG}'\nresume = True\nload_from = 'iter_2.pth'\n")
    cfg = configured(file)
    assert (cfg.resume, cfg.load_from) == (False, None)
    assert configured(file, '--init', 'own.pth').load_from == 'own.pth'
    cfg = configured(file, '--resume')
    assert (cfg.resume, cfg.load_from) == (True, 'latest')


@pytest.mark.parametrize('where', ['run', 'other'])
def test_a_requeued_job_goes_on_where_it_was(configured, tmp_path, monkeypatch, where):
    """Its command names the checkpoint that it began with."""
    monkeypatch.setenv('SLURM_JOB_ID', '12')
    began = tmp_path / where / 'iter_2.pth'
    options = [CONFIG, '--work-dir', tmp_path / 'run', '--requeue']
    assert not configured(*options).resume
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/iter_4.pth').touch()
    assert configured(*options, '--resume', began).load_from == str(began)
    assert configured(*options).load_from == 'latest'
    monkeypatch.setenv('SLURM_RESTART_COUNT', '1')
    assert configured(*options, '--resume', began).load_from == 'latest'


def run_with(train_tool, monkeypatch, *arguments: str | Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr('sys.argv', ['train.py', *map(str, arguments)])
    with stop_signals.handled():
        train_tool.main(train_tool.parse_args())


def test_the_folder_is_locked_before_a_checkpoint_is_chosen(train_tool, tmp_path, monkeypatch):
    folder = tmp_path / 'run'

    def choose(*args):
        assert (folder / 'lock').exists()
        raise InputError('chosen')

    monkeypatch.setattr('mmscratch.weights.resumption.newest_whole', choose)
    with pytest.raises(InputError, match='chosen'):
        run_with(train_tool, monkeypatch, CONFIG, '--work-dir', folder, '--resume')
    assert not folder.exists()


def test_a_job_that_is_stopped_while_it_starts_is_queued_again(train_tool, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setenv('SLURM_JOB_ID', '12')
    monkeypatch.setattr(stop_signals, 'requeue', lambda: asked.append(True))
    monkeypatch.setattr(
        'mmscratch.data.layouts.check', lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGUSR1)
    )
    options = [CONFIG, '--work-dir', tmp_path / 'run']
    for requeue in ([], ['--requeue']):
        with pytest.raises(KeyboardInterrupt):
            run_with(train_tool, monkeypatch, *options, *requeue)
    assert asked == [True]


@pytest.mark.parametrize(
    ('hooks', 'expected'),
    [
        (
            'default_hooks.preflight.allow=[]',
            dict(type='PreflightHook', allow=[], init='pretrained'),
        ),
        ('default_hooks.preflight=None', None),
        ('default_hooks=None', dict(type='PreflightHook', init='pretrained')),
    ],
)
def test_the_preflight_is_told_of_weights_unless_it_is_disabled(configured, hooks, expected):
    cfg = configured(CONFIG, '--init', 'own.pth', '--cfg-options', hooks)
    assert cfg.default_hooks.get('preflight') == expected
    assert cfg.load_from == 'own.pth'


def test_short_runs_are_planned_without_hooks_to_save_and_to_log(configured):
    options = ['default_hooks.checkpoint=None', 'default_hooks.logger=None']
    cfg = configured(CONFIG, '--iterations', '12', '--cfg-options', *options)
    assert plan_batch(cfg, gpus=4, policy='scale').steps == 3
    assert (cfg.default_hooks.checkpoint, cfg.default_hooks.logger) == (None, None)


@pytest.mark.parametrize('seed', ['-1', '4294967296'])
def test_a_seed_that_numpy_does_not_take_is_a_usage_error(configured, seed, capsys):
    with pytest.raises(SystemExit):
        configured(CONFIG, '--seed', seed)
    assert 'error: --seed is 0 to 4294967295' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--init', '--resume'])
def test_an_empty_name_is_a_usage_error(configured, option, capsys):
    with pytest.raises(SystemExit):
        configured(CONFIG, option, '')
    assert f'error: {option} is empty' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('config', 'own_data', 'arguments', 'expected'),
    [
        (CONFIG, False, [], False),
        (CONFIG, False, ['--drop-bad-boxes'], True),
        (CONFIG, True, ['--drop-bad-boxes'], True),
        (CONFIG, True, ['--cfg-options', 'drop_bad_boxes=True'], True),
        # of COCO's known ones
        ('configs/scratch/mask_rcnn_r50_gn_2x.py', False, [], True),
        ('configs/scratch/mask_rcnn_r50_gn_2x.py', True, [], False),
    ],
)
def test_bad_boxes_are_dropped_where_that_is_said(
    configured, shapes, config, own_data, arguments, expected
):
    data = ['--data', shapes] if own_data else []
    assert configured(config, *data, *arguments).drop_bad_boxes == expected


def test_one_option_raises_what_is_kept_and_what_is_counted(configured, shapes):
    cfg = configured(CONFIG, '--data', shapes, '--max-detections', '300')
    assert cfg.model.test_cfg.rcnn.max_per_img == 300
    assert cfg.val_evaluator.proposal_nums == [1, 10, 300]


@pytest.mark.parametrize(
    ('own_data', 'options', 'expected'),
    [
        (False, [], 3500),
        # 3,500 of COCO's images say nothing of other data
        (True, [], None),
        (True, ['--cfg-options', 'train_dataloader.sampler.subset=7'], 7),
    ],
)
def test_a_subset_of_the_configs_data_is_not_one_of_other_data(
    configured, shapes, own_data, options, expected
):
    config = 'configs/pretrained/mask_rcnn_r50_gn_60k_coco3500_ms.py'
    folder = ['--data', shapes] if own_data else []
    sampler = configured(config, *folder, *options).train_dataloader.sampler
    assert sampler.get('subset') == expected


def test_labelled_images_of_other_data_are_forgotten(configured, shapes, tmp_path):
    dumped = tmp_path / Path(CONFIG).name
    cfg = Config.fromfile(CONFIG)
    cfg.train_dataloader.sampler.labelled = 'other/labelled.json'
    cfg.dump(dumped)
    sampler = configured(dumped, '--data', shapes).train_dataloader.sampler
    assert 'labelled' not in sampler
    own = ['--cfg-options', 'train_dataloader.sampler.labelled=mine.json']
    sampler = configured(dumped, '--data', shapes, *own).train_dataloader.sampler
    assert sampler.labelled == 'mine.json'


def test_a_run_leaves_what_people_and_programs_need(trained):
    report = json.loads((trained / 'metrics.json').read_text())
    assert report['iterations'] == 4
    assert report['images_seen'] == 8
    assert report['train_seconds'] > 0
    assert [entry['iteration'] for entry in report['history']] == [2, 4]
    for metric in ('bbox', 'segm'):
        assert sum(key.startswith(f'{metric}_') and '/' not in key for key in report['last']) == 12
        assert sum(key.startswith(f'{metric}_AP/') for key in report['last']) == 5
    assert report['seed'] == 0
    assert report['versions']['torch']
    assert (trained / 'curves.png').stat().st_size > 10_000
    assert len(list((trained / 'pictures').glob('*.png'))) == 4
    assert (trained / 'iter_4.pth').exists()
    assert list(trained.glob('best_*.pth'))
    assert list(trained.glob('*/*.log'))


def test_the_validation_loss_is_recorded_and_changes_nothing(trained, run_tool, counted, tmp_path):
    """Nor does it open a file again: data sets, check, metric and preflight share what is read."""
    (data, prepare, opened), work_dir = counted, tmp_path / 'run'
    options = [*SHORT, 'default_hooks.val_loss.type=ValLossHook']
    arguments = [CONFIG, '--data', data, '--work-dir', work_dir, '--cfg-options', *options]
    run_tool('train.py', *arguments, prepare=prepare)
    assert opened() == ['instances_train.json', 'instances_val.json']
    history = json.loads((work_dir / 'metrics.json').read_text())['history']
    assert len(history) == 2
    for entry in history:
        parts = [value for key, value in entry.items() if key.startswith('val_loss_')]
        assert len(parts) == 5
        assert entry['val_loss'] == pytest.approx(sum(parts))
    with_it, without = (
        checkpoint.load(folder / 'iter_4.pth')['state_dict'] for folder in (work_dir, trained)
    )
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_a_finished_run_is_not_written_over(run_tool, trained, shapes):
    error = run_tool('train.py', CONFIG, '--data', shapes, '--work-dir', trained, expect=2)
    assert re.search(r'^error: .*already holds a run.*--resume', error, re.M)
    assert 'Traceback' not in error


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_a_moved_run_goes_on_from_its_own_files(run_tool, trained, shapes, tmp_path):
    """A copy, whose last_checkpoint and best checkpoint are named by paths of the original.

    Stopped after 2 of 4 iterations and resumed, it ends with the weights of the straight run.
    """
    moved, before = tmp_path / 'moved', contents(trained)
    shutil.copytree(trained, moved)
    (moved / 'iter_4.pth').unlink()
    (moved / 'last_checkpoint').write_text(str(trained / 'iter_2.pth'))
    arguments = [CONFIG, '--data', shapes, '--work-dir', moved]
    run_tool('train.py', *arguments, '--resume', '--cfg-options', *SHORT)
    assert contents(trained) == before
    assert len(list(moved.glob('best_*'))) == 1
    assert (moved / 'last_checkpoint').read_text() == str(moved / 'iter_4.pth')
    ours, straight = (
        checkpoint.load(folder / 'iter_4.pth')['state_dict'] for folder in (moved, trained)
    )
    assert all(torch.equal(ours[name], value) for name, value in straight.items())


def test_a_strangers_checkpoint_deletes_and_runs_nothing(run_tool, trained, shapes, tmp_path):
    """It names another folder's best checkpoint, and has a program where old MMEngine looks."""
    victim, ran = tmp_path / 'best_victim.pth', tmp_path / 'ran'
    victim.touch()
    stranger = checkpoint.load(trained / 'iter_2.pth')
    stranger['meta']['config'] = f'__import__("os").mkdir({str(ran)!r})'
    runtime = stranger['message_hub']['runtime_info']
    runtime.update(best_ckpt=str(victim), best_score=-2.0)
    file = tmp_path / 'iter_2.pth'
    torch.save(stranger, file)
    work_dir = tmp_path / 'run'
    arguments = [CONFIG, '--data', shapes, '--work-dir', work_dir]
    run_tool('train.py', *arguments, '--resume', file, '--cfg-options', *SHORT)
    assert victim.exists()
    assert not ran.exists()
    # a best of its own
    assert len(list(work_dir.glob('best_*'))) == 1


@pytest.mark.parametrize('split', ['train', 'val'])
def test_an_image_that_breaks_in_a_worker_is_named(run_tool, shapes, tmp_path, split):
    root = tmp_path / 'data'
    shutil.copytree(shapes, root)
    broken = sorted((root / split).iterdir())[1]
    content = bytearray(broken.read_bytes())
    content[60:-60] = bytes(len(content) - 120)
    broken.write_bytes(content)
    options = [o for o in SHORT if 'worker' not in o]
    options += [f'{loader}_dataloader.num_workers=1' for loader in ('train', 'val')]
    arguments = [CONFIG, '--data', root, '--work-dir', tmp_path / 'run']
    error = run_tool('train.py', *arguments, '--cfg-options', *options, expect=2)
    assert re.search(
        rf'^error: {broken} cannot be decoded; 1 of \d images are unusable', error, re.M
    )
    assert not (tmp_path / 'run').exists()
    error = run_tool('train.py', *arguments, '--skip-decoding', '--cfg-options', *options, expect=2)
    # not from the begin of a line, which may be a worker's: libpng writes its own message in parts
    assert re.search(rf'error: {broken} cannot be used .*: replace the image', error)
    assert 'Traceback' not in error


def test_what_a_batch_system_stops_leaves_no_worker(shapes, tmp_path):
    command = [sys.executable, ROOT / 'tools/train.py', CONFIG, '--data', shapes]
    command += ['--work-dir', tmp_path / 'run', '--cfg-options', 'train_dataloader.batch_size=2']
    command += ['train_dataloader.prefetch_factor=8', 'default_hooks.logger.interval=1']
    log = tmp_path / 'log'
    with log.open('w') as file:
        process = subprocess.Popen(
            [*map(str, command)], cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        )
    while 'Iter(train)' not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.2)
    # as Slurm does, to the workers too
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 75
    # not always last: a worker that was handing over an image may tell that nobody took it
    told = re.search(
        r'^stopped \(SIGTERM\); iteration (\d+) is saved: .*goes on from (.*)$',
        log.read_text(),
        re.M,
    )
    assert checkpoint.load(told[2])['meta']['iter'] == int(told[1])
    assert 'Traceback' not in log.read_text()
    # what helps multiprocessing ends a moment after it
    for _ in range(300):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 0)
            time.sleep(0.2)
            continue
        return
    pytest.fail('processes are left')


def test_checkpoint_proves_that_it_was_trained_from_scratch(trained):
    proof = checkpoint.load(trained / 'iter_4.pth')['meta']['preflight']
    assert proof['init'] == 'random'
    assert re.fullmatch(r'[0-9a-f]{64}', proof['initial_weights_sha256'])


def test_evaluating_the_checkpoint_gives_the_numbers_of_training(
    trained, run_tool, shapes, tmp_path
):
    options = [option for option in SHORT if option.startswith(('test', 'val'))]
    arguments = [CONFIG, trained / 'iter_4.pth', '--data', shapes, '--work-dir', tmp_path]
    log = run_tool('test.py', *arguments, '--cfg-options', *options, is_forked=False)
    assert re.search(r'instances_val\.json: 4 images', log)
    tested = json.loads((tmp_path / 'test_metrics.json').read_text())['test']
    last = json.loads((trained / 'metrics.json').read_text())['last']
    for key, value in tested.items():
        assert value == pytest.approx(last[key], abs=1e-6)


def test_testing_opens_each_annotation_file_once(trained, run_tool, counted, tmp_path):
    data, prepare, opened = counted
    arguments = [CONFIG, trained / 'iter_4.pth', '--data', data, '--work-dir', tmp_path]
    run_tool('test.py', *arguments, '--cfg-options', *SHORT, prepare=prepare)
    assert opened() == ['instances_train.json', 'instances_val.json']


def test_test_time_augmentation(run_tool, trained, shapes, tmp_path):
    options = [option for option in SHORT if option.startswith('test')]
    # after four iterations nothing scores high
    options += ['model.test_cfg.rcnn.score_thr=0.0', 'model.test_cfg.rcnn.max_per_img=20']
    options += [f'test_evaluator.outfile_prefix={tmp_path}/found']
    arguments = [CONFIG, trained / 'iter_4.pth', '--data', shapes, '--work-dir', tmp_path, '--tta']
    log = run_tool('test.py', *arguments, '--cfg-options', *options)
    assert '8 views merged by DetectronTTAModel' in log
    tested = json.loads((tmp_path / 'test_metrics.json').read_text())['test']
    last = json.loads((trained / 'metrics.json').read_text())['last']
    assert {'bbox_mAP', 'segm_mAP'} <= tested.keys() <= last.keys()
    found = json.loads((tmp_path / 'found.segm.json').read_text())
    assert len(found) == 4 * 20
    assert all(detection['segmentation']['size'] == [96, 96] for detection in found)


def test_testing_on_tiles(run_tool, trained, shapes, tmp_path):
    """On tiles larger than the images all is found as without tiles, on smaller ones more."""
    found = {}
    for name, tiles in (('plain', []), ('one', ['--tiles', '128']), ('four', ['--tiles', '64'])):
        options = ['model.test_cfg.rcnn.score_thr=0.0', 'model.test_cfg.rcnn.max_per_img=20']
        options += [f'test_evaluator.outfile_prefix={tmp_path}/{name}', SHORT[-1]]
        arguments = [CONFIG, trained / 'iter_4.pth', '--data', shapes, '--work-dir', tmp_path]
        run_tool('test.py', *arguments, *tiles, '--cfg-options', *options)
        found[name] = json.loads((tmp_path / f'{name}.segm.json').read_text())
    assert found['plain'] == found['one']
    assert len(found['four']) > len(found['one']) == 4 * 20
    assert all(detection['segmentation']['size'] == [96, 96] for detection in found['four'])


def test_testing_judges_the_boxes_and_class_names_of_its_data(run_tool, trained, shapes, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(shapes, data)
    for file in (data / 'annotations').iterdir():
        content = json.loads(file.read_text())
        content['categories'].reverse()
        content['annotations'][0]['bbox'][2] = 0
        file.write_text(json.dumps(content))
    arguments = [CONFIG, trained / 'iter_4.pth', '--data', data, '--work-dir', tmp_path]
    error = run_tool('test.py', *arguments, expect=2)
    assert re.search(r'^error: .*instances_val\.json: 1 of .* --drop-bad-boxes', error, re.M)
    error = run_tool('test.py', *arguments, '--drop-bad-boxes', expect=2)
    found = re.search(r"^error: .*iter_4\.pth: its classes .* is '(.*)' and '(.*)'; ", error, re.M)
    names = [row['name'] for row in content['categories']]
    assert found.groups() == (names[-1], names[0])
    assert 'Traceback' not in error


def test_a_page_of_a_run(run_tool, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / 'run')
    run_tool('report.py', run, '--out', tmp_path / 'pages/page.html', is_forked=False)
    page = (tmp_path / 'pages/page.html').read_text()
    assert 'run ends at ' in page
    assert 'Precision and recall' in page
    assert page.count('src="data:image/jpeg') == 8  # the best and the worst of four
    (stored,) = run.glob('detections_*.json')
    assert len(json.loads(stored.read_text())['files']) == 4
    log = run_tool('report.py', tmp_path / 'pages', expect=2)
    assert log.startswith(f'error: {tmp_path}/pages: holds no run')


def test_inference_draws_every_image_of_a_folder(run_tool, trained, shapes, tmp_path):
    arguments = [trained / 'iter_4.pth', shapes / 'val', '--out', tmp_path, '--device', 'cpu']
    run_tool('infer.py', *arguments, is_forked=False)
    assert len(list((tmp_path / 'vis').glob('*'))) == 4
    assert len(list((tmp_path / 'preds').glob('*.json'))) == 4


def test_inference_skips_what_is_no_image(run_tool, trained, shapes, tmp_path):
    folder, out = tmp_path / 'photos', tmp_path / 'out'
    shutil.copytree(shapes / 'val', folder)
    good, cut, garbled, _ = sorted(folder.iterdir())
    cut.write_bytes(cut.read_bytes()[:-20])
    content = bytearray(garbled.read_bytes())
    content[60:-60] = bytes(len(content) - 120)
    garbled.write_bytes(content)
    (folder / f'._{good.name}').write_text('resource fork')
    # of the name of an image, so that its results would have been written over
    note = good.with_suffix('.txt')
    note.write_text('a dog')
    log = run_tool(
        'infer.py', trained / 'iter_4.pth', folder, note, '--out', out, '--device', 'cpu', expect=2
    )
    skipped = [line.rpartition('skipped: ')[2] for line in log.splitlines() if 'skipped: ' in line]
    assert [line.partition(' ')[0] for line in skipped] == [str(f) for f in (cut, garbled, note)]
    assert re.search(r'^error: 3 of 5 files were skipped', log, re.M)
    assert 'Traceback' not in log
    assert len(list((out / 'vis').glob('*'))) == 2
    assert len(list((out / 'preds').glob('*.json'))) == 2


@pytest.fixture
def find_images():
    spec = importlib.util.spec_from_file_location('infer', ROOT / 'tools/infer.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.find_images


def test_inference_tells_which_images_of_a_folder_it_passes_over(find_images, tmp_path, capsys):
    for name in ('a.png', 'b.SVG', 'c.heic', 'd.svg', '._e.heic'):
        (tmp_path / name).write_text('nothing that OpenCV reads')
    assert find_images([str(tmp_path)]) == [str(tmp_path / 'a.png')]
    told = capsys.readouterr().err
    assert told == (
        f'{tmp_path}: skipped 3 files with .heic or .svg: no images, or of a format that this '
        'OpenCV does not read and write; convert those to PNG or JPEG\n'
    )
    (tmp_path / 'a.png').unlink()
    with pytest.raises(InputError, match=r'no image there .*skipped 3 files with \.heic or \.svg'):
        find_images([str(tmp_path)])


@pytest.mark.parametrize('suffix', ['.gif', '.avif', '.jp2', '.ppm'])
def test_inference_takes_what_opencv_reads_and_writes(find_images, tmp_path, capsys, suffix):
    file = tmp_path / f'x{suffix}'
    if not (cv2.haveImageWriter(file.name) and cv2.imwrite(str(file), np.zeros((40, 50, 3), 'u1'))):
        pytest.skip('not in this build of OpenCV')
    taken = cv2.haveImageReader(str(file))
    (tmp_path / 'y.png').touch()
    assert (str(file) in find_images([str(tmp_path)])) == taken
    assert ('skipped' in capsys.readouterr().err) != taken


def test_inference_tells_of_images_in_sub_folders(find_images, tmp_path):
    (tmp_path / 'a/b').mkdir(parents=True)
    (tmp_path / '.thumbnails').mkdir()
    for name in ('a/b/1.jpg', 'a/b/2.jpg', 'a/notes.txt', '.thumbnails/1.jpg'):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=f'images are in its sub-folders: give {tmp_path}/a/b; '):
        find_images([str(tmp_path)])


def test_inference_needs_a_config(run_tool, trained, shapes, tmp_path):
    state = checkpoint.load(trained / 'iter_4.pth')['state_dict']
    torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
    error = run_tool('infer.py', tmp_path / 'weights.pth', shapes / 'val', expect=2)
    assert re.search(r'^error: .*weights\.pth: holds weights, but not the config', error, re.M)
    assert 'Traceback' not in error


def test_inference_writes_nothing_over(run_tool, trained, shapes, tmp_path):
    image = next((shapes / 'val').iterdir())
    (tmp_path / image.name).write_bytes(image.read_bytes())
    error = run_tool('infer.py', trained / 'iter_4.pth', image, tmp_path / image.name, expect=2)
    assert re.search(rf'^error: .*{image.name}: .* has the same name', error, re.M)


def test_training_begins_with_weights_of_ones_own(run_tool, trained, shapes, tmp_path):
    state = checkpoint.load(trained / 'iter_4.pth')['state_dict']
    backbone = {k.removeprefix('backbone.'): v for k, v in state.items() if 'backbone.' in k}
    torch.save(backbone, tmp_path / 'mine.pth')
    arguments = [CONFIG, '--data', shapes, '--init', tmp_path / 'mine.pth']
    # a learning rate of 0 keeps what was loaded
    options = [*SHORT, 'optim_wrapper.optimizer.lr=0.0', 'train_cfg.val_interval=4']
    log = run_tool(
        'train.py', *arguments, '--work-dir', tmp_path / 'run', '--cfg-options', *options
    )
    assert f'{len(backbone)} weights matched, 0 missing' in log
    ours = checkpoint.load(tmp_path / 'run/iter_4.pth')
    assert ours['meta']['preflight']['init'] == 'pretrained'
    for name, value in backbone.items():
        assert torch.equal(ours['state_dict'][f'backbone.{name}'], value)
    log = run_tool('test.py', CONFIG, tmp_path / 'mine.pth', '--data', shapes, expect=2)
    assert re.search(r'^error: .*mine\.pth: does not fit the model of .* are missing', log, re.M)


def test_subsets_are_written(run_tool, shapes, tmp_path):
    train, out = shapes / 'annotations/instances_train.json', tmp_path / 'subsets/ids.json'
    ids = [image['id'] for image in json.loads(train.read_text())['images']]
    # what one file has and another has not: val35k's way
    some = json.loads(train.read_text())
    some['images'] = some['images'][:3]
    kept = {image['id'] for image in some['images']}
    some['annotations'] = [a for a in some['annotations'] if a['image_id'] in kept]
    (tmp_path / 'some.json').write_text(json.dumps(some))
    subset = ['data/subset.py', out, '--train', train]
    arguments = [*subset, '--of', train, '--minus', tmp_path / 'some.json']
    run_tool(*arguments, is_forked=False)
    assert json.loads(out.read_text())['ids'] == sorted(set(ids) - kept)
    run_tool(*subset, '--number', '3', '--seed', '5')
    assert read_ids(str(out)) == sorted(choose_ids(ids, 3, 5))
    val = shapes / 'annotations/instances_val.json'
    error = run_tool(*subset, '--of', val, '--number', '99', expect=2)
    assert re.search(r'^error: .*instances_train\.json: lacks|asked for', error, re.M)
    subset[1] = out / 'below_a_file.json'
    error = run_tool(*subset, expect=2)
    assert re.search(r'^error: .*below_a_file\.json: cannot be written \(', error, re.M)
    assert 'Traceback' not in error


def test_a_student_learns_from_its_teachers_labels(run_tool, shapes, tmp_path):
    teacher, out, student = (tmp_path / name for name in ('teacher', 'out', 'student'))
    options = ['--cfg-options', *SHORT]
    # a model that has hardly been trained finds little
    few = ['train_dataloader.sampler.subset=3', 'model.test_cfg.rcnn.score_thr=0.0']
    run_tool('train.py', CONFIG, '--data', shapes, '--work-dir', teacher, *options, *few)
    label = ['data/pseudo_labels.py', teacher / 'iter_4.pth', '--data', shapes, '--out', out]
    error = run_tool(*label, expect=2)
    assert re.search(r'^error: .*iter_4\.pth: has seen all labelled images', error, re.M)
    assert not out.exists()
    options_of_label = ['--threshold', '0', '--device', 'cpu', '--batch-size', '2']
    log = run_tool(*label, *options_of_label, is_forked=False)
    told = re.search(r'out: 3 labelled images, and 5 others with (\d+) pseudo labels \(', log)
    content = json.loads((out / 'annotations/instances_train.json').read_text())
    pseudo = [row for row in content['annotations'] if row.get('pseudo')]
    assert 0 < len(pseudo) == int(told[1])
    seen = set(json.loads((teacher / 'subset.json').read_text())['ids'])
    assert not seen & {row['image_id'] for row in pseudo}
    assert all(row['bbox'][2] >= 1 and row['segmentation']['counts'] for row in pseudo)
    error = run_tool(*label, '--threshold', '0', expect=2)
    assert re.search(r'^error: .*out: exists; remove it', error, re.M)

    log = run_tool('train.py', CONFIG, '--data', out, '--work-dir', student, *options)
    assert 'initialization: self-training, from random weights; pseudo labels by iter_4.pth' in log
    report = json.loads((student / 'metrics.json').read_text())
    taught = report['initialization']['teacher']
    digest = hashlib.sha256((teacher / 'iter_4.pth').read_bytes()).hexdigest()
    assert (taught['sha256'], taught['images_seen']) == (digest, 8)
    assert report['pixels_seen_total'] == report['pixels_seen'] + taught['pixels_seen']
    assert report['pixels_seen'] == 8 * 96 * 96


def test_a_detector_learns_at_half_the_size_first(run_tool, shapes, tmp_path):
    low, high = tmp_path / 'low', tmp_path / 'high'
    train = ['train.py', CONFIG, '--data', shapes]
    options = ['--cfg-options', *SHORT, 'train_cfg.val_interval=4']
    run_tool(*train, '--work-dir', low, '--scale', '0.5', *options)
    log = run_tool(*train, '--work-dir', high, '--init', low / 'iter_4.pth', '--freeze', *options)
    # the heads too
    assert '112 weights matched, 0 missing, 0 of another shape' in log
    told = 'iter_4.pth, a detector trained on the same images at 0.5 of their size (8 images, '
    assert f'initialization: frozen, with a frozen backbone, from {told}32,768 pixels)' in log
    report = json.loads((high / 'metrics.json').read_text())
    assert report['initialization']['weights']['kind'] == 'direct'
    # 48 x 48 pixels are padded to multiples of 32
    assert report['pixels_seen_total'] == 8 * 96 * 96 + 8 * 64 * 64
    weights = [checkpoint.load(folder / 'iter_4.pth')['state_dict'] for folder in (low, high)]
    changed = {name for name in weights[0] if not torch.equal(*(w[name] for w in weights))}
    assert changed
    assert not {name for name in changed if name.startswith('backbone.')}


@pytest.mark.parametrize(
    ('tool', 'arguments', 'words'),
    [
        ('train.py', ['configs/scratch/nothing.py'], ['configs/scratch/nothing.py']),
        ('train.py', [CONFIG, '--data', 'no/such/folder'], ['no/such/folder']),
        ('train.py', [CONFIG, '--cfg-options', 'model.backbone.deptth=50'], ['deptth', 'depth']),
        ('train.py', [CONFIG, '--cfg-options', 'train_cfg.max_iter=5'], ['max_iter', 'max_iters']),
        (
            'train.py',
            [CONFIG, '--cfg-options', 'train_dataloader.batch_size=0'],
            ['--cfg-options train_dataloader.batch_size=0: give a whole number from 1'],
        ),
        (
            'train.py',
            [CONFIG, '--cfg-options', 'optim_wrapper=None'],
            ['optim_wrapper.optimizer.lr is missing'],
        ),
        ('infer.py', ['nothing.pth', 'README.md'], ['nothing.pth']),
        ('infer.py', ['nothing.pth', 'no_image.png'], ['no_image.png']),
        ('test.py', [CONFIG, 'nothing.pth'], ['nothing.pth']),
        (
            'test.py',
            [CONFIG, 'nothing.pth', '--tta', '--cfg-options', 'tta_model=None'],
            ['tta_model', 'coco_instance.py'],
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(run_tool, tool, arguments, words, tmp_path):
    if tool != 'infer.py':
        arguments = [*arguments, '--work-dir', str(tmp_path / 'run')]
    output = run_tool(tool, *arguments, expect=2)
    assert 'Traceback' not in output
    lines = [line for line in output.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
@pytest.mark.parametrize('item', ['resume', '=5', CONFIG, 'param_scheduler.1.milestones=[2,(3]'])
def test_an_option_that_is_no_key_and_value_is_a_usage_error(run_tool, tool, item):
    output = run_tool(tool, CONFIG, 'x.pth', '--cfg-options', 'a.b=1', item, expect=2)
    assert 'Traceback' not in output
    assert re.search(r'^\w+\.py: error: argument --cfg-options: ', output, re.M)
    assert item in output


# one of MMDetection's own, but small: no custom_imports, epochs, weights to download, images
# resized by the iteration, as YOLOX does it
STOCK = """
_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py']
model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint='nowhere/resnet18.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]),
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchSyncRandomResize', random_size_range=(96, 128))]
    ),
)
resize = dict(type='Resize', scale=(128, 96), keep_ratio=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    resize,
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
"""


def test_configs_are_timed_side_by_side(run_tool, run_forked, tmp_path):
    def prepare() -> None:
        subprocess.run = run_forked

    stock = tmp_path / 'faster-rcnn_r18_fpn_1x_coco.py'
    stock.write_text(STOCK)
    configs = [CONFIG, 'configs/dsod/dsod192_small_bn_600i_shapes.py', stock]
    out = tmp_path / 'speed.json'
    once = ['--batch', '2', '--rounds', '1', '--steps', '1', '--out', out]
    table = run_tool('analysis/benchmark.py', *configs, *once, prepare=prepare)
    rounds = json.loads(out.read_text())['rounds']
    assert list(rounds) == [Path(config).stem for config in configs]
    for name, [measured] in rounds.items():
        assert name in table
        assert len(measured) == 3
        assert all(value > 0 for value in measured.values())
    error = run_tool('analysis/benchmark.py', CONFIG, 'nothing.py', *once[:6], expect=2)
    assert re.search(r'^error: nothing\.py: ', error, re.M)


def test_the_suite_for_a_gpu_tries_itself_out(run_tool, tmp_path):
    out = tmp_path / 'gpu.json'
    suite = ('analysis/benchmark.py', '--suite', 'gpu', '--device', 'cpu')
    printed = run_tool(*suite, '--tiny', '--out', out)
    record = json.loads(out.read_text())
    assert set(record['steps']) == {'mmscratch', 'mmscratch bf16', 'mmdetection', 'torchvision'}
    for name, numbers in record['steps'].items():
        assert name in printed
        assert 'error' not in numbers
        assert min(numbers['images_per_second']) > 0
        assert len(numbers['stages_ms']) == 7
    assert record['steps']['mmscratch']['profile']['calls']['aten::item'] > 0


def test_the_suite_for_evaluation_tries_itself_out(run_tool, tmp_path):
    def prepare() -> None:
        forks = SimpleNamespace(get_context=lambda spawn: multiprocessing.get_context('fork'))
        evaluation.multiprocessing = forks

    out = tmp_path / 'evaluation.json'
    suite = ('analysis/benchmark.py', '--suite', 'evaluation', '--out', out)
    printed = run_tool(*suite, '--tiny', '--rounds', '2', prepare=prepare)
    record = json.loads(out.read_text())
    assert [drawn['part'] for drawn in record['drawn']] == ['instances', 'persons']
    ours = [run for run in record['runs'] if run['evaluator'] == 'mmscratch']
    assert [run['kind'] for run in ours] == 2 * ['bbox', 'segm', 'keypoints']
    for run in ours:
        assert f'{run["kind"]}: 12 images' in printed
        assert run['difference'] == 0
        assert run['seconds'] > run['load_seconds'] > 0
    error = run_tool(*suite, '--parts', 'steps', expect=2)
    assert "invalid choice: 'steps'" in error
    error = run_tool(suite[0], '--suite', 'loading', '--parts', 'val', '--out', out, expect=2)
    assert 'error: --parts is of --suite evaluation' in error


def test_the_suites_for_a_cpu_try_themselves_out(run_tool, tmp_path):
    for suite, tables in (('loading', 3), ('start', 2), ('long', 1)):
        out = tmp_path / f'{suite}.json'
        once = ['--suite', suite, '--tiny', '--rounds', '1', '--out', out]
        printed = run_tool('analysis/benchmark.py', *once)
        assert printed.count('| --- |') == tables
    record = json.loads((tmp_path / 'loading.json').read_text())
    assert record['decoders']['opencv']['equal']
    for sides in record['rounds'].values():
        [ours], [theirs] = sides['mmscratch'], sides['mmdetection']
        assert list(ours['stages_ms']) == list(theirs['stages_ms'])
        # masks are cuts of the image here, and whole there
        assert ours['sent_kb'] < theirs['sent_kb'] / 5
    record = json.loads((tmp_path / 'start.json').read_text())
    for [run] in record['rounds'].values():
        assert run['cpu_seconds'] > 0
        assert len(run['workers']) == 2
    assert record['worker_mb'][0]['own'] > 0
    samples = json.loads((tmp_path / 'long.json').read_text())['samples']
    assert [each['step'] for each in samples] == [2, 4]
    # two workers load images to train on, two to validate on since the first validation
    assert samples[-1]['processes'] == 5


def test_a_run_survives_a_fault_of_the_campaign(run_tool, tmp_path):
    out = tmp_path / 'campaign.json'
    # one begins in the first second
    run_tool('analysis/torture.py', '--seconds', '1', '--out', out)
    [row] = json.loads(out.read_text())['faults']
    assert (row['tries'], row['survived']) == (1, 1), row


def test_committed_tables_are_fresh(run_tool):
    run_tool('tables.py', '--check')
