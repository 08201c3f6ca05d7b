"""Every leaf: its name, its inheritance, its schedule, its model, one step of training."""

import ast
import copy
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch import nn

from mmscratch import config_check

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
LEAVES = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_')
IDS = [f'{path.parent.name}/{path.stem}' for path in LEAVES]

# configs/README.md explains it
GRAMMAR = re.compile(
    r'(mask_rcnn|faster_rcnn)'
    r'_(?P<backbone>[a-z]+\d[a-z0-9]*)'
    r'_(?P<norm>gn|bn|syncbn|frozenbn|nonorm)'
    r'_(?P<length>\d+)(?P<unit>x|k|e|i)'
    r'(_(?P<data>coco\d+k|voc0712|shapes))?'
    r'(_ms)?(_amp)?(_b\d+)?(_s\d+)?'
)


@pytest.fixture(params=LEAVES, ids=IDS)
def leaf(request) -> Path:
    return request.param


def iterations(name: re.Match) -> int:
    return int(name['length']) * {'x': 90_000, 'k': 1000, 'i': 1}[name['unit']]


def shrunk(cfg: Config) -> Config:
    """The same architecture with few channels: a fault of wiring shows here too."""
    model = copy.deepcopy(cfg.model)
    deep = model.backbone.depth >= 50
    model.backbone.update(base_channels=8, stem_channels=8)
    model.neck.update(
        in_channels=[8 * 2**k * (4 if deep else 1) for k in range(4)], out_channels=16
    )
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.roi_head.bbox_roi_extractor.out_channels = 16
    model.roi_head.mask_roi_extractor.out_channels = 16
    model.roi_head.bbox_head.update(in_channels=16, conv_out_channels=16, fc_out_channels=32)
    model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16)
    text = str(model.to_dict())
    text = re.sub(r"'num_groups': \d+", "'num_groups': 4", text)
    # SyncBN exists on GPUs only; its own twin of the maths is BN
    text = text.replace("'SyncBN'", "'BN'")
    return Config(dict(model=ast.literal_eval(text)))


def two_images(num_classes: int) -> dict:
    """A batch of two 96 x 128 images with two objects each."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for index in range(2):
        sample = DetDataSample(
            metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128), img_id=index)
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[10.0, 12.0, 60.0, 70.0], [50.0, 30.0, 120.0, 90.0]]),
            labels=torch.tensor([0, num_classes - 1]),
            masks=_masks(),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, 96, 128), generator=generator).byte() for _ in range(2)]
    return dict(inputs=images, data_samples=samples)


def _masks():
    from mmdet.structures.mask import BitmapMasks

    masks = torch.zeros(2, 96, 128, dtype=torch.uint8)
    masks[0, 12:70, 10:60] = 1
    masks[1, 30:90, 50:120] = 1
    return BitmapMasks(masks.numpy(), 96, 128)


def test_there_are_leaves():
    assert len(LEAVES) >= 16


def test_name_fits_the_grammar_and_says_what_the_config_is(leaf):
    name = GRAMMAR.fullmatch(leaf.stem)
    assert name, f'{leaf.stem} is not detector_backbone_norm_schedule[_data][_option]'
    cfg = Config.fromfile(leaf)
    assert cfg.model.backbone.depth == int(name['backbone'].removeprefix('r'))
    assert cfg.model.backbone.norm_cfg.type.lower() == name['norm']
    assert cfg.train_cfg.max_iters == iterations(name)


def test_leaf_is_short_and_states_no_list_of_its_own(leaf):
    lines = [line for line in leaf.read_text().splitlines() if line and not line.startswith('#')]
    assert len(lines) <= 15
    for key in ('param_scheduler', 'pipeline', 'classes', 'max_iters', 'custom_hooks'):
        assert not re.search(rf'\b{key}\b', leaf.read_text()), f'{leaf.stem} restates {key}'


def test_at_most_three_steps_to_the_base_of_mmdetection(leaf):
    def depth(path: Path) -> int:
        bases = re.search(r'^_base_ = (.*?)$(?=\n\n|\n\w|\Z)', path.read_text(), re.M | re.S)
        if not bases:
            return 0
        listed = ast.literal_eval(bases[1])
        listed = [listed] if isinstance(listed, str) else listed
        return 1 + max(0 if '::' in base else depth(path.parent / base) for base in listed)

    assert depth(leaf) <= 3


def test_every_key_is_one_that_something_reads(leaf):
    config_check.check_keys(config_check.load(leaf, {}))


def test_schedule_is_the_papers(leaf):
    cfg = Config.fromfile(leaf)
    warm_up, steps = cfg.param_scheduler
    total = cfg.train_cfg.max_iters
    if leaf.stem.endswith('shapes'):
        assert all(0 < milestone < total for milestone in steps.milestones)
    else:
        assert steps.milestones == [total - 60_000, total - 20_000]
        assert (warm_up.start_factor, warm_up.end) == (1 / 3, 501)
        assert cfg.auto_scale_lr.base_batch_size == 16
        assert cfg.optim_wrapper.optimizer.lr == 0.02
    assert (steps.gamma, steps.end) == (0.1, total)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)


def test_scratch_loads_nothing(leaf):
    cfg = Config.fromfile(leaf)
    assert 'Pretrained' not in str(cfg.model)
    assert not cfg.load_from


def test_full_size_model_is_all_trainable_and_its_norms_train(leaf):
    cfg = Config.fromfile(leaf)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    model.train()
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert not frozen
    kinds = (nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    norms = [module for module in model.modules() if isinstance(module, kinds)]
    assert norms
    assert all(norm.training for norm in norms)
    if cfg.model.backbone.depth == 50:
        assert len([n for n in model.backbone.modules() if isinstance(n, kinds)]) == 53


def test_shrunk_it_trains_a_step_and_every_parameter_gets_a_gradient(leaf):
    cfg = Config.fromfile(leaf)
    torch.manual_seed(0)
    model = MODELS.build(shrunk(cfg).model)
    model.init_weights()
    model.train()
    batch = two_images(cfg.model.roi_head.bbox_head.num_classes)
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    # a missing gradient, not a zero one: a ReLU may be dead for two images
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_detectrons_rules_for_rates_and_decay(leaf):
    cfg = Config.fromfile(leaf)
    model = MODELS.build(shrunk(cfg).model)
    optim_wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    lr = cfg.optim_wrapper.optimizer.lr
    rules = {}
    for group in optim_wrapper.optimizer.param_groups:
        for parameter in group['params']:
            rules[parameter] = (group['lr'], group['weight_decay'])
    norms = (nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    seen = set()
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            if isinstance(module, norms):
                expected = (lr, 0)
            elif kind == 'bias':
                expected = (2 * lr, 0)
            else:
                expected = (lr, 1e-4)
            assert rules[parameter] == pytest.approx(expected)
            seen.add(expected)
    assert len(seen) == 3


def test_detectrons_numbers():
    """paper.md's list of where MMDetection's own scratch config departs from Detectron."""
    model = Config.fromfile(CONFIGS / 'scratch/mask_rcnn_r50_gn_6x.py').model
    assert model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio == 2
    assert model.roi_head.mask_roi_extractor.roi_layer.sampling_ratio == 2
    assert model.train_cfg.rpn_proposal.max_per_img == 2000
    assert model.train_cfg.rpn.allowed_border == 0
    assert model.rpn_head.loss_bbox == dict(type='SmoothL1Loss', beta=1 / 9)
    assert model.roi_head.bbox_head.loss_bbox == dict(type='SmoothL1Loss', beta=1.0)
    assert model.backbone.style == 'pytorch'
    assert model.backbone.norm_eval is False
    preprocessor = model.data_preprocessor
    assert preprocessor.mean == [102.9801, 115.9465, 122.7717]
    assert preprocessor.std == [1, 1, 1]
    assert preprocessor.bgr_to_rgb is False
