"""What inference writes beyond what MMDetection's does; tests/test_tools.py runs the tool."""

import importlib.util
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

from mmscratch.errors import InputError
from mmscratch.evaluation.inferencer import Inferencer

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/scratch/keypoint_rcnn_r18_gn_600i_shapes.py'
CLASSES = ('bar', 'circle', 'diamond', 'square', 'star', 'triangle')


@pytest.fixture(scope='module')
def random(tmp_path_factory) -> Path:
    """A checkpoint of random weights, whose detections are random too."""
    config = Config.fromfile(CONFIG)
    config.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=3)
    torch.manual_seed(0)
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=CLASSES))
    state = MODELS.build(config.model).state_dict()
    file = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(meta=meta, state_dict=state), file)
    return file


def draw(file: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def test_names_and_keypoints_are_written(random, tmp_path):
    inferencer = Inferencer(weights=str(random), device='cpu', show_progress=False)
    draw(tmp_path / 'one.png')
    inferencer(str(tmp_path / 'one.png'), out_dir=str(tmp_path), no_save_pred=False)
    assert (tmp_path / 'vis/one.png').is_file()
    found = json.loads((tmp_path / 'preds/one.json').read_text())
    points = np.array(found['keypoints'])
    number = Config.fromfile(CONFIG).model.roi_head.keypoint_head.num_keypoints
    assert points.shape == (3, number, 3)
    # in the image's own pixels, whatever it was resized to
    assert (points[..., :2] >= 0).all()
    assert (points[..., :2] <= (128, 96)).all()
    assert found['names'] == [CLASSES[label] for label in found['labels']]


def test_pictures_do_not_pile_up(random, tmp_path, monkeypatch):
    """MMDetection returns all of them at the end, in full size."""
    spec = importlib.util.spec_from_file_location('infer', ROOT / 'tools/infer.py')
    infer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(infer)

    class Picture:
        pass

    kept, counts = weakref.WeakSet(), []

    def visualize(*args, **kwargs):
        counts.append(len(kept))
        picture = Picture()
        kept.add(picture)
        return [picture]

    monkeypatch.setattr(Inferencer, 'visualize', visualize)
    for name in 'abc':
        draw(tmp_path / f'{name}.png')
    arguments = [random, tmp_path, '--out', tmp_path / 'out', '--device', 'cpu']
    monkeypatch.setattr('sys.argv', ['infer.py', *map(str, arguments)])
    infer.main()
    assert len(list((tmp_path / 'out/preds').iterdir())) == 3
    assert counts == [0, 0, 0]


def changed(file: Path, folder: Path, **entries) -> str:
    loaded = torch.load(file)
    torch.save(loaded | entries, folder / 'changed.pth')
    return str(folder / 'changed.pth')


def test_a_model_without_its_weights_detects_nothing(random, tmp_path):
    """MMEngine would go on with random ones."""
    state = torch.load(random)['state_dict']
    state.popitem()
    file = changed(random, tmp_path, state_dict=state)
    with pytest.raises(InputError, match=r'changed\.pth: does not fit the model .* 1 weights are'):
        Inferencer(weights=file, device='cpu')
    other = str(ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    with pytest.raises(InputError, match=r'random\.pth: does not fit the model of .*mask_rcnn'):
        Inferencer(other, str(random), device='cpu')


def test_classes_come_from_the_checkpoint_or_else_from_the_config(random, tmp_path):
    cfg = torch.load(random)['meta']['cfg']
    own = Config.fromfile(CONFIG).test_dataloader.dataset.metainfo.classes
    for meta, expected in [
        (dict(dataset_meta=[dict(classes=CLASSES, palette=[]), dict(classes=CLASSES)]), CLASSES),
        (dict(CLASSES=CLASSES), CLASSES),
        (dict(dataset_meta=None), own),
        ({}, own),
    ]:
        file = changed(random, tmp_path, meta=dict(cfg=cfg, **meta))
        assert Inferencer(weights=file, device='cpu').model.dataset_meta['classes'] == expected
    several = [dict(classes=('a',)), dict(classes=('b',))]
    file = changed(random, tmp_path, meta=dict(cfg=cfg, dataset_meta=several))
    with pytest.raises(InputError, match='several data sets'):
        Inferencer(weights=file, device='cpu')


def test_no_picture_is_written_over_an_image(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('infer', ROOT / 'tools/infer.py')
    infer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(infer)
    (tmp_path / 'vis').mkdir()
    draw(tmp_path / 'vis/a.png')
    before = (tmp_path / 'vis/a.png').read_bytes()
    (tmp_path / 'link').symlink_to(tmp_path)
    for folder in ('vis', 'link/vis'):
        arguments = ['a.pth', tmp_path / folder, '--out', tmp_path]
        monkeypatch.setattr('sys.argv', ['infer.py', *map(str, arguments)])
        with pytest.raises(InputError, match=r'a\.png: a picture would be written over it'):
            infer.main()
    assert (tmp_path / 'vis/a.png').read_bytes() == before
