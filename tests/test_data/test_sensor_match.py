"""What is told of images that differ from those that a checkpoint was trained on."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmscratch.data import sensor_match
from mmscratch.data.image_check import ImageFacts
from mmscratch.data.layouts import use_folder
from mmscratch.data.transforms import LoadImageFromFile
from mmscratch.errors import InputError

FILE = Path('iter_9.pth')
CONFIG = """
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
model = dict(backbone=dict(init_cfg=None))
"""


@pytest.fixture(scope='module')
def loaded(tmp_path_factory) -> Config:
    file = tmp_path_factory.mktemp('config') / 'config.py'
    file.write_text(CONFIG)
    return Config.fromfile(file)


@pytest.fixture
def use(loaded, make_coco):
    """Return a function that makes a config read images of some kind and values, or colour."""

    def make(channels=5, dtype='uint16', factor=1.0, shift=0.0, trains=False) -> Config:
        def rename(split, data):
            for row in data['images']:
                row['file_name'] = f'{row["id"]}.npy'

        root, cfg = make_coco(rename if dtype else None), copy.deepcopy(loaded)
        for split in ('train', 'val') if dtype else ():
            content = json.loads((root / f'annotations/instances_{split}.json').read_text())
            for row in content['images']:
                rng = np.random.default_rng(row['id'])
                shape = row['height'], row['width'], channels
                pixels = (40 + 40 * rng.random(shape)) * factor + shift
                np.save(root / split / row['file_name'], pixels.astype(dtype))
        use_folder(cfg, root, measure=trains)
        return cfg

    return make


def checkpoint_of(cfg: Config) -> dict:
    return dict(meta=dict(cfg=cfg.pretty_text))


def test_images_of_the_same_kind_are_not_worth_a_word(use, loaded):
    trained = checkpoint_of(use(trains=True))
    assert sensor_match.check(use(), trained, FILE) == []
    assert sensor_match.check(loaded, checkpoint_of(loaded), FILE) == []
    # weights alone say nothing of images
    assert sensor_match.check(use(), {}, FILE) == []


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        (dict(dtype='float32'), r'5 channels of uint16, and .* 5 channels of float32 from .*/val;'),
        (dict(channels=4), r'would take 4 channels of uint16 from .* give images of that kind$'),
        (dict(channels=6), r'would take 6 .* that kind, or choose with --channels 1 2 3 4 5$'),
        (dict(channels=1, dtype='uint8'), r'would take 1 channel of uint8 from .* of that kind$'),
    ],
)
def test_another_kind_ends_in_a_line(use, kind, message):
    trained = checkpoint_of(use(trains=True))
    with pytest.raises(InputError, match=rf'^iter_9\.pth: was trained on .*{message}') as error:
        sensor_match.check(use(**kind), trained, FILE)
    assert '\n' not in str(error.value)


def test_colour_and_three_channels_of_a_sensor_are_two_kinds(use):
    """The shapes of all weights are the same."""
    sensor, colour = use(3, trains=True), use(dtype=None)
    with pytest.raises(InputError, match=r'trained on 3 channels of uint16, .* take colour'):
        sensor_match.check(colour, checkpoint_of(sensor), FILE)
    with pytest.raises(InputError, match=r'trained on colour or grey of 8 bits, .* take 3'):
        sensor_match.check(sensor, checkpoint_of(colour), FILE)


def test_other_channels_of_the_same_number_are_told(use):
    trained = checkpoint_of(use(trains=True))
    cfg = use()
    cfg.test_dataloader.dataset.pipeline[0]['channels'] = [2, 1, 3, 4, 5]
    (remark,) = sensor_match.check(cfg, trained, FILE)
    assert 'channels 2 1 3 4 5 are tested, and iter_9.pth was trained on 1 2 3 4 5' in remark


@pytest.mark.parametrize(
    ('factor', 'shift', 'told'),
    # 12 bits in the upper ones of 16; counts from another zero; a tenth of the contrast
    [(16, 0, True), (1, 500, True), (0.05, 57, True), (1.5, -20, False), (0.5, 30, False)],
)
@pytest.mark.parametrize('own', [57.0, 1.0])
def test_values_that_are_far_off_are_told(use, loaded, factor, shift, told, own):
    """Whatever scale the config gives its input."""
    loaded.model.data_preprocessor.std = [own] * 3
    kind = dict(channels=2, dtype='float32')
    trained = checkpoint_of(use(trains=True, **kind))
    remarks = sensor_match.check(use(factor=factor, shift=shift, **kind), trained, FILE)
    assert len(remarks) == 2 * told
    if told:
        assert 'values of channel 1 have the mean' in remarks[0]
        assert 'those of training had 60.' in remarks[0] or 'had 59.' in remarks[0]


def test_files_that_have_more_than_is_taken():
    colour = ImageFacts(width=8, height=8)
    deep = replace(colour, bits=16, dtype='uint16')
    bands = replace(deep, channels=5, not_for_opencv='has 5 channels')
    assert sensor_match.file_remarks([colour], LoadImageFromFile()) == []
    (remark,) = sensor_match.file_remarks([colour, deep, deep, bands], LoadImageFromFile())
    assert remark.startswith('2 images have uint16, and the model was trained on colour of 8 bits')
    first = LoadImageFromFile(channels=[1, 2, 3], dtype='uint16')
    (remark,) = sensor_match.file_remarks([deep, bands], first)
    assert remark == '1 images have 5 channels, of which the model takes 1 2 3'
    chosen = LoadImageFromFile(channels=[5, 2], dtype='uint16')
    assert sensor_match.file_remarks([bands], chosen) == []
