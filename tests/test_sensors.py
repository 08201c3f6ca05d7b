"""From --data to a release, on images of one to five channels of each type."""

import importlib.util
import json
import logging
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.data.transforms import LoadImageFromFile
from mmscratch.errors import InputError
from mmscratch.evaluation.inferencer import Inferencer
from mmscratch.weights import checkpoint, publish

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'param_scheduler.0.end=1',
    'param_scheduler.1.milestones=[1]',
    'param_scheduler.1.end=2',
    'default_hooks.checkpoint.interval=2',
    'train_dataloader.batch_size=2',
    'auto_scale_lr.base_batch_size=2',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'model.test_cfg.rcnn.score_thr=0.0',
    'model.test_cfg.rcnn.max_per_img=3',
]


def draw(root: Path, channels: int, dtype: str) -> None:
    """SHAPES whose last channel alone has the objects, in up to 12 bits."""
    levels = 256 if dtype == 'uint8' else 4096
    generate(
        root, ShapesConfig(size=64, object_size=(0.2, 0.5)), {'train': 4, 'val': 2}, progress=False
    )
    for split in ('train', 'val'):
        file = root / f'annotations/instances_{split}.json'
        content = json.loads(file.read_text())
        for row in content['images']:
            picture = root / split / row['file_name']
            pixels = np.random.default_rng(row['id']).integers(0, levels, (64, 64, channels))
            grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE).astype(int)
            pixels[..., -1] = levels // 256 * grey
            picture.unlink()
            if dtype == 'float32':
                row['file_name'] = f'{picture.stem}.npy'
                np.save(root / split / row['file_name'], pixels.astype(dtype) / 4096)
            elif channels in (3, 4):
                row['file_name'] = f'{picture.stem}.png'
                order = [2, 1, 0, 3][:channels]  # OpenCV's
                cv2.imwrite(str(picture.with_suffix('.png')), pixels.astype(dtype)[..., order])
            else:
                row['file_name'] = f'{picture.stem}.tif'
                tifffile = pytest.importorskip('tifffile')
                pages = np.moveaxis(pixels, 2, 0).astype(dtype)
                tifffile.imwrite(picture.with_suffix('.tif'), pages, photometric='minisblack')
        file.write_text(json.dumps(content))


@pytest.fixture
def tool(monkeypatch):
    """Return a function that runs a tool within this process."""

    def run(name: str, *arguments: str | Path) -> None:
        spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        takes_arguments = module.main.__code__.co_argcount
        module.main(*([module.parse_args()] if takes_arguments else []))
        logging.getLogger('mmengine').handlers.clear()

    return run


@pytest.mark.parametrize(
    ('channels', 'dtype', 'shown'),
    [(5, 'uint16', [5, 1, 2]), (1, 'float32', []), (3, 'uint16', []), (4, 'uint8', [])],
)
def test_trains_evaluates_infers_and_publishes(tool, tmp_path, capsys, channels, dtype, shown):
    root, run = tmp_path / 'data', tmp_path / 'run'
    draw(root, channels, dtype)
    options = ['--data', root, *(['--shown-channels', *shown] if shown else [])]
    tool('train', CONFIG, *options, '--work-dir', run, '--cfg-options', *SHORT)
    # the normalization is in the weights and in the config of the checkpoint
    saved = checkpoint.load(run / 'iter_2.pth')
    load = LoadImageFromFile(channels=range(1, channels + 1))
    images = [load.image(file).reshape(-1, channels) for file in (root / 'train').iterdir()]
    pixels = np.concatenate(images).astype(float)
    for name, wanted in (('mean', pixels.mean(0)), ('std', pixels.std(0))):
        held = saved['state_dict'][f'data_preprocessor.{name}']
        np.testing.assert_allclose(held.flatten(), wanted, rtol=1e-5)
    assert f'in_channels={channels}' in saved['meta']['cfg']
    pictures = sorted((run / 'pictures').iterdir())
    assert len(pictures) == 2

    tool(
        'test', CONFIG, run / 'iter_2.pth', *options, '--work-dir', tmp_path / 'test',
        '--cfg-options', *SHORT,
    )  # fmt: skip
    other = [tmp_path / 'other', '--channels', *range(1, channels + 1)]
    draw(other[0], max(channels, 3), 'uint8' if dtype != 'uint8' else 'uint16')
    with pytest.raises(InputError, match=rf'was trained on {channels} channels? of {dtype}, and'):
        tool('test', CONFIG, run / 'iter_2.pth', '--data', *other, '--work-dir', tmp_path / 'no')
    tested = json.loads((tmp_path / 'test/test_metrics.json').read_text())['test']
    trained = json.loads((run / 'metrics.json').read_text())['last']
    assert tested['bbox_mAP_50'] == pytest.approx(trained['bbox_mAP_50'], abs=1e-6)

    tool('infer', run / 'iter_2.pth', root / 'val', '--out', tmp_path / 'found', '--device', 'cpu')
    names = sorted(file.stem for file in (root / 'val').iterdir())
    drawn = sorted(file.name for file in (tmp_path / 'found/vis').iterdir())
    assert drawn == [f'{name}.png' for name in names]
    found = json.loads((tmp_path / f'found/preds/{names[0]}.json').read_text())
    assert len(found['scores']) == 3
    assert 'warning' not in capsys.readouterr().err
    if dtype == 'float32':
        np.save(tmp_path / 'far.npy', 4096 * np.load(min((root / 'val').iterdir())))
        tool('infer', run / 'iter_2.pth', tmp_path / 'far.npy', '--out', tmp_path / 'far')
        assert 'values of channel 1 have the mean' in capsys.readouterr().err

    *_, release = publish.publish(run / 'iter_2.pth', tmp_path / 'out', 'x')
    inferencer = Inferencer(weights=str(release), device='cpu', show_progress=False)
    image = min((root / 'val').iterdir())
    of_file = inferencer(str(image))['predictions'][0]
    assert of_file['scores'] == pytest.approx(found['scores'])
    # an array of the model's channels is taken, too
    array = inferencer.loader.image(image)
    of_array = inferencer(array)['predictions'][0]
    assert of_array['scores'] == pytest.approx(found['scores'])
    if shown:
        picture = inferencer.loader.picture(image)
        brightest = cv2.resize(picture[..., 0], (8, 8), interpolation=cv2.INTER_AREA).std()
        noise = cv2.resize(picture[..., 1], (8, 8), interpolation=cv2.INTER_AREA).std()
        assert brightest > 2 * noise  # objects, not noise
