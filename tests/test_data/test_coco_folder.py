import copy
from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from mmscratch.config import config_check
from mmscratch.config.sections import walk
from mmscratch.data import coco_folder
from mmscratch.data.layouts import use_folder
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
    use_folder(cfg, root)


@pytest.mark.parametrize('suffix', ['', '2017', '2014'])
def test_find(make_coco, suffix):
    root = make_coco(suffix=suffix)
    for split, reads in coco_folder.find(root).items():
        assert reads == dict(
            data_root=str(root),
            ann_file=f'annotations/instances_{split}{suffix}.json',
            data_prefix=dict(img=f'{split}{suffix}/'),
        )


def test_find_names_what_is_missing(make_coco, tmp_path):
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


def test_splits_with_other_classes_are_refused(make_coco, mask_rcnn):
    """Before any check of the data, which testing does of one split alone."""

    def change(name, data):
        if name == 'val':
            data['categories'].reverse()

    with pytest.raises(InputError, match=r'instances_val\.json: lists its categories in another'):
        point(mask_rcnn, make_coco(change))


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


def test_cascade_with_one_mask_head_loses_it(make_coco):
    from mmdet.registry import MODELS

    configs = Path(__file__).resolve().parents[2] / 'configs'
    cfg = Config.fromfile(configs / 'scratch/cascade_mask_rcnn_r18_gn_600i_shapes.py')
    point(cfg, make_coco(no_masks))
    config_check.check_keys(cfg)
    model = MODELS.build(cfg.model)
    assert not model.with_mask
    assert [head.num_classes for head in model.roi_head.bbox_head] == [2, 2, 2]


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


def test_polygons_without_3_points_in_one_split_are_named(make_coco, mask_rcnn):
    def change(name, data):
        for row in data['annotations'] if name == 'val' else ():
            row['segmentation'] = [[1, 2, 3, 4]]

    with pytest.raises(
        InputError, match=r'instances_val\.json: no segmentation has a polygon of 3'
    ):
        point(mask_rcnn, make_coco(change))


def test_rle_masks_are_not_ignored(make_coco):
    """With poly2mask=False MMDetection ignores objects whose mask is an RLE."""

    def change(name, data):
        height = {image['id']: image['height'] for image in data['images']}
        for row in data['annotations']:
            size = [height[row['image_id']], 48]
            row['segmentation'] = {'size': size, 'counts': [0, 48 * size[0]]}

    cfg = shipped('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco')
    steps = [n for n in walk(cfg.to_dict()) if n.get('poly2mask') is False]
    assert steps
    point(cfg, make_coco(change))
    assert not [n for n in walk(cfg.to_dict()) if n.get('poly2mask') is False]
    assert cfg.model.bbox_head.num_classes == 2


def test_wrappers_and_other_data_sets(make_coco):
    """VOC's config: RepeatDataset of ConcatDataset of two VOCDatasets, VOCMetric."""
    cfg, root = shipped('pascal_voc/faster-rcnn_r50_fpn_1x_voc0712'), make_coco()
    point(cfg, root)
    outer = cfg.train_dataloader.dataset
    assert outer.type == 'RepeatDataset'
    assert outer.dataset.type == 'CocoDataset'
    assert outer.dataset.data_prefix == dict(img='train/')
    assert cfg.val_evaluator.type == 'FullCocoMetric'
    assert cfg.val_evaluator.metric == ['bbox']
    assert 'mmscratch.register_all' in cfg.custom_imports.imports
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    config_check.check_keys(cfg)


def test_a_box_detector_whose_pipeline_loads_masks(make_coco):
    configs = Path(__file__).resolve().parents[2] / 'configs'
    cfg = Config.fromfile(configs / 'scratch/faster_rcnn_vgg16_nonorm_1200i_shapes.py')
    point(cfg, make_coco(no_masks))
    assert cfg.model.type == 'FasterRCNN'
    assert not cfg.train_dataloader.dataset.pipeline[1].with_mask
    assert cfg.val_evaluator.metric in ('bbox', ['bbox'])


def test_mmdetections_metric_becomes_ours(make_coco, caplog):
    """Its ids, its thresholds and its numbers of proposals are not COCO's."""
    cfg = shipped('rtmdet/rtmdet_tiny_8xb32-300e_coco')
    cfg.val_evaluator.update(outfile_prefix='out', classwise=True, iou_thrs=[0.5])
    root = make_coco()
    with caplog.at_level('WARNING', 'mmengine'):
        point(cfg, root)
    assert cfg.val_evaluator == dict(
        type='FullCocoMetric',
        metric='bbox',
        classwise=True,
        format_only=False,
        backend_args=None,
        outfile_prefix='out',
        ann_file=str(root / 'annotations/instances_val.json'),
    )
    config_check.check_keys(cfg)


def test_an_rpn_keeps_its_metric(make_coco):
    cfg = shipped('rpn/rpn_r50_fpn_1x_coco')
    point(cfg, make_coco())
    assert (cfg.val_evaluator.type, cfg.val_evaluator.metric) == ('CocoMetric', 'proposal_fast')


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (dict(save_best='coco/segm_mAP'), dict(save_best='coco/bbox_mAP')),
        (dict(save_best='segm_mAP_50'), dict(save_best='bbox_mAP_50')),
        (dict(save_best='coco/bbox_AP/segm_x'), dict(save_best='coco/bbox_AP/segm_x')),
        (dict(save_best='auto'), dict(save_best='auto')),
        (dict(save_best=''), dict(save_best='')),
        (dict(save_best=None), dict(save_best=None)),
        (dict(save_best=['auto']), dict(save_best=['auto'])),
        (
            dict(save_best=['coco/bbox_mAP', 'coco/segm_mAP'], rule='greater'),
            dict(save_best=['coco/bbox_mAP'], rule='greater'),
        ),
        (
            dict(
                save_best=['coco/bbox_mAP', 'coco/segm_mAP', 'val_loss'],
                rule=['greater', 'greater', 'less'],
            ),
            dict(save_best=['coco/bbox_mAP', 'val_loss'], rule=['greater', 'less']),
        ),
        (
            dict(save_best=['coco/segm_mAP', 'coco/segm_mAP_50'], rule=['greater']),
            dict(save_best=['coco/bbox_mAP', 'coco/bbox_mAP_50'], rule=['greater']),
        ),
    ],
)
def test_the_best_of_a_box_only_twin(make_coco, mask_rcnn, before, after):
    mask_rcnn.default_hooks.checkpoint.update(before)
    mask_rcnn.custom_hooks = [dict(type='EarlyStoppingHook', monitor='coco/segm_mAP')]
    point(mask_rcnn, make_coco(no_masks))
    checkpoint = mask_rcnn.default_hooks.checkpoint
    assert {key: checkpoint[key] for key in after} == after
    assert mask_rcnn.custom_hooks[0].monitor == 'coco/bbox_mAP'


def test_our_own_voc_config(make_coco):
    """The numbers that the report and the choice of the best checkpoint ask for are COCO's then."""
    configs = Path(__file__).resolve().parents[2] / 'configs'
    cfg = Config.fromfile(configs / 'scratch/faster_rcnn_r101_gn_144k_voc0712_ms.py')
    point(cfg, make_coco())
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'
    assert cfg.val_evaluator.type == cfg.test_evaluator.type == 'FullCocoMetric'
    assert cfg.default_hooks.checkpoint.save_best == 'auto'
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


CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def keypoint_rcnn() -> Config:
    return Config.fromfile(CONFIGS / 'scratch/keypoint_rcnn_r50_gn_2x_ms.py')


def with_keypoints(*names: str):
    """Gives 'disc' and its objects keypoints; 'star' has none."""

    def change(split, data):
        data['categories'][1]['keypoints'] = list(names)
        for row in data['annotations']:
            if row['category_id'] == 3:
                row['keypoints'] = [10, 12, 2] * len(names)
            row.pop('segmentation')

    return change


def test_keypoints_follow_the_annotations(make_coco):
    from mmdet.registry import DATASETS

    cfg = keypoint_rcnn()
    root = make_coco(with_keypoints('tip', 'left_end', 'right_end'))
    point(cfg, root)
    for key in ('train', 'val', 'test'):
        dataset = cfg[f'{key}_dataloader'].dataset
        assert dataset.type == 'CocoKeypointDataset'
        assert list(dataset.metainfo.classes) == ['star', 'disc']
        assert list(dataset.metainfo.keypoint_names) == ['tip', 'left_end', 'right_end']
        assert [tuple(pair) for pair in dataset.metainfo.flip_pairs] == [(1, 2)]
        assert len(dataset.metainfo.keypoint_sigmas) == 3
    roi_head = cfg.model.roi_head
    assert (roi_head.keypoint_head.num_keypoints, roi_head.bbox_head.num_classes) == (3, 2)
    assert (cfg.model.type, roi_head.type) == ('FasterRCNN', 'KeypointRoIHead')
    assert cfg.val_evaluator.type == 'CocoKeypointMetric'
    assert cfg.val_evaluator.metric == ['bbox', 'keypoints']
    config_check.check_keys(cfg)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 2
    keypoints = dataset[0]['data_samples'].gt_instances.keypoints
    assert keypoints[..., 2].tolist() == [[0, 0, 0], [2, 2, 2]]


def test_pairs_and_sigmas_of_the_config_stay_with_its_names(make_coco):
    cfg = keypoint_rcnn()
    coco = ['nose'] + [f'{side}_{part}' for part in PARTS for side in ('left', 'right')]
    point(cfg, make_coco(with_keypoints(*coco)))
    sigmas = cfg.train_dataloader.dataset.metainfo.keypoint_sigmas
    assert (sigmas[0], sigmas[-1]) == (0.026, 0.089)
    cfg = Config.fromfile(CONFIGS / 'scratch/keypoint_rcnn_r18_gn_600i_shapes.py')
    cfg.train_dataloader.dataset.metainfo.update(keypoint_names=['a', 'b'], flip_pairs=[(0, 1)])
    point(cfg, make_coco(with_keypoints('a', 'b')))
    assert [tuple(pair) for pair in cfg.metainfo.flip_pairs] == [(0, 1)]


PARTS = ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')


def test_cocos_own_files_of_keypoints_are_found(make_coco):
    """In COCO's folder both are there, and instances_ has no keypoints."""
    root = make_coco(with_keypoints('tip'), suffix='2017')
    for split in ('train', 'val'):
        file = root / f'annotations/instances_{split}2017.json'
        file.rename(root / f'annotations/person_keypoints_{split}2017.json')
    make_coco(suffix='2017')
    cfg = keypoint_rcnn()
    point(cfg, root)
    assert cfg.train_dataloader.dataset.ann_file == 'annotations/person_keypoints_train2017.json'
    assert cfg.val_evaluator.ann_file == str(root / 'annotations/person_keypoints_val2017.json')


def test_data_without_keypoints_is_refused_for_a_keypoint_head(make_coco):
    with pytest.raises(InputError, match=r'instances_train\.json: no category has keypoints'):
        point(keypoint_rcnn(), make_coco())


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        ('{', 'broken JSON at line 1'),
        ('{"images": [{}], "annotations": [{}]}', "has no 'categories'"),
    ],
)
def test_broken_annotations_are_refused_for_a_keypoint_head(make_coco, content, expected):
    root = make_coco(with_keypoints('tip'))
    for split in ('train', 'val'):
        file = root / f'annotations/instances_{split}.json'
        file.with_name(f'person_keypoints_{split}.json').write_bytes(file.read_bytes())
    file.write_text(content)
    with pytest.raises(InputError, match=rf'instances_val\.json: {expected}'):
        point(keypoint_rcnn(), root)


def test_categories_with_different_numbers_of_keypoints_are_refused(make_coco):
    def change(split, data):
        data['categories'][0]['keypoints'] = ['a', 'b']
        data['categories'][1]['keypoints'] = ['a']

    with pytest.raises(InputError, match=r"'disc' has 1 keypoints, 'star' 2; name as many for all"):
        point(keypoint_rcnn(), make_coco(change))


def test_masks_beside_keypoints_go_where_there_are_none(make_coco):
    cfg = keypoint_rcnn()
    cfg.model.type = 'MaskRCNN'
    cfg.model.roi_head.mask_head = dict(type='FCNMaskHead', num_classes=1)
    for key in ('train', 'val', 'test'):
        for step in cfg[f'{key}_dataloader'].dataset.pipeline:
            if step.type == 'LoadKeypointAnnotations':
                step.with_mask = True
    cfg.val_evaluator.metric = ['bbox', 'segm', 'keypoints']
    point(cfg, make_coco(with_keypoints('tip')))
    assert (cfg.model.type, cfg.model.roi_head.type) == ('FasterRCNN', 'KeypointRoIHead')
    assert 'mask_head' not in cfg.model.roi_head
    assert cfg.val_evaluator.metric == ['bbox', 'keypoints']
