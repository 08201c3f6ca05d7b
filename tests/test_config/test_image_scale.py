from pathlib import Path

import pytest
from mmdet.registry import TRANSFORMS
from mmengine.config import Config

from mmscratch.config.image_scale import scale_images
from mmscratch.config.sections import walk
from mmscratch.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def scaled(name: str, factor: float) -> Config:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    scale_images(cfg, factor)
    return cfg


def step(cfg: Config, split: str, kind: str) -> dict:
    [found] = [n for n in walk(cfg[f'{split}_dataloader'].dataset) if n.get('type') == kind]
    return found


def test_each_way_to_say_a_size_is_scaled():
    cfg = scaled('scratch/mask_rcnn_r50_gn_6x', 0.5)
    for split in ('train', 'val', 'test'):
        assert step(cfg, split, 'Resize').scale == (666, 400)
    resizes = [node for node in walk(cfg.tta_pipeline) if node.get('type') == 'Resize']
    assert [node.scale for node in resizes[:2]] == [(666, 400), (1000, 200)]
    assert cfg.resolution_factor == 0.5
    cfg = scaled('pretrained/mask_rcnn_r50_gn_6x_ms', 0.5)
    assert step(cfg, 'train', 'RandomChoiceResize').scales[0] == (666, 320)
    cfg = scaled('scratch/mask_rcnn_r50_gn_fast', 0.5)
    assert step(cfg, 'train', 'ProgressiveResize').scales == [(500, 300), (666, 400)]
    cfg = scaled('scratch/mask_rcnn_r50_syncbn_100e_lsj', 0.25)
    assert step(cfg, 'train', 'RandomResize').scale == (256, 256)
    assert step(cfg, 'train', 'RandomResize').ratio_range == (0.1, 2.0)
    assert step(cfg, 'train', 'RandomCrop').crop_size == (256, 256)
    assert cfg.model.data_preprocessor.batch_augments[0].size == (256, 256)
    scale_images(cfg, 2)
    assert step(cfg, 'train', 'RandomCrop').crop_size == (512, 512)
    assert cfg.resolution_factor == 0.5


def test_images_that_fit_shrink_too():
    import numpy as np

    import mmscratch.register_all  # noqa: F401

    cfg = scaled('scratch/mask_rcnn_r18_gn_600i_shapes', 0.5)
    for split in ('train', 'val', 'test'):
        transform = TRANSFORMS.build(step(cfg, split, 'ScaleFitted'))
        small, large = (
            transform(dict(img=np.zeros(shape, 'u1'))) for shape in ((96, 128, 3), (512, 512, 3))
        )
        assert small['img'].shape == (48, 64, 3)
        assert small['scale_factor'] == (0.5, 0.5)
        assert large['img'].shape == (128, 128, 3)


@pytest.mark.parametrize(
    ('name', 'factor', 'message'),
    [
        ('scratch/mask_rcnn_r50_gn_6x', 0, '--scale 0: give a number above 0'),
        (
            'dsod/dsod300_full_bn_100k_voc07p12',
            0.5,
            r'gives all images the size \(300, 300\)',
        ),
        ('scratch/ssd300_vgg16_nonorm_120k_voc07p12', 0.5, 'for which the detector is made'),
    ],
)
def test_sizes_that_cannot_be_scaled(name, factor, message):
    with pytest.raises(InputError, match=message):
        scaled(name, factor)


def test_without_a_resize_there_is_nothing_to_scale():
    cfg = Config.fromfile(CONFIGS / 'scratch/mask_rcnn_r50_gn_6x.py')
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.pipeline = [step for step in dataset.pipeline if step.type != 'Resize']
    with pytest.raises(InputError, match='no step of its pipelines resizes images'):
        scale_images(cfg, 0.5)
