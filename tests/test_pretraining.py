"""tools/pretrain.py from a folder of images to weights that a detector begins with."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmscratch.config.runner_config import fit_to_runner
from mmscratch.data import layouts
from mmscratch.errors import InputError
from mmscratch.study.pretraining_run import PretrainingRun
from mmscratch.study.run import Data, meaning
from mmscratch.weights import checkpoint
from mmscratch.weights.matched_weights import matched_weights

ROOT = Path(__file__).resolve().parents[1]
GN = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
BN = 'configs/miniature/mask_rcnn_r18_bn.py'
FROZEN = 'configs/pretrained/mask_rcnn_r50_gn_3x_freeze2.py'
VGG = 'configs/scratch/faster_rcnn_vgg16_nonorm_1200i_shapes.py'


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.RandomState(0)
    for number in range(20):
        small = rng.randint(0, 256, (5, 6, 3), np.uint8)
        picture = cv2.resize(small, (72, 60), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{number}.png'), picture)
    return folder


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('pretrain', ROOT / 'tools/pretrain.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pretrain(tool, images, tmp_path, monkeypatch):
    """Return a function that pre-trains for some iterations and returns the work directory."""
    monkeypatch.chdir(ROOT)

    def run(name: str, *options: str, config=GN, iterations=4, folder=images, interval=2) -> Path:
        out = tmp_path / name
        arguments = [config, '--images', folder, '--iterations', iterations, '--work-dir', out]
        arguments += ['--size', 64, '--batch-size', 4, *options]
        settings = [
            f'default_hooks.checkpoint.interval={interval}',
            'default_hooks.logger.interval=1',
        ]
        settings += ['train_dataloader.num_workers=0']
        if '--cfg-options' not in arguments:
            arguments.append('--cfg-options')
        monkeypatch.setattr(sys, 'argv', ['pretrain.py', *map(str, [*arguments, *settings])])
        tool.main(tool.parse_args())
        return out

    return run


def weights_of(folder: Path, name='backbone.pth') -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / name)['state_dict']


def log_of(folder: Path) -> str:
    return ''.join(file.read_text() for file in sorted(folder.glob('*/*.log')))


@pytest.mark.parametrize('config', [GN, BN, VGG])
def test_the_backbone_fits_its_detector(pretrain, config):
    out = pretrain('run', config=config, iterations=3)
    file = out / 'backbone.pth'
    loaded = checkpoint.load(file)
    detector = MODELS.build(Config.fromfile(ROOT / config).model)
    found = matched_weights(loaded, detector, str(file), config, complete=False)
    expected = {f'backbone.{name}' for name in detector.backbone.state_dict()}
    assert found.weights.keys() == expected
    assert found.share == 1
    # all convolutions learn in each iteration
    before = weights_of(out, 'iter_2.pth')
    convolutions = [name for name, value in found.weights.items() if value.dim() == 4]
    assert convolutions
    assert not [name for name in convolutions if found.weights[name].equal(before[name])]


def test_images_of_a_sensor(pretrain, tmp_path, capsys):
    """Five channels of 16 bits; the result is of the detector that --data makes of such images."""
    folder, root = tmp_path / 'sensor', tmp_path / 'data'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = np.kron(rng.integers(10_000, 12_000, (5, 6, 5)), np.ones((12, 12, 1)))
        np.save(folder / f'{number}.npy', pixels.astype(np.uint16))
    out = pretrain('run', iterations=3, folder=folder)
    told = capsys.readouterr().out
    assert 'images of 5 channels of uint16' in told
    assert 'TwoViews: changes brightness and contrast of each channel by itself' in told
    values = np.stack([np.load(file) for file in folder.iterdir()]).astype(float)
    (config,) = out.glob('*.py')
    cfg = Config.fromfile(config)
    views = cfg.train_dataloader.dataset.pipeline[-1]
    np.testing.assert_allclose(views.deviation, values.std((0, 1, 2)), rtol=1e-4)
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.type == 'TwoViewsPreprocessor'
    np.testing.assert_allclose(preprocessor.mean, values.mean((0, 1, 2)), rtol=1e-4)
    normalize = MODELS.build(preprocessor)
    seen = normalize(dict(inputs=torch.from_numpy(values[:4]).permute(0, 3, 1, 2)[:, None]))
    expected = (values[:4] - preprocessor.mean) / preprocessor.std
    torch.testing.assert_close(
        seen['inputs'][:, 0].permute(0, 2, 3, 1), torch.tensor(expected).float(), atol=1e-3, rtol=0
    )

    names = sorted(file.name for file in folder.iterdir())
    size = dict(width=72, height=60)
    box = dict(bbox=[2, 2, 30, 30], area=900, iscrowd=0, category_id=1)
    box['segmentation'] = [[2, 2, 32, 2, 32, 32, 2, 32]]
    (root / 'annotations').mkdir(parents=True)
    for split, part in (('train', names[:16]), ('val', names[16:])):
        (root / split).symlink_to(folder)
        content = dict(
            images=[dict(id=n, file_name=name, **size) for n, name in enumerate(part)],
            annotations=[dict(id=n, image_id=n, **box) for n, _ in enumerate(part)],
            categories=[dict(id=1, name='a')],
        )
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    detector = Config.fromfile(ROOT / GN)
    layouts.use_folder(detector, root)
    model = MODELS.build(detector.model)
    weights = checkpoint.load(out / 'backbone.pth')
    found = matched_weights(weights, model, 'backbone.pth', GN, complete=False)
    assert (found.share, found.adapted) == (1, '')
    assert found.weights[found.first].shape[1] == 5


def test_the_result_says_what_it_is(pretrain, images):
    out = pretrain('run', '--method', 'moco')
    proof = checkpoint.load(out / 'backbone.pth')['meta']['preflight']
    sha256 = proof['pretraining'].pop('images_sha256')
    assert len(sha256) == 64
    assert proof['pretraining'] == dict(
        method='moco',
        images=20,
        view_size=64,
        iterations=4,
        images_seen=16,
        pixels_seen=16 * 64 * 64,
    )
    assert (proof['init'], proof['seed'], proof['parent'], proof['waived']) == (
        *('random', 0, None),
        [],
    )
    assert (out / 'curves.png').stat().st_size > 10_000
    records = [json.loads(line) for line in next(out.glob('*/vis_data/scalars.json')).open()]
    assert {'loss', 'loss_image', 'image_spread', 'effective_rank', 'lr'} <= records[-1].keys()
    assert 'loss_cell' not in records[-1]
    # lr of 0.03 for 32 images, and a queue of half the images in batches of 4
    log = log_of(out)
    assert '20 images, 4 images/step, views of 64 pixels, queue of 8, lr 0.00375' in log
    assert 'eta:' in log


def test_a_stopped_run_goes_on_to_the_bit(pretrain):
    """Of order, views, queues, momentum encoder, schedule and statistics of BN."""
    whole = pretrain('whole', config=BN, iterations=4)
    stopped = whole.with_name('stopped')
    stopped.mkdir()
    for name in ('iter_2.pth', 'last_checkpoint', Path(BN).name):
        shutil.copy(whole / name, stopped / name)
    (stopped / 'last_checkpoint').write_text(str(stopped / 'iter_2.pth'))
    pretrain('stopped', '--resume', config=BN, iterations=4)
    for name in ('backbone.pth', 'iter_4.pth'):
        states = weights_of(whole, name), weights_of(stopped, name)
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            assert value.equal(states[1][key]), (name, key)
    proofs = [
        checkpoint.load(folder / 'backbone.pth')['meta']['preflight'] for folder in (whole, stopped)
    ]
    assert proofs[0] == proofs[1]
    saved = checkpoint.load(whole / 'iter_2.pth')['meta']['preflight']['pretraining']
    assert (saved['iterations'], saved['images_seen']) == (2, 8)


@pytest.mark.parametrize('kind', ['number', 'file'])
def test_no_image_is_in_a_step_twice(pretrain, tmp_path, kind):
    subset = 5
    if kind == 'file':
        subset = tmp_path / 'ids.txt'
        subset.write_text(''.join(f'photos0/{number}.png\n' for number in range(5)))
    option = ['--cfg-options', f'train_dataloader.sampler.subset={subset}']
    with pytest.raises(InputError, match=r'--batch-size 6: .* some of the 5 images twice'):
        pretrain('run', '--batch-size', '6', *option)


def test_other_views_are_no_resumption(pretrain, images, tmp_path):
    pretrain('run')
    others = tmp_path / images.name
    shutil.copytree(images, others)
    (others / '0.png').unlink()
    with pytest.raises(InputError, match=r'iter_4\.pth began with another --images: resume'):
        pretrain('run', '--resume', folder=others)
    with pytest.raises(InputError, match=r'iter_4\.pth began with another --size: resume'):
        pretrain('run', '--resume', '--size', '32')


def test_one_pretraining_begins_with_another(pretrain):
    first = pretrain('first', iterations=3)
    second = pretrain('second', '--init', str(first / 'backbone.pth'), iterations=3)
    proof = checkpoint.load(second / 'backbone.pth')['meta']['preflight']
    assert proof['init'] == 'pretrained'
    assert proof['parent']['pretraining']['method'] == 'densecl'
    assert proof['parent']['pretraining']['iterations'] == 3


def test_a_backbone_that_its_detector_freezes_trains_in_full(tool, images, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', ['pretrain.py', FROZEN, '--images', str(images)])
    cfg = tool.configure(tool.parse_args())
    assert Config.fromfile(FROZEN).model.backbone.frozen_stages == 1
    assert cfg.model.backbone.frozen_stages == -1
    assert cfg.load_from is None
    assert Path(cfg.work_dir) == Path(
        f'work_dirs/pretrained/mask_rcnn_r50_gn_3x_freeze2_{images.name}_densecl'
    )


@pytest.mark.parametrize('config', [GN, FROZEN, VGG])
def test_a_study_takes_the_recipe_that_is_trained(tool, images, monkeypatch, config):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', ['pretrain.py', config, '--images', str(images)])
    trained = tool.configure(tool.parse_args())
    trained.train_dataloader.dataset.folders = []
    keyed = PretrainingRun('own', config, 0, Data('own', 'sha')).load()
    fit_to_runner(keyed)
    assert meaning(keyed.to_dict()) == meaning(trained.to_dict())


def test_a_fault_ends_in_one_line(images, tmp_path):
    command = [sys.executable, 'tools/pretrain.py', GN, '--images', images, '--work-dir', tmp_path]
    command += ['--cfg-options', 'train_dataloader.batch_size=4']
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        'error: --cfg-options train_dataloader.batch_size=4: give it with --batch-size\n'
    )


def test_another_run_is_not_overwritten(pretrain):
    out = pretrain('run', iterations=3)
    before = (out / 'backbone.pth').read_bytes()
    with pytest.raises(InputError, match='already holds a run'):
        pretrain('run', iterations=3)
    with pytest.raises(InputError, match=r'holds a run of mask_rcnn.*, not of faster_rcnn'):
        pretrain('run', config=VGG, iterations=3)
    assert (out / 'backbone.pth').read_bytes() == before


@pytest.mark.parametrize('kind', ['constant', 'healthy'])
def test_a_collapse_ends_the_run(pretrain, images, tmp_path, kind):
    """Images that are all alike cannot be told apart, however long the training."""
    folder = tmp_path / kind
    folder.mkdir()
    for number, file in enumerate(sorted(images.iterdir())):
        picture = cv2.imread(str(file))
        if kind == 'constant':
            picture[:] = 0
        cv2.imwrite(str(folder / f'{number}.png'), picture)
    jitter = 'train_dataloader.dataset.pipeline.1.jitter=0'
    arguments = ['--cfg-options', 'default_hooks.collapse.warm_up=20', jitter]
    options = dict(folder=folder, iterations=22, interval=100)
    if kind == 'constant':
        with pytest.raises(InputError, match='iteration 20: the embeddings are nearly the same'):
            pretrain('run', *arguments, **options)
    else:
        assert (pretrain('run', *arguments, **options) / 'backbone.pth').exists()
