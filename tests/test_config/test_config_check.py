import copy
import glob
import textwrap
from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from mmscratch.config import config_check
from mmscratch.config.config_values import check_values
from mmscratch.errors import InputError

BASE = """
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
custom_hooks = [dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', priority='LOW')]
randomness = dict(seed=0)
"""
SHIPPED = Path(mmdet.__file__).parent / '.mim/configs'


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = 'config.py') -> Path:
        file = tmp_path / name
        file.write_text(textwrap.dedent(text))
        return file

    return write


@pytest.fixture(scope='module')
def loaded(tmp_path_factory) -> Config:
    file = tmp_path_factory.mktemp('config') / 'config.py'
    file.write_text(BASE)
    return config_check.load(file)


@pytest.fixture
def cfg(loaded) -> Config:
    return copy.deepcopy(loaded)


def refusal(function, *args) -> str:
    """The message of the error, which has to be one line."""
    with pytest.raises(InputError) as error:
        function(*args)
    assert '\n' not in str(error.value)
    return str(error.value)


def put(cfg: Config, path: str, value) -> None:
    *parents, key = path.split('.')
    node = cfg
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list | tuple) else node[parent]
    node[key] = value


def test_good_config_passes(cfg):
    config_check.check_keys(cfg)


@pytest.mark.parametrize(
    ('path', 'value', 'expected'),
    [
        ('model.backbone.deptth', 101, "ResNet has no argument 'deptth'; did you mean 'depth'?"),
        ('model.backbone.type', 'ResNett', "did you mean 'ResNet'?"),
        ('model.roi_head.bbox_head.num_clases', 3, "did you mean 'num_classes'?"),
        ('model.rpn_head.anchor_generator.stride', [4], "did you mean 'strides'?"),
        ('model.train_cfg.rcnn.assigner.pos_iou_th', 0.5, "did you mean 'pos_iou_thr'?"),
        ('model.train_cfg.rpn.nms_prre', 5, "did you mean 'nms_pre'?"),
        ('model.test_cfg.rcnn.score_thre', 0.1, "did you mean 'score_thr'?"),
        ('model.test_cfg.rcnn.nms.iou_thresold', 0.5, "did you mean 'iou_threshold'?"),
        ('train_dataloader.batchsize', 2, "did you mean 'batch_size'?"),
        ('train_dataloader.sampler.shufle', True, "did you mean 'shuffle'?"),
        ('train_dataloader.dataset.datta_root', 'x', "did you mean 'data_root'?"),
        ('train_dataloader.dataset.filter_cfg.filter_empty', True, "'filter_empty_gt'?"),
        ('train_dataloader.dataset.metainfo', dict(CLASSES=('a',)), "did you mean 'classes'?"),
        ('train_dataloader.dataset.pipeline.2.keep_ration', True, "did you mean 'keep_ratio'?"),
        ('train_dataloader.dataset.pipeline.3.type', 'RandomFip', "did you mean 'RandomFlip'?"),
        ('val_evaluator.ann_fil', 'x', "did you mean 'ann_file'?"),
        ('optim_wrapper.optimizer.momemtum', 0.9, "did you mean 'momentum'?"),
        ('optim_wrapper.optimizer.type', 'SDG', 'nothing of that name is registered'),
        ('optim_wrapper.clip_grad', dict(maxnorm=1), "did you mean 'max_norm'?"),
        ('optim_wrapper.paramwise_cfg', dict(norm_decay_mul=0), "did you mean 'norm_decay_mult'?"),
        (
            'optim_wrapper.paramwise_cfg',
            dict(custom_keys={'backbone.bn': dict(lr_mul=0)}),
            "did you mean 'lr_mult'?",
        ),
        ('optim_wrapper.accumulative_count', 2, "did you mean 'accumulative_counts'?"),
        ('param_scheduler.1.milestone', [1], "did you mean 'milestones'?"),
        ('train_cfg.max_epoch', 1, "did you mean 'max_epochs'?"),
        ('default_hooks.checkpoint.intervall', 1, "did you mean 'interval'?"),
        ('default_hooks.logger.type', 'LogerHook', "did you mean 'LoggerHook'?"),
        ('default_hooks.checkpont', dict(interval=5), "no 'type'; did you mean 'checkpoint'?"),
        ('custom_hooks.0.patiense', 3, "did you mean 'patience'?"),
        ('visualizer.vis_backend', [], "did you mean 'vis_backends'?"),
        ('log_processor.windowsize', 5, "did you mean 'window_size'?"),
        ('env_cfg.cudnn_benchmak', True, "did you mean 'cudnn_benchmark'?"),
        ('env_cfg.mp_cfg.mp_startmethod', 'fork', "did you mean 'mp_start_method'?"),
        ('auto_scale_lr.base_batchsize', 16, "did you mean 'base_batch_size'?"),
        ('randomness.sed', 1, "did you mean 'seed'?"),
    ],
)
def test_misspelt_key_is_refused(cfg, path, value, expected):
    put(cfg, path, value)
    message = refusal(config_check.check_keys, cfg)
    parent = path.rpartition('.')[0]
    assert message.startswith(f'{cfg.filename}: {parent}')
    assert expected in message


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('custom_hook', 'custom_hooks'),
        ('optim_wraper', 'optim_wrapper'),
        ('trian_dataloader', 'train_dataloader'),
        ('param_schedulers', 'param_scheduler'),
        ('train_piplines', 'train_pipeline'),
        ('drop_bad_box', 'drop_bad_boxes'),
    ],
)
def test_misspelt_section_is_refused(cfg, key, meant):
    cfg[key] = {}
    message = refusal(config_check.check_keys, cfg)
    assert message == f"{cfg.filename}: unknown section '{key}'; did you mean '{meant}'?"


@pytest.mark.parametrize(
    'key', ['val_evaluator_2', 'coco_train_dataloader', 'max_iters', 'train_pipeline_stage2', 'K']
)
def test_own_variables_are_accepted(cfg, key):
    cfg[key] = {}
    config_check.check_keys(cfg)


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('model.backbone.norm_cfg', dict(type='GN', num_groups=32, requires_grad=True)),
        ('model.backbone.with_cp', True),
        ('model.backbone.type', 'mmpretrain.ConvNeXt'),
        ('model.test_cfg.rcnn.nms', dict(type='soft_nms', iou_threshold=0.5, min_score=0.05)),
        ('model.train_cfg.rcnn.something_of_ones_own', 1),
        ('optim_wrapper.paramwise_cfg', dict(norm_decay_mult=0, custom_keys=dict(neck={}))),
        ('optim_wrapper.constructor', 'LearningRateDecayOptimizerConstructor'),
        ('train_dataloader.num_batch_per_epoch', 3),
        ('train_cfg', dict(by_epoch=False, max_iters=5, val_interval=1)),
        ('model_wrapper_cfg', dict(type='MMDistributedDataParallel', device_ids=None)),
        ('default_hooks.visualization', None),
    ],
)
def test_keys_that_builders_take_are_accepted(cfg, path, value):
    put(cfg, path, value)
    config_check.check_keys(cfg)


# Of MMDetection's own configs, one in 40, and one of each kind with keys of its own.
SAMPLE = sorted(glob.glob(f'{SHIPPED}/*/*.py'))[::40] + [
    f'{SHIPPED}/{name}.py'
    for name in (
        'albu_example/mask-rcnn_r50_fpn_albu-1x_coco',
        'cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco',
        'dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco',
        'detr/detr_r50_8xb2-150e_coco',
        'fpg/retinanet_r50_fpg_crop640_50e_coco',
        'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco',
        'scratch/mask-rcnn_r50-scratch_fpn_gn-all_6x_coco',
        'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco',
        'vfnet/vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco',
        'yolox/yolox_s_8xb8-300e_coco',
    )
]


@pytest.mark.parametrize('file', SAMPLE, ids=lambda file: Path(file).stem)
def test_shipped_config_is_accepted(file):
    cfg = Config.fromfile(file)
    before = cfg.to_dict()
    config_check.check_keys(cfg)
    check_values(cfg)
    assert cfg.to_dict() == before


def test_shipped_config_that_cannot_be_built_is_refused():
    cfg = Config.fromfile(SHIPPED / 'pascal_voc/faster-rcnn_r50_fpn_1x_voc0712-cocofmt.py')
    assert "CocoMetric has no argument 'eval_mode'" in refusal(config_check.check_keys, cfg)


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ('model.backbone.deptth', "(ResNet) has no 'deptth'; did you mean 'depth'?"),
        ('modl.backbone.depth', "the config has no 'modl'; did you mean 'model'?"),
        ('max_epochs', "the config has no 'max_epochs'; did you mean 'train_cfg.max_epochs'?"),
        ('model.backbone.depth.x', 'model.backbone.depth is 50, not a section'),
        ('model.train_cfg.rcnn.foo', "has no 'foo'"),
        ('param_scheduler.2.gamma', "is a list of 2; '2' is not the number of an entry, 0 to 1"),
        ('param_scheduler.gamma', "'gamma' is not the number of an entry"),
        (
            'data_root',
            "'data_root' is a variable inside of",
        ),
        ('train_pipeline.2.scale', 'set train_dataloader.dataset.pipeline'),
        ('optim_wrapper.optimiser.lr', "did you mean 'optimizer'?"),
    ],
)
def test_unknown_option_is_refused(cfg, option, expected):
    before = cfg.to_dict()
    message = refusal(config_check.apply_options, cfg, {option: 1})
    assert message.startswith(f'--cfg-options {option}: ')
    assert expected in message
    assert cfg.to_dict() == before


def test_only_a_hook_that_is_there_can_be_disabled():
    cfg = Config(dict(default_hooks=dict(visualization=dict(type='ComparisonPicturesHook'))))
    for name in ('visualization', 'logger'):
        config_check.apply_options(cfg, {f'default_hooks.{name}': None})
    with pytest.raises(InputError, match=r"no hook 'vizualization'.*did you mean 'visualization'"):
        config_check.apply_options(cfg, {'default_hooks.vizualization': None})


def test_options_are_merged(cfg):
    options = {
        'model.backbone.depth': 101,
        'model.backbone.with_cp': True,
        'train_dataloader.dataset.pipeline.2.scale': (640, 400),
        'optim_wrapper.clip_grad.max_norm': 35,
        'optim_wrapper.paramwise_cfg.custom_keys.neck.lr_mult': 0.5,
        'resume': True,
        'param_scheduler.0.end': 100,
    }
    config_check.apply_options(cfg, options)
    config_check.check_keys(cfg)
    assert cfg.model.backbone.depth == 101
    assert cfg.model.backbone.with_cp is True
    assert cfg.train_dataloader.dataset.pipeline[2].scale == (640, 400)
    assert cfg.optim_wrapper.clip_grad.max_norm == 35
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.neck.lr_mult == 0.5
    assert cfg.resume is True
    assert [scheduler.end for scheduler in cfg.param_scheduler] == [100, 12]


def test_option_below_none_is_refused(cfg):
    cfg.model.backbone.init_cfg = None
    message = refusal(config_check.apply_options, cfg, {'model.backbone.init_cfg.type': 'Kaiming'})
    assert 'cannot be merged' in message


def test_missing_config(write):
    file = write(BASE)
    message = refusal(config_check.load, file.with_name('confg.py'))
    assert (
        message == f"{file.with_name('confg.py')}: no such config file; did you mean 'config.py'?"
    )


def test_python_errors_name_file_and_line(write):
    write('a = 1\nb = (2\n', 'base.py')
    child = write("_base_ = './base.py'\n", 'child.py')
    assert refusal(config_check.load, child) == (
        f"{child.with_name('base.py')}: line 2: '(' was never closed; correct the Python there"
    )
    bad = write('a = 1\nb = undefined + 1\n')
    assert refusal(config_check.load, bad).startswith(f"{bad}: line 2: NameError: name 'undefined'")


def test_missing_base(write):
    child = write("_base_ = './nowhere.py'\n", 'child.py')
    message = refusal(config_check.load, child)
    assert message.startswith(f'{child}: its _base_ ')
    assert 'nowhere.py does not exist; correct the path' in message
    external = write("_base_ = 'mmdet::_base_/models/no_such_model.py'\n", 'external.py')
    assert 'no_such_model.py' in refusal(config_check.load, external)


def test_key_in_two_bases(write):
    write('model = dict(a=1)\n', 'one.py')
    write('model = dict(b=1)\n', 'two.py')
    child = write("_base_ = ['./one.py', './two.py']\n", 'child.py')
    message = refusal(config_check.load, child)
    assert message.startswith(f'{child}: KeyError: Duplicate key is not allowed among bases.')
    assert "{'model'}" in message


def test_failing_import(write):
    file = write("custom_imports = dict(imports=['no_such_module_here'])\n")
    message = refusal(config_check.load, file)
    assert message.startswith(f'{file}: ')
    assert message.endswith("No module named 'no_such_module_here'; correct the config")


WHOLE = 'give a whole number from 1'
SECTION = 'give a section (a dict), or None'


@pytest.mark.parametrize(
    ('path', 'value', 'expected'),
    [
        *(
            ('train_dataloader.batch_size', value, WHOLE)
            for value in (0, -3, 1.5, '', '4k', [], [2, 3], None, True, float('nan'), float('inf'))
        ),
        ('val_dataloader.batch_size', 0, WHOLE),
        ('val_dataloader.num_workers', 'two', 'give a whole number from 0'),
        ('train_dataloader.prefetch_factor', 0, 'give a whole number from 1, or None'),
        ('train_dataloader.dataset.pipeline', 5, 'give a list of sections (dicts), or None'),
        ('train_dataloader.dataset.pipeline', ['x'], 'give a list of sections (dicts), or None'),
        ('val_evaluator.metric', 5, 'give a name, or a list of names'),
        ('val_evaluator.proposal_nums', 5, 'give a list of whole numbers from 1, or None'),
        ('train_cfg.max_iters', '4k', WHOLE),
        ('train_cfg.val_interval', 0, WHOLE),
        ('train_cfg.val_begin', -1, 'give a whole number from 0'),
        ('train_cfg.dynamic_intervals', [5], 'give a list of pairs of whole numbers, or None'),
        ('optim_wrapper.accumulative_counts', 0, WHOLE),
        ('train_cfg.accumulation', 0, WHOLE),
        ('optim_wrapper.optimizer', 'SGD', SECTION),
        ('optim_wrapper.optimizer.lr', '1e-2x', 'give a number from 0'),
        ('optim_wrapper.optimizer.lr', float('nan'), 'give a number from 0'),
        ('optim_wrapper.optimizer.lr', True, 'give a number from 0'),
        ('auto_scale_lr.base_batch_size', None, WHOLE),
        ('auto_scale_lr.enable', 'no', 'give True or False'),
        ('drop_bad_boxes', 'no', 'give True or False'),
        ('param_scheduler', 5, 'give a section (a dict), a list of them, or None'),
        ('param_scheduler.1.type', None, 'give the name of a class'),
        ('param_scheduler.1.begin', '0', 'give a whole number from 0'),
        ('param_scheduler.1.end', 0, WHOLE),
        ('param_scheduler.1.milestones', 8, 'give a list of whole numbers from 0'),
        ('param_scheduler.1.milestones', [8, 'x'], 'give a list of whole numbers from 0'),
        ('param_scheduler.1.gamma', -0.1, 'give a number from 0'),
        ('param_scheduler.1.T_max', 0, 'give a whole number from 1, or None'),
        ('param_scheduler.1.periods', [0], 'give a list of whole numbers from 1'),
        ('param_scheduler.1.eta_min', '', 'give a number from 0, or None'),
        ('param_scheduler.1.step_size', 2.5, WHOLE),
        ('default_hooks.checkpoint', False, SECTION),
        ('default_hooks.checkpoint.interval', 0, 'give a whole number from 1, or -1 for never'),
        ('default_hooks.checkpoint.save_begin', -1, 'give a whole number from 0'),
        ('default_hooks.logger.interval', 0, WHOLE),
        ('log_processor.window_size', 'x', WHOLE),
        ('randomness.seed', -3, 'give a whole number from 0 to 4294967295, or None'),
        ('randomness.seed', 2**32, 'give a whole number from 0 to 4294967295, or None'),
        ('train_dataloader.sampler.subset', 0, 'give a whole number of images from 1, a file'),
        ('train_dataloader.sampler.subset', '', 'give a whole number of images from 1, a file'),
        ('train_dataloader.dataset', None, 'give a section (a dict)'),
        ('train_dataloader.dataset.ann_file', 5, 'give a path, or None'),
        ('train_dataloader.dataset.filter_cfg.min_size', 'x', 'give a number from 0'),
    ],
)
def test_a_value_that_cannot_be_computed_with_is_refused(cfg, path, value, expected):
    put(cfg, path, value)
    said = f'{path}={value!r}: {expected}'
    assert refusal(check_values, cfg).startswith(f'{cfg.filename}: {said}')
    for option in (path, path.rpartition('.')[0]):
        if option:
            given = refusal(check_values, cfg, [option])
            assert given.startswith(f'--cfg-options {said}')
    # of another option of a name that begins alike
    assert refusal(check_values, cfg, [path[:-1]]).startswith(cfg.filename)


@pytest.mark.parametrize(
    ('path', 'value', 'becomes'),
    [
        ('train_cfg.val_interval', 1e3, 1000),
        ('param_scheduler.1.milestones', [6e4, 8e4], [60_000, 80_000]),
        ('default_hooks.checkpoint.interval', -1, -1),
        ('optim_wrapper.optimizer.lr', 0.0, 0.0),
        ('optim_wrapper.optimizer.lr', 1, 1),
        ('train_dataloader.sampler.subset', 'ids.json', 'ids.json'),
        ('train_dataloader.sampler.subset', 1e4, 10_000),
        ('randomness.seed', None, None),
        ('default_hooks.logger', None, None),
        ('param_scheduler', None, None),
        ('val_dataloader', None, None),
        ('drop_bad_boxes', 1, True),
    ],
)
def test_a_value_that_says_what_it_means_is_taken(cfg, path, value, becomes):
    put(cfg, path, value)
    check_values(cfg)
    *parents, key = path.split('.')
    for parent in parents:
        cfg = cfg[int(parent)] if parent.isdigit() else cfg[parent]
    assert cfg[key] == becomes
    assert type(cfg[key]) is type(becomes)


def test_loading_checks_values(write):
    file = write(BASE)
    with pytest.raises(InputError, match=r'^--cfg-options train_dataloader\.batch_size=0: give '):
        config_check.load(file, {'train_dataloader.batch_size': 0})
    file.write_text(f'{BASE}train_dataloader = dict(batch_size=0)\n')
    with pytest.raises(InputError, match=rf'^{file}: train_dataloader\.batch_size=0: give '):
        config_check.load(file)


def test_what_is_needed_has_to_be_there(cfg):
    config_check.require(cfg, 'train_cfg', 'optim_wrapper.optimizer.lr')
    del cfg.optim_wrapper.optimizer['lr']
    message = refusal(config_check.require, cfg, 'train_cfg', 'optim_wrapper.optimizer.lr')
    assert message.startswith(f'{cfg.filename}: optim_wrapper.optimizer.lr is missing; set it')
    cfg.optim_wrapper = None
    message = refusal(config_check.require, cfg, 'optim_wrapper.optimizer')
    assert 'optim_wrapper.optimizer is missing' in message
