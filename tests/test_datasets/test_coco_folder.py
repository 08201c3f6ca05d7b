import copy
from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from mmscratch import config_check
from mmscratch.datasets import coco_folder
from mmscratch.errors import InputError

MASK_RCNN = """
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(backbone=dict(depth=18, init_cfg=None), neck=dict(in_channels=[64, 128, 256, 512]))
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
"""


@pytest.fixture(scope='module')
def loaded(tmp_path_factory) -> Config:
    file = tmp_path_factory.mktemp('config') / 'config.py'
    file.write_text(MASK_RCNN)
    return Config.fromfile(file)


@pytest.fixture
def mask_rcnn(loaded) -> Config:
    return copy.deepcopy(loaded)


def shipped(name: str) -> Config:
    return Config.fromfile(Path(mmdet.__file__).parent / f'.mim/configs/{name}.py')


def no_masks(name, data):
    for row in data['annotations']:
        del row['segmentation']


def point(cfg, root):
    coco_folder.point_config_at(cfg, coco_folder.find(root))


@pytest.mark.parametrize('suffix', ['', '2017', '2014'])
def test_find(make_coco, suffix):
    root = make_coco(suffix=suffix)
    folder = coco_folder.find(root)
    assert folder.annotation_files['val'] == root / f'annotations/instances_val{suffix}.json'
    assert folder.image_dirs['train'] == root / f'train{suffix}'


def test_find_names_what_is_missing(make_coco, tmp_path):
    with pytest.raises(InputError, match='nowhere: no such folder'):
        coco_folder.find(tmp_path / 'nowhere')
    (tmp_path / 'images').mkdir()
    with pytest.raises(InputError, match=r'no pair instances_\{train,val\}\.json or .*images/'):
        coco_folder.find(tmp_path)
    root = make_coco()
    (root / 'annotations/instances_val.json').rename(root / 'annotations/val.json')
    with pytest.raises(InputError, match=r'annotations holds instances_train\.json, val\.json'):
        coco_folder.find(root)


def test_find_names_the_missing_image_folder(make_coco):
    root = make_coco()
    (root / 'val').rename(root / 'validation')
    with pytest.raises(InputError, match=r'val: no such folder, but instances_val.* validation/'):
        coco_folder.find(root)


def test_masks_config(make_coco, mask_rcnn):
    cfg, root = mask_rcnn, make_coco()
    point(cfg, root)
    for key, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = cfg[f'{key}_dataloader'].dataset
        assert dataset.data_root == str(root)
        assert dataset.ann_file == f'annotations/instances_{split}.json'
        assert dataset.data_prefix.img == f'{split}/'
        assert dataset.metainfo.classes == ('star', 'disc')
        assert len(dataset.metainfo.palette) == 2
    for key in ('val_evaluator', 'test_evaluator'):
        assert cfg[key].ann_file == str(root / 'annotations/instances_val.json')
        assert cfg[key].metric == ['bbox', 'segm']
    assert cfg.model.type == 'MaskRCNN'
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    assert cfg.model.roi_head.mask_head.num_classes == 2
    assert cfg.data_root == str(root)
    config_check.check_keys(cfg)


def test_labels_are_named_right(make_coco, mask_rcnn):
    """The JSON lists category 7 before 3: the label of 'star', id 7, is 0."""
    from mmdet.registry import DATASETS

    cfg = mask_rcnn
    point(cfg, make_coco())
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    assert dataset.cat2label == {7: 0, 3: 1}
    assert dataset.metainfo['classes'] == ('star', 'disc')
    assert len(dataset) == 2  # filter_empty_gt: the third image is empty


def test_box_only_twin(make_coco, mask_rcnn):
    from mmdet.registry import MODELS

    cfg = mask_rcnn
    point(cfg, make_coco(no_masks))
    assert cfg.model.type == 'FasterRCNN'
    assert not {'mask_head', 'mask_roi_extractor'} & set(cfg.model.roi_head)
    assert cfg.model.data_preprocessor.pad_mask is False
    for pipeline in (
        cfg.train_dataloader.dataset.pipeline,
        cfg.test_dataloader.dataset.pipeline,
        cfg.train_pipeline,
    ):
        loaders = [step for step in pipeline if step.type == 'LoadAnnotations']
        assert [step.with_mask for step in loaders] == [False]
    assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == ['bbox']
    assert cfg.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'
    config_check.check_keys(cfg)
    model = MODELS.build(cfg.model)
    assert not model.with_mask
    assert model.roi_head.bbox_head.fc_cls.out_features == 3  # two classes and background


def test_cascade_loses_its_mask_heads(make_coco):
    cfg = shipped('cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco')
    point(cfg, make_coco(no_masks))
    assert cfg.model.type == 'CascadeRCNN'
    assert 'mask_head' not in cfg.model.roi_head
    assert [head.num_classes for head in cfg.model.roi_head.bbox_head] == [2, 2, 2]


def test_detector_without_box_twin_is_refused(make_coco):
    cfg = shipped('solo/solo_r50_fpn_1x_coco')
    with pytest.raises(InputError, match='SOLO needs masks; use a box detector such as Faster'):
        point(cfg, make_coco(no_masks))


def test_partly_masked_data_are_refused(make_coco, mask_rcnn):
    def change(name, data):
        if name == 'val':
            data['annotations'][2]['segmentation'] = []

    root = make_coco(change)
    expected = r'instances_val\.json: 1 of 4 annotations have no segmentation; add them'
    with pytest.raises(InputError, match=expected):
        point(mask_rcnn, root)
    # A box detector does not care.
    point(shipped('faster_rcnn/faster-rcnn_r50_fpn_1x_coco'), root)


def test_rle_masks_are_not_ignored(make_coco):
    """With poly2mask=False MMDetection ignores objects whose mask is an RLE."""

    def change(name, data):
        height = {image['id']: image['height'] for image in data['images']}
        for row in data['annotations']:
            size = [height[row['image_id']], 48]
            row['segmentation'] = {'size': size, 'counts': [0, 48 * size[0]]}

    cfg = shipped('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco')
    steps = [n for _, n in config_check._walk(cfg.to_dict()) if n.get('poly2mask') is False]
    assert steps
    point(cfg, make_coco(change))
    assert not [n for _, n in config_check._walk(cfg.to_dict()) if n.get('poly2mask') is False]
    assert cfg.model.bbox_head.num_classes == 2


def test_wrappers_and_other_data_sets(make_coco):
    """VOC's config: RepeatDataset of ConcatDataset of two VOCDatasets, VOCMetric."""
    cfg, root = shipped('pascal_voc/faster-rcnn_r50_fpn_1x_voc0712'), make_coco()
    point(cfg, root)
    outer = cfg.train_dataloader.dataset
    assert outer.type == 'RepeatDataset'
    assert outer.dataset.type == 'CocoDataset'
    assert outer.dataset.data_prefix == dict(img='train/')
    assert cfg.val_evaluator.type == 'CocoMetric'
    assert cfg.val_evaluator.metric == ['bbox']
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    config_check.check_keys(cfg)


def test_query_detector_class_weights(make_coco):
    cfg = shipped('mask2former/mask2former_r50_8xb2-lsj-50e_coco')
    point(cfg, make_coco())
    assert cfg.model.panoptic_head.num_things_classes == 2
    assert cfg.model.panoptic_head.loss_cls.class_weight == [1.0, 1.0, 0.1]


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        ('panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco', 'panoptic segments'),
        ('htc/htc_r50_fpn_1x_coco', 'semantic maps'),
        (
            'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco',
            'labeled and unlabeled images',
        ),
    ],
)
def test_other_tasks_are_refused(make_coco, config, expected):
    with pytest.raises(InputError, match=f'needs {expected}'):
        point(shipped(config), make_coco())


def test_broken_annotations_are_refused(make_coco, mask_rcnn):
    root = make_coco()
    (root / 'annotations/instances_train.json').write_text('{')
    with pytest.raises(InputError, match='broken JSON at line 1'):
        point(mask_rcnn, root)
