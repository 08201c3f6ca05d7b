"""What --data does to a config for images that are not three channels of 8 bits."""

import copy
import json
import logging

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from PIL import Image

from mmscratch.config.sections import type_name, walk
from mmscratch.data import layouts
from mmscratch.data.layouts import use_folder
from mmscratch.errors import InputError

RETINA = """
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(backbone=dict(init_cfg=None))
"""
MEAN = (100.0, 2000.0, 30.0, 4.0, 50.0)


@pytest.fixture(scope='module')
def loaded(tmp_path_factory) -> Config:
    file = tmp_path_factory.mktemp('config') / 'config.py'
    file.write_text(RETINA)
    return Config.fromfile(file)


@pytest.fixture
def retina(loaded) -> Config:
    return copy.deepcopy(loaded)


@pytest.fixture
def folder(make_coco):
    """Return a function that makes the folder's images arrays of some channels and type."""

    def make(channels: int, dtype: str = 'uint16', change=None):
        def rename(split, data):
            for row in data['images']:
                row['file_name'] = f'{row["id"]}.npy'

        root = make_coco(rename)
        for split in ('train', 'val'):
            for row in json.loads((root / f'annotations/instances_{split}.json').read_text())[
                'images'
            ]:
                rng = np.random.default_rng(row['id'])
                shape = (row['height'], row['width'], channels)
                pixels = (np.array(MEAN[:channels]) * 2 * rng.random(shape)).astype(dtype)
                if change:
                    pixels = change(split, row['id'], pixels)
                np.save(root / split / row['file_name'], pixels)
        return root

    return make


def loaders(cfg):
    return [node for node in walk(cfg._cfg_dict) if type_name(node) == 'LoadImageFromFile']


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
@pytest.mark.parametrize('channels', [1, 3, 4, 5])
def test_channels_type_and_range_are_found(retina, folder, channels, dtype, caplog):
    root = folder(channels, dtype)
    with caplog.at_level(logging.INFO, 'mmengine'):
        use_folder(retina, root)
    steps = loaders(retina)
    assert len(steps) >= 4  # of both pipelines, and the variables of the config
    for step in steps:
        assert step['channels'] == list(range(1, channels + 1))
        assert step['dtype'] == dtype
    preprocessor = retina.model.data_preprocessor
    assert preprocessor.type == 'SensorDataPreprocessor'
    images = [np.load(file).reshape(-1, channels) for file in (root / 'train').glob('*.npy')]
    pixels = np.concatenate(images).astype(np.float64)
    np.testing.assert_allclose(preprocessor.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(preprocessor.std, pixels.std(0), rtol=1e-5)
    assert not preprocessor.bgr_to_rgb
    assert retina.model.backbone.in_channels == channels
    assert 'mmscratch.register_all' in retina.custom_imports.imports
    # the network sees the file's values
    steps = [s for s in retina.test_dataloader.dataset.pipeline if type_name(s) != 'Resize']
    dataset = DATASETS.build(dict(retina.test_dataloader.dataset, pipeline=steps))
    preprocessor = MODELS.build(preprocessor)
    for sample in dataset:
        held = np.load(sample['data_samples'].img_path)
        loaded = sample['inputs'].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(loaded, held)
        seen = preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
        height, width, _ = held.shape
        own = seen['inputs'][0, :, :height, :width].permute(1, 2, 0)
        expected = (held - pixels.mean(0)) / pixels.std(0)
        np.testing.assert_allclose(own, expected, rtol=0, atol=1e-4)
    assert len(layouts.check(retina)) == 2
    # what was found is in the config that checkpoints keep
    assert f"dtype='{dtype}'" in retina.pretty_text


def test_what_was_found_is_shown(retina, folder, capsys):
    root = folder(5)
    use_folder(retina, root)
    line = next(t for t in capsys.readouterr().out.splitlines() if 'channels of' in t)
    assert f'{root}/train: images of 5 channels of uint16 (headers of 3)' in line
    assert 'the network takes 1, 2, 3, 4, 5; values 0 to 3999, mean ' in line
    assert '(3 training images)' in line


def test_of_many_channels_some_are_shown(retina, folder, capsys):
    root = folder(5, change=lambda split, number, pixels: np.concatenate([pixels] * 20, 2))
    use_folder(retina, root)
    line = next(t for t in capsys.readouterr().out.splitlines() if 'channels of' in t)
    assert 'the network takes 1, 2, 3, 4, 5, 6, 7, 8 and 92 more; values 0 to ' in line
    assert line.count(' and 92 more') == 3
    assert len(retina.model.data_preprocessor.mean) == 100


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'LA', 'P', 'mixed'])
def test_images_of_8_bits_stay_as_they_were(retina, make_coco, mode):
    """Colour, grey, and alpha that is the same everywhere."""
    root = make_coco()
    reference = copy.deepcopy(retina)
    for file in root.glob('train/*.png'):
        own = 'RGBA' if file.stem == '2' else 'RGB'
        Image.open(file).convert(own if mode == 'mixed' else mode).save(file)
    use_folder(retina, root)
    preprocessor = reference.model.data_preprocessor
    assert retina.model.data_preprocessor == preprocessor
    assert 'in_channels' not in retina.model.backbone
    assert not any('channels' in step for step in loaders(retina))


def test_a_fourth_channel_of_8_bits_that_differs_is_one(retina, make_coco):
    root = make_coco()
    for file in root.glob('train/*.png'):
        pixels = np.random.default_rng(0).integers(0, 256, (*cv2.imread(str(file)).shape[:2], 4))
        cv2.imwrite(str(file), pixels)
    use_folder(retina, root)
    assert retina.model.backbone.in_channels == 4


def test_channels_are_chosen(retina, folder):
    root = folder(5)
    use_folder(retina, root, channels=[5, 2], shown=[5, 1, 2])
    assert all(s['channels'] == [5, 2] and s['shown'] == [5, 1, 2] for s in loaders(retina))
    assert retina.model.backbone.in_channels == 2
    mean = retina.model.data_preprocessor.mean
    np.testing.assert_allclose(mean, [MEAN[4], MEAN[1]], rtol=0.1)


def test_one_channel_of_grey_images_is_chosen(retina, make_coco):
    root = make_coco()
    for file in root.glob('*/*.*g'):
        Image.open(file).convert('L').save(file)
    use_folder(retina, root, channels=[1])
    assert retina.model.backbone.in_channels == 1
    assert len(layouts.check(retina, decode=True)) == 2


def test_a_model_that_is_tested_measures_nothing(retina, folder):
    use_folder(retina, folder(5), measure=False)
    assert retina.model.data_preprocessor.std == [1.0] * 5


@pytest.mark.parametrize(
    ('std', 'scale'), [([1.0, 1.0, 1.0], 57.63), ([128.0] * 3, 0.45), (None, 57.63)]
)
def test_input_has_the_scale_that_the_config_gives_imagenet(retina, folder, std, scale):
    """Weights for images of +-128 would else see images of +-1."""
    retina.model.data_preprocessor.update(std=std, mean=std and [0.0] * 3)
    root = folder(5)
    use_folder(retina, root)
    values = np.concatenate([np.load(f).reshape(-1, 5) for f in (root / 'train').glob('*.npy')])
    seen = values.std(0) / retina.model.data_preprocessor.std
    np.testing.assert_allclose(seen, scale, rtol=0.01)


def test_augmentations_of_colour_are_left_out_and_told(retina, folder, capsys):
    steps = retina.train_dataloader.dataset.pipeline
    steps[2:2] = [
        dict(type='PhotoMetricDistortion'),
        dict(type='mmdet.YOLOXHSVRandomAug'),
        dict(type='Expand', mean=[1, 2, 3], to_rgb=True),
        dict(type='RandomChoice', transforms=[[dict(type='Invert'), dict(type='RandomFlip')], []]),
        dict(type='AutoAugment', policies=[[dict(type='Equalize'), dict(type='RandomFlip')]]),
        dict(type='AutoAugment'),
        dict(type='Mosaic'),
    ]
    use_folder(retina, folder(5))
    steps = retina.train_dataloader.dataset.pipeline
    assert [type_name(step) for step in steps[2:5]] == ['Expand', 'RandomChoice', 'AutoAugment']
    assert steps[2]['mean'] == retina.model.data_preprocessor.mean
    assert not steps[2]['to_rgb']
    assert steps[3]['transforms'] == [[dict(type='RandomFlip')], []]
    assert steps[4]['policies'] == [[dict(type='RandomFlip')]]
    told = [line for line in capsys.readouterr().out.splitlines() if 'left out' in line]
    assert len(told) == 1
    for name in ('PhotoMetricDistortion', 'YOLOXHSVRandomAug', 'Mosaic', 'Invert', 'AutoAugment'):
        assert name in told[0]


def constant(split, number, pixels):
    pixels[..., 3] = 7
    return pixels


def other_type(split, number, pixels):
    return pixels.astype('float32') if number == 2 else pixels


def fewer(split, number, pixels):
    return pixels[..., :4] if number == 2 else pixels


def long(split, number, pixels):
    return pixels.astype('int64')


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (constant, {}, r'channel 4 is 7 everywhere .* --channels 1 2 3 5'),
        (
            other_type,
            {},
            r'2\.npy: has 5 channels of float32, and .* 5 channels of uint16; convert',
        ),
        (fewer, {}, r'2\.npy: has 4 channels of uint16, and .* choose common ones with --channels'),
        (fewer, dict(channels=[5]), r'has the channels 1 to 4, not 5'),
        (None, dict(channels=[0]), r'has the channels 1 to 5, not 0'),
        (None, dict(channels=[1, 1]), r'each once'),
        (None, dict(shown=[1, 2]), r'one channel or three, not 2'),
        (long, {}, r'has values of int64; save them as one of uint8'),
    ],
)
def test_faults_are_told_in_a_line(retina, folder, change, options, message):
    with pytest.raises(InputError, match=message) as error:
        use_folder(retina, folder(5, change=change), **options)
    assert '\n' not in str(error.value)


def test_an_image_of_another_kind_further_on_is_found_by_the_check(retina, folder):
    def late(split, number, pixels):
        return pixels[..., :4] if (split, number) == ('val', 5) else pixels

    use_folder(retina, folder(5, change=late))
    with pytest.raises(InputError, match=r'5\.npy has 4 channels, and channel 5 is asked for'):
        layouts.check(retina, decode=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(backbone=dict(type='SSDVGG')), r'type=SSDVGG takes three channels, not 5; use a'),
        (
            dict(
                backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'))
            ),
            r'first layer of 5 random; .* --init torchvision://resnet50, which adapts',
        ),
        (dict(data_preprocessor=dict(type='ImgDataPreprocessor')), r"'ImgDataPreprocessor' takes"),
    ],
)
def test_models_of_three_channels_are_refused(retina, folder, change, message):
    for part, keys in change.items():
        retina.model[part].update(keys)
    with pytest.raises(InputError, match=message):
        use_folder(retina, folder(5))


def test_voc_layout(retina, tmp_path):
    root = tmp_path / 'voc'
    for name in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / name).mkdir(parents=True)
    for number, split in enumerate(('train', 'val')):
        pixels = np.random.default_rng(number).random((50, 60, 5)).astype('float32')
        np.save(root / f'JPEGImages/{split}.npy', pixels)
        box = '<xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax>'
        xml = f'<annotation><object><name>a</name><bndbox>{box}</bndbox></object></annotation>'
        (root / f'Annotations/{split}.xml').write_text(xml)
        (root / f'ImageSets/Main/{split}.txt').write_text(f'{split}\n')
    use_folder(retina, root)
    assert retina.model.backbone.in_channels == 5
    assert [report.images for report in layouts.check(retina, decode=True)] == [1, 1]
