"""Any config on a folder in PASCAL VOC layout: three training and two validation images."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from mmdet.datasets import XMLDataset
from mmdet.evaluation import VOCMetric
from mmdet.registry import DATASETS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from PIL import Image

from mmscratch.config import config_check
from mmscratch.data import coco_folder, layouts, voc_folder
from mmscratch.data.layouts import use_folder
from mmscratch.data.voc_folder_dataset import VocFolderDataset
from mmscratch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
WIDTH, HEIGHT = 96, 64
# corners count from 1; the second star is difficult
OBJECTS = [
    ('star', 0, (11, 11, 50, 50)),
    ('disc', 0, (1, 1, 21, 13)),
    ('star', 1, (61, 21, 90, 60)),
]
IMAGES = {'one': '.jpg', 'two': '.png', 'with space': '.jpeg', 'four': '.JPG', 'five': '.png'}
LISTS = {'train': ['one', 'two', 'with space'], 'val': ['four', 'five']}


@pytest.fixture(autouse=True)
def _mmdet() -> None:
    register_all_modules(init_default_scope=True)


def annotation(objects: list[tuple] = OBJECTS, size: str | None = None) -> str:
    entries = ''.join(
        f'<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>'
        + ''.join(f'<{k}>{v}</{k}>' for k, v in zip(('xmin', 'ymin', 'xmax', 'ymax'), corners))
        + '</bndbox></object>'
        for name, difficult, corners in objects
    )
    if size is None:
        size = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>'
    return f'<annotation>{size}{entries}</annotation>'


def write(root: Path) -> Path:
    """The folder without a fault."""
    for below in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / below).mkdir(parents=True)
    for split, names in LISTS.items():
        (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(names) + '\n')
    for number, (name, suffix) in enumerate(IMAGES.items()):
        pixels = np.random.default_rng(number).integers(0, 100, (HEIGHT, WIDTH, 3), np.uint8)
        for _, _, (x1, y1, x2, y2) in OBJECTS:
            pixels[y1 - 1 : y2, x1 - 1 : x2] += 100
        Image.fromarray(pixels).save(root / f'JPEGImages/{name}{suffix}')
        (root / f'Annotations/{name}.xml').write_text(annotation())
    return root


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / 'data')


def point(root: Path, config: Path = CONFIG) -> Config:
    cfg = Config.fromfile(config)
    use_folder(cfg, root)
    config_check.check_keys(cfg)
    return cfg


def shipped(name: str) -> Path:
    return Path(mmdet.__file__).parent / f'.mim/configs/{name}.py'


def replace(root: Path, name: str, **kwargs) -> None:
    (root / f'Annotations/{name}.xml').write_text(annotation(**kwargs))


# ------------------------------------------------------------------------------ which folder


@pytest.mark.parametrize('below', ['', 'VOC2007', 'VOCdevkit/VOC2007'])
def test_the_folder_is_found(tmp_path, below):
    write(tmp_path / 'data' / below)
    (tmp_path / 'data/notes').mkdir()
    assert voc_folder.recognises(tmp_path / 'data')
    found = voc_folder.find(tmp_path / 'data')
    assert found['val'] == dict(
        data_root=str(tmp_path / 'data' / below),
        ann_file='ImageSets/Main/val.txt',
        data_prefix=dict(sub_data_root=''),
    )


def test_of_several_folders_all_are_named(tmp_path):
    for year in ('VOC2007', 'VOC2012'):
        write(tmp_path / year)
    with pytest.raises(InputError, match=r'holds 2 folders .* VOC2007, VOC2012; give --data one'):
        voc_folder.find(tmp_path)


def test_coco_stays_coco(make_coco, tmp_path):
    root = make_coco()
    assert not voc_folder.recognises(root)
    write(root / 'old')
    assert not voc_folder.recognises(root)
    assert not voc_folder.recognises(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    assert not voc_folder.recognises(tmp_path / 'empty')
    with pytest.raises(InputError, match='no pair instances_'):
        coco_folder.find(tmp_path / 'empty')


def test_lists_of_other_names(folder):
    lists = folder / 'ImageSets/Main'
    (lists / 'val.txt').rename(lists / 'test.txt')
    (lists / 'trainval.txt').write_text('one\n')
    assert voc_folder.find(folder)['train']['ann_file'] == 'ImageSets/Main/train.txt'
    (lists / 'train.txt').unlink()
    found = voc_folder.find(folder)
    files = [Path(reads['ann_file']).name for reads in found.values()]
    assert files == ['trainval.txt', 'test.txt']


@pytest.mark.parametrize(
    ('gone', 'message'),
    [
        ('JPEGImages', r'JPEGImages: no such folder, .* holds Annotations/, ImageSets/, images/'),
        ('ImageSets/Main', r'Main: no such folder, .*: add or rename it'),
        ('ImageSets/Main/train.txt', r'Main: neither train\.txt nor trainval\.txt; write the'),
        ('ImageSets/Main/val.txt', r'neither val\.txt nor test\.txt; .* val images into val\.txt'),
    ],
)
def test_what_the_layout_lacks_is_told(folder, gone, message):
    (folder / gone).rename(folder / 'images')
    assert voc_folder.recognises(folder)
    with pytest.raises(InputError, match=message):
        voc_folder.find(folder)


# ------------------------------------------------------------------------------ the config


def test_a_mask_config_becomes_its_box_twin(folder):
    cfg = point(folder)
    assert cfg.model.type == 'FasterRCNN'
    assert 'mask_head' not in cfg.model.roi_head
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    for key, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = cfg[f'{key}_dataloader'].dataset
        assert dataset.type == 'VocFolderDataset'
        assert dataset.ann_file == f'ImageSets/Main/{split}.txt'
        assert tuple(dataset.metainfo.classes) == ('disc', 'star')
    assert cfg.val_evaluator == cfg.test_evaluator == dict(type='VOCMetric', eval_mode='area')
    assert cfg.default_hooks.checkpoint.save_best == 'auto'
    assert not MODELS.build(cfg.model).with_mask


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (dict(save_best='coco/segm_AP/disc'), dict(save_best='pascal_voc/mAP')),
        (dict(save_best='pascal_voc/AP50'), dict(save_best='pascal_voc/AP50')),
        (dict(save_best='val_loss', rule='less'), dict(save_best='val_loss', rule='less')),
        (dict(save_best=None), dict(save_best=None)),
        (
            dict(
                save_best=['coco/bbox_mAP', 'coco/segm_mAP', 'val_loss'],
                rule=['greater', 'greater', 'less'],
            ),
            dict(save_best=['pascal_voc/mAP', 'val_loss'], rule=['greater', 'less']),
        ),
    ],
)
def test_the_best_by_vocs_number(folder, tmp_path, before, after):
    file = tmp_path / 'config.py'
    base = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
    file.write_text(
        f'_base_ = {str(base)!r}\ndefault_hooks = dict(checkpoint=dict(**{before!r}))\n'
    )
    checkpoint = point(folder, file).default_hooks.checkpoint
    assert {key: checkpoint[key] for key in after} == after


@pytest.mark.parametrize('name', ['ssd/ssd300_coco', 'retinanet/retinanet_r18_fpn_1x_coco'])
def test_single_stage_detectors(folder, name):
    cfg = point(folder, shipped(name))
    assert cfg.model.bbox_head.num_classes == 2
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    sample = next(sample for sample in dataset if sample)['data_samples']
    assert set(sample.gt_instances.labels.tolist()) <= {0, 1}


def test_a_single_stage_detector_whose_pipeline_loads_masks(folder, tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(
        "_base_ = ['mmdet::_base_/models/ssd300.py', 'mmdet::_base_/datasets/coco_instance.py',\n"
        "    'mmdet::_base_/default_runtime.py']\n"
    )
    cfg = point(folder, file)
    assert cfg.model.type == 'SingleStageDetector'
    assert not cfg.train_dataloader.dataset.pipeline[1].with_mask


def test_vocs_own_config(folder):
    """Its wrappers stay, its limit of box size and its 11 points don't."""
    cfg = point(folder, shipped('pascal_voc/faster-rcnn_r50_fpn_1x_voc0712'))
    assert cfg.train_dataloader.dataset.type == 'RepeatDataset'
    dataset = cfg.train_dataloader.dataset.dataset
    assert dataset.filter_cfg == dict(filter_empty_gt=True, min_size=32)
    assert cfg.val_evaluator.eval_mode == 'area'


def test_a_config_once_pointed_can_be_pointed_again(folder, make_coco, tmp_path):
    """The work directory holds the config as it was run."""
    point(folder).dump(tmp_path / 'config.py')
    cfg = point(folder, tmp_path / 'config.py')
    imports = cfg.custom_imports.imports
    assert imports.count('mmscratch.register_all') == 1
    use_folder(cfg, make_coco())
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'
    assert cfg.val_evaluator.type == 'FullCocoMetric'


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (ROOT / 'configs/scratch/keypoint_rcnn_r18_gn_600i_shapes.py', 'trains on keypoints, and'),
        (shipped('solo/solo_r50_fpn_1x_coco'), 'SOLO needs masks; use a box detector'),
        (shipped('panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco'), 'needs panoptic segments'),
    ],
)
def test_configs_that_need_more_than_boxes_are_refused(folder, config, message):
    with pytest.raises(InputError, match=message) as error:
        point(folder, config)
    assert '\n' not in str(error.value)


# ------------------------------------------------------------------------------ the data set


def test_what_is_trained_on(folder):
    """All suffixes, difficult objects ignored, and what the report counts is what is loaded."""
    replace(folder, 'two', objects=[*OBJECTS, ('disc', 0, (5, 5, 5, 9)), ('disc', 0, (1, 1, 3, 4))])
    cfg = point(folder)
    cfg.drop_bad_boxes = True
    report, _ = layouts.check(cfg)
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    files = [Path(info['img_path']).name for info in infos]
    assert files == ['one.jpg', 'two.png', 'with space.jpeg']
    assert infos[0]['instances'] == [
        dict(ignore_flag=0, bbox=[10, 10, 49, 49], bbox_label=1),
        dict(ignore_flag=0, bbox=[0, 0, 20, 12], bbox_label=0),
        dict(ignore_flag=1, bbox=[60, 20, 89, 59], bbox_label=1),
    ]
    labels = [i['bbox_label'] for info in infos for i in info['instances'] if not i['ignore_flag']]
    assert report.instances == {'disc': labels.count(0), 'star': labels.count(1)}
    assert report.instances == {'disc': 4, 'star': 3}
    assert (
        report.notes[0] == '1 boxes lie outside their image or have no area: left out of training'
    )
    assert report.notes[1].startswith('3 objects are marked difficult: not trained on')


@pytest.mark.parametrize('filter_cfg', [{}, dict(bbox_min_size=20, min_size=32)])
def test_the_data_set_yields_what_mmdetections_does(tmp_path, filter_cfg):
    """Of files that XMLDataset can read: the same values, key by key."""
    for below in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / below).mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/train.txt').write_text('one\nsmall\nempty\n')
    objects = [('star', 0, ('11.7', 11, 50, 50)), *OBJECTS[1:], ('sun', 0, (1, 1, 9, 9))]
    for name, height in (('one', HEIGHT), ('small', 30), ('empty', HEIGHT)):
        Image.new('RGB', (WIDTH, height)).save(tmp_path / f'JPEGImages/{name}.jpg')
        text = annotation(objects if name == 'one' else objects[:1] * (name == 'small'), size='')
        (tmp_path / f'Annotations/{name}.xml').write_text(text)
    arguments = dict(
        data_root=str(tmp_path),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('disc', 'star')),
        filter_cfg=dict(filter_empty_gt=True, **filter_cfg),
        pipeline=[],
    )
    ours, theirs = (
        [dataset.get_data_info(index) for index in range(len(dataset))]
        for dataset in (VocFolderDataset(**arguments), XMLDataset(**arguments))
    )
    assert ours == theirs
    assert len(ours) == (1 if filter_cfg else 2)
    assert [row['ignore_flag'] for row in ours[0]['instances']] == [0, int(bool(filter_cfg)), 1]


@pytest.mark.parametrize('suffix', ['.bmp', '.JPEG', '.tif', '.TIFF', '.webp'])
def test_image_formats_and_sub_folders(folder, suffix):
    for path in list((folder / 'JPEGImages').iterdir()):
        name = Path('scene.1', path.stem)
        image = Image.open(path)
        (folder / 'JPEGImages' / name).parent.mkdir(exist_ok=True)
        image.save(folder / f'JPEGImages/{name}{suffix}')
        path.unlink()
        file = folder / f'Annotations/{name}.XML'
        file.parent.mkdir(exist_ok=True)
        (folder / f'Annotations/{path.stem}.xml').rename(file)
    for split, names in LISTS.items():
        lines = ''.join(f'scene.1/{name}\r\n' for name in names)
        (folder / f'ImageSets/Main/{split}.txt').write_bytes(lines.encode('utf-16'))
    cfg = point(folder)
    assert layouts.check(cfg)[0].instances == {'disc': 3, 'star': 3}
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    info = dataset.get_data_info(2)
    assert info['img_id'] == 'scene.1/with space'
    assert info['img_path'] == str(folder / f'JPEGImages/scene.1/with space{suffix}')
    assert dataset[2]['inputs'].shape[0] == 3


def test_names_with_white_space_are_one_class(folder):
    replace(folder, 'one', objects=[('\n   star\n ', ' 0 ', (' 11 ', '\n11', 50, 50))])
    replace(folder, 'five', objects=[(' disc', 0, (1, 1, 21, 13))])
    cfg = point(folder)
    train, val = layouts.check(cfg)
    assert train.instances == {'disc': 2, 'star': 3}
    assert val.instances == {'disc': 2, 'star': 1}
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    assert dataset.metainfo['classes'] == ('disc', 'star')
    labels = [row['bbox_label'] for info in dataset for row in info['instances']]
    assert labels == [1, 1, 0, 1, 1, 0, 1]


def test_the_data_set_stops_at_a_file_that_cannot_be_read(folder):
    cfg = point(folder)
    (folder / 'Annotations/two.xml').write_text('<annotation>')
    with pytest.raises(InputError, match=r'two\.xml: no element found'):
        DATASETS.build(cfg.train_dataloader.dataset)


def test_perfect_detections_have_map_1(folder):
    """What VOCMetric is given as truth is in pixels of the file, though the image is resized."""
    cfg = point(folder, shipped('faster_rcnn/faster-rcnn_r50_fpn_1x_coco'))
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    metric = VOCMetric(eval_mode='area')
    metric.dataset_meta = dataset.metainfo
    for item in dataset:
        truth = item['data_samples']
        assert max(truth.img_shape) > WIDTH
        sample = {
            key: dict(labels=part.labels, bboxes=part.bboxes.tensor)
            for key, part in truth.items()
            if key in ('gt_instances', 'ignored_instances')
        }
        boxes = torch.tensor([[10.0, 10, 49, 49], [0, 0, 20, 12]])
        found = dict(bboxes=boxes, labels=torch.tensor([1, 0]), scores=torch.ones(2))
        metric.process({}, [dict(sample, pred_instances=found)])
    assert metric.evaluate(len(dataset))['pascal_voc/mAP'] == 1


def test_the_report(folder):
    replace(folder, 'one', objects=[])
    cfg = point(folder)
    train, val = layouts.check(cfg)
    lines = '\n'.join(train.lines())
    assert '3 images, 4 objects (2 small, 2 medium, 0 large), 2 classes, no masks' in lines
    assert '1 of 3 images are without objects: dropped (filter_empty_gt=True)' in lines
    assert re.search('SHA-256 of the XML files, one after the other: [0-9a-f]{64}', lines)
    assert (val.images, val.instances) == (2, {'disc': 2, 'star': 2})
    assert [one.images for one in layouts.check(cfg, ['test'])] == [2]


def test_one_image_of_16_bits_among_those_of_8_is_refused(folder):
    Image.new('I;16', (WIDTH, HEIGHT)).save(folder / 'JPEGImages/two.png')
    with pytest.raises(InputError, match=r'two\.png: has 1 channel of uint16, and'):
        point(folder)


def test_copies_under_two_names_are_told(folder):
    (folder / 'JPEGImages/five.png').write_bytes((folder / 'JPEGImages/two.png').read_bytes())
    _, val = layouts.check(point(folder))
    assert "1 of the 2 validation images are training images too, the first is 'five'" in (
        ' '.join(val.notes)
    )


def test_lists_and_xml_as_other_tools_write_them(folder):
    """Windows' line ends and byte order mark, blank lines; fractions of pixels, no <size>."""
    file = folder / 'ImageSets/Main/train.txt'
    file.write_bytes('\ufeffone\r\n\r\nwith space \r\n'.encode())
    replace(folder, 'one', objects=[('star', 0, ('11.7', 11, 50, 50))], size='')
    cfg = point(folder)
    assert layouts.check(cfg)[0].images == 2
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    info = dataset.get_data_info(0)
    assert (info['width'], info['instances'][0]['bbox']) == (WIDTH, [10, 10, 49, 49])


# ------------------------------------------------------------------------------ faults


def spoil_text(path: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text(text) and None


def spoil(name: str, **kwargs) -> Callable[[Path], None]:
    return lambda root: replace(root, name, **kwargs)


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        (
            lambda root: (root / 'Annotations/two.xml').unlink(),
            r'train\.txt: 1 XML files are missing, the first is .*Annotations/two\.xml: add them',
        ),
        (
            lambda root: (root / 'JPEGImages/four.JPG').unlink(),
            r'val\.txt: 1 images .* are missing, the first .*JPEGImages/four: add them, or remove',
        ),
        (
            spoil_text('Annotations/two.xml', '<annotation><size>'),
            r'1 XML files cannot be read, the first is .*two\.xml \(no element found: line 1',
        ),
        (
            spoil_text('JPEGImages/two.png', 'nothing'),
            r'1 images are unusable, the first is .*two\.png, which is not an image \(7 bytes\):',
        ),
        (
            lambda root: (replace(root, 'two', size=''), (root / 'JPEGImages/two.png').unlink()),
            r'1 images .* are missing, the first is .*two: add them',
        ),
        (
            spoil('two', size='<size><width>0</width><height>0</height></size>'),
            r'1 XML files give another size .* two\.xml: 0 x 0, the image 96 x 64: correct <size>',
        ),
        (
            spoil('two', size='<size><width>many</width></size>'),
            r"1 entries .* two\.xml, <width> is 'many', not a number: correct them",
        ),
        (
            spoil('two', objects=[*OBJECTS, ('star', 'Unspecified', (1, 1, 5, 5))]),
            r"two\.xml, object 4: <difficult> is 'Unspecified', not a number",
        ),
        (
            spoil('two', objects=[('star', 0, (1, 1, '1e300', 5))]),
            r"1 entries .* two\.xml, object 1: <bndbox/xmax> is '1e300', no number of pixels",
        ),
        (
            spoil('two', objects=[('star', 0, (1, 'nan', 5, 5)), ('', 0, (1, 1, 5, 5))]),
            r"2 entries .* two\.xml, object 1: <bndbox/ymin> is 'nan', not a number",
        ),
        (spoil('two', objects=[('', 0, (1, 1, 5, 5))]), r'two\.xml, object 1: no <name>: correct'),
        (
            spoil('two', objects=[('star', 0, (5, 5, 5, 9)), ('star', 0, (97, 1, 120, 9))]),
            r"2 boxes have no area .* first is 'star' in two\.xml \(96 x 64 pixels\) with xmin, "
            r'ymin, xmax, ymax = 5, 5, 5, 9: correct or remove them, or .*--drop-bad-boxes',
        ),
        (
            spoil('five', objects=[('sun', 0, (1, 1, 5, 5))]),
            r"val\.txt: 1 objects are of classes .* lacks, the first is 'sun' in five\.xml: corr",
        ),
        (spoil_text('ImageSets/Main/val.txt', '\n'), r'val\.txt: lists no image; write one name'),
        (
            spoil_text('ImageSets/Main/val.txt', 'four\nfour\n'),
            r'val\.txt: 1 names occur more than once, the first is four: keep one of each',
        ),
        (
            spoil_text('ImageSets/Main/val.txt', 'four\none\n'),
            r'val\.txt: 1 of its 2 images are in train\.txt too, the first is one: take them out',
        ),
        (
            lambda root: [replace(root, name, objects=[]) for name in LISTS['val']],
            r'val\.txt: no <object> in its 2 XML files, .* \(four\.xml\) holds <size>: annotate',
        ),
    ],
)
def test_a_fault_is_told_in_one_line(folder, harm, message):
    harm(folder)
    with pytest.raises(InputError, match=message) as error:
        layouts.check(point(folder))
    assert '\n' not in str(error.value)
    assert str(folder) in str(error.value)


def test_all_faults_are_told_in_one_go(folder):
    (folder / 'JPEGImages/one.jpg').unlink()
    (folder / 'Annotations/two.xml').unlink()
    replace(folder, 'five', objects=[('sun', 0, (9, 9, 5, 5))])
    with pytest.raises(InputError) as error:
        layouts.check(point(folder))
    message = str(error.value)
    assert message.count('the first is') == 4
    assert message.index('train.txt') < message.index('val.txt')


@pytest.mark.parametrize('text', ['', 'one\n'])
def test_training_images_without_an_object_are_refused(folder, text):
    (folder / 'ImageSets/Main/train.txt').write_text(text)
    replace(folder, 'one', objects=[])
    with pytest.raises(InputError, match=r'train\.txt: (lists no image|no <object> in its 1 XML)'):
        point(folder)


def of_all(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Change the text of all XML files."""

    def harm(root: Path) -> None:
        for file in (root / 'Annotations').iterdir():
            file.write_bytes(change(file.read_text()).encode('latin-1'))

    return harm


def listed(form: str) -> Callable[[Path], None]:
    """Write the names of both lists in another form."""

    def harm(root: Path) -> None:
        for split, names in LISTS.items():
            lines = [form.format(name=name, NAME=name.upper()) for name in names]
            (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(lines))

    return harm


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        *(
            (listed(form), r"3 names are not .* where the image is called 'one': write names")
            for form in (
                '{name}.jpg',
                '{name}.xml',
                '{name} 1',
                '{name}  -1',
                'JPEGImages/{name}.png',
                '/data/voc/JPEGImages/{name}',
                r'C:\data\JPEGImages\{name}.PNG',
                '{NAME}',
            )
        ),
        (listed('{name}x'), r'3 XML files are missing, .*; 3 images .* are missing'),
        (
            lambda root: [file.unlink() for file in (root / 'Annotations').iterdir()],
            r'3 XML files are missing, the first is .*/one\.xml: add them',
        ),
        (
            of_all(lambda text: text[:-5]),
            r'3 XML files cannot be read, the first is .*/one\.xml \(',
        ),
        (
            of_all(lambda text: text.replace('star', 'étoile')),
            r'3 XML files cannot be read, .*one\.xml \(byte \d+ is not UTF-8: save the file as UTF',
        ),
        (
            of_all(lambda text: f'<!DOCTYPE a [<!ENTITY b "c">]>{text}'),
            r'3 XML files cannot be read, .* \(it declares an <!ENTITY',
        ),
        (
            of_all(lambda text: text.replace('bndbox', 'polygon')),
            r'9 entries .* no good, the first is one\.xml, object 1: no <bndbox/xmin>',
        ),
        (
            of_all(lambda text: f'<file>{text}</file>'),
            r'3 entries .* the first is one\.xml, no <object> directly below <file>',
        ),
        (
            of_all(lambda text: re.sub('object|bndbox', 'item', text)),
            r'no <object> in its 3 XML files, .* \(one\.xml\) holds <size>, <item>: annotate',
        ),
    ],
)
def test_what_is_wrong_with_all_files_is_told_first(folder, harm, message):
    harm(folder)
    with pytest.raises(InputError, match=rf'train\.txt: {message}') as error:
        point(folder)
    assert '\n' not in str(error.value)


def test_an_image_spelled_in_another_form_of_unicode(folder):
    """macOS decomposes the letters of file names."""
    for below, suffix in (('JPEGImages', '.jpg'), ('Annotations', '.xml')):
        (folder / below / f'one{suffix}').rename(folder / below / f'e\u0301{suffix}')
    (folder / 'ImageSets/Main/train.txt').write_text('\u00e9\ntwo\n')
    with pytest.raises(InputError, match=r'1 names are not spelled .* in the same letters'):
        layouts.check(point(folder))


# ------------------------------------------------------------------------------ nothing left

NO_AREA = ('star', 0, (5, 5, 5, 9))
NORMALISED = ('disc', 0, ('0.1', '0.25', '0.5', '0.75'))
DIFFICULT = ('star', 1, (61, 21, 90, 60))


@pytest.mark.parametrize(
    ('split', 'objects', 'message'),
    [
        ('train', [DIFFICULT], 'none of its 3 objects can be trained on: 3 are marked difficult;'),
        ('train', [NO_AREA, DIFFICULT], 'trained on: 3 boxes lie .* no area, 3 are marked diff'),
        (
            'train',
            [NORMALISED, NO_AREA],
            r'of its 6 .*: 3 lie within 0\.\.1, as if normalised \(write pixels\), 3 boxes lie',
        ),
        (
            'train',
            [('star', 0, (1, 1, 9, 50))],
            r': 3 have a side under 9 pixels \(bbox_min_size\)',
        ),
        (
            'val',
            [NO_AREA],
            'none of its 2 objects can be found: 2 boxes lie outside',
        ),
        ('val', [DIFFICULT, DIFFICULT], 'can be found: 4 are marked difficult; correct these'),
    ],
)
def test_nothing_to_train_on_or_to_find(folder, split, objects, message):
    cfg = point(folder)
    cfg.drop_bad_boxes = True
    cfg.train_dataloader.dataset.filter_cfg.bbox_min_size = 9
    for name in LISTS[split]:
        replace(folder, name, objects=objects)
    with pytest.raises(InputError, match=rf'{split}\.txt: .*{message}') as error:
        layouts.check(cfg)
    assert '\n' not in str(error.value)


def test_images_that_are_all_too_small(folder):
    cfg = point(folder)
    cfg.train_dataloader.dataset.filter_cfg.min_size = 65
    with pytest.raises(InputError, match=r'3 are .*, 6 are on .* under 65 pixels \(min_size\)'):
        layouts.check(cfg)


def test_normalised_boxes_are_called_so(folder):
    for names in LISTS.values():
        for name in names:
            replace(folder, name, objects=[NORMALISED])
    with pytest.raises(InputError) as error:
        layouts.check(point(folder))
    assert str(error.value).startswith(
        f'{folder}/ImageSets/Main/train.txt: 3 boxes lie within 0..1, as if normalised, the first '
        "is 'disc' in one.xml (96 x 64 pixels) with xmin, ymin, xmax, ymax = 0.1, 0.25, 0.5, 0.75: "
        'write pixels; '
    )


def test_a_share_that_is_dropped_is_noted(folder):
    replace(folder, 'one', objects=[NORMALISED, NO_AREA])
    cfg = point(folder)
    cfg.drop_bad_boxes = True
    cfg.train_dataloader.dataset.filter_cfg.bbox_min_size = 15
    train, _ = layouts.check(cfg)
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    assert len(dataset) == 2
    flags = [row['ignore_flag'] for info in dataset for row in info['instances']]
    assert train.instances == {'disc': 0, 'star': flags.count(0)} == {'disc': 0, 'star': 2}
    notes = '; '.join(train.notes)
    assert '2 boxes lie outside their image or have no area: left out of training' in notes
    assert '2 objects are marked difficult' in notes
    assert '2 objects have a side under 15 pixels: not trained on (bbox_min_size)' in notes
    assert '1 of 3 images are without objects: dropped (filter_empty_gt=True)' in notes


# ------------------------------------------------------------------------------ the tools


def test_training_and_testing_end_to_end(run_tool, folder, tmp_path):
    options = [
        *('train_cfg.max_iters=2', 'train_cfg.val_interval=1', 'param_scheduler.0.end=1'),
        *('param_scheduler.1.milestones=[1]', 'param_scheduler.1.end=2'),
        *('default_hooks.logger.interval=1', 'auto_scale_lr.base_batch_size=2'),
        'train_dataloader.batch_size=2',
        *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
        *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')),
    ]
    work_dir = tmp_path / 'run'
    arguments = ['--data', folder, '--cfg-options', *options, '--work-dir']
    log = run_tool('train.py', CONFIG, *arguments, work_dir)
    assert '3 images, 6 objects' in log
    assert 'no masks, so MaskRCNN is trained on boxes alone (FasterRCNN)' in log
    report = json.loads((work_dir / 'metrics.json').read_text())
    assert [entry['iteration'] for entry in report['history']] == [1, 2]
    assert report['best']['voc_mAP'] == max(entry['voc_mAP'] for entry in report['history'])
    assert list(work_dir.glob('best_pascal_voc_mAP_iter_*.pth'))
    assert (work_dir / 'curves.png').exists()
    run_tool('test.py', CONFIG, work_dir / 'iter_2.pth', *arguments, tmp_path / 'test')
    tested = json.loads((tmp_path / 'test/test_metrics.json').read_text())['test']
    assert tested['voc_mAP'] == pytest.approx(report['last']['voc_mAP'])

    replace(folder, 'two', objects=[('star', 0, (9, 9, 5, 5))])
    error = run_tool('train.py', CONFIG, '--data', folder, '--work-dir', tmp_path / 'x', expect=2)
    assert re.search(r'^error: .*train\.txt: 1 boxes have no area', error, re.M)
    assert 'Traceback' not in error
