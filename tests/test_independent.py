"""Parameters against torchvision's own models, learning rates against the published recipes.

Nothing here is derived from configs/: torchvision builds its layers itself, and the recipes are
typed in from Detectron's YAML files (commit 04155a01) and detectron2's new_baselines (02b5c4e2).
"""

import functools
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn
from torchvision.models import resnet, vgg16
from torchvision.models.detection import (
    fasterrcnn_resnet50_fpn_v2,
    keypointrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor

from mmscratch.config.learning_rate import learning_rate

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FROM_SCRATCH = dict(weights=None, weights_backbone=None)
# COCO's 80 classes and the background, which torchvision counts too
COCO = 81


@functools.cache
def config(leaf: str) -> Config:
    return Config.fromfile(CONFIGS / f'{leaf}.py')


def ours(leaf: str) -> nn.Module:
    with torch.device('meta'):
        return MODELS.build(config(leaf).model)


def theirs(build, **kwargs) -> nn.Module:
    with torch.device('meta'):
        return build(**kwargs)


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def resnet_body(depth: str) -> nn.Module:
    """A ResNet with GN and without its classifier."""
    if depth == 'x152':
        net = resnet.ResNet(
            resnet.Bottleneck, [3, 8, 36, 3], groups=8, width_per_group=32, norm_layer=group_norm
        )
    else:
        net = getattr(resnet, f'resnet{depth[1:]}')(weights=None, norm_layer=group_norm)
    net.fc = nn.Identity()
    return net


# torchvision regresses boxes, and predicts masks, of the background class too
def boxes_of_background(features: int = 1024) -> int:
    return 4 * (features + 1)


MASK_OF_BACKGROUND = 256 + 1


@pytest.mark.parametrize(
    ('leaf', 'depth'),
    [
        ('scratch/mask_rcnn_r50_gn_6x', 'r50'),
        ('scratch/mask_rcnn_r101_gn_6x', 'r101'),
        ('pretrained/mask_rcnn_r50_syncbn_6x', 'r50'),
        ('scratch/mask_rcnn_x152_gn_9x_ms', 'x152'),
    ],
)
def test_mask_rcnn(leaf, depth):
    model = ours(leaf)
    # the second version has the norm layers and heads that the paper takes from GN's, and two
    # convs in RPN, where the paper has the first version's one
    reference = theirs(maskrcnn_resnet50_fpn_v2, num_classes=COCO, **FROM_SCRATCH)
    first = theirs(maskrcnn_resnet50_fpn, num_classes=COCO, **FROM_SCRATCH)
    heads = reference.roi_heads
    assert count(model.backbone) == count(theirs(resnet_body, depth=depth))
    assert count(model.neck) == count(reference.backbone.fpn)
    assert count(model.rpn_head) == count(first.rpn.head)
    assert (
        count(model.roi_head.bbox_head)
        == count(heads.box_head, heads.box_predictor) - boxes_of_background()
    )
    assert (
        count(model.roi_head.mask_head)
        == count(heads.mask_head, heads.mask_predictor) - MASK_OF_BACKGROUND
    )


def test_fpn_with_norm_trades_biases_for_scale_and_shift():
    """The first version's FPN has biases (1 a channel), with norm layers there are 2 a channel."""
    first = theirs(maskrcnn_resnet50_fpn, num_classes=COCO, **FROM_SCRATCH)
    assert count(ours('scratch/mask_rcnn_r50_gn_6x').neck) == count(first.backbone.fpn) + 8 * 256


def test_lsj_is_torchvisions_second_version_as_a_whole():
    model = ours('scratch/mask_rcnn_r50_syncbn_100e_lsj')
    reference = theirs(maskrcnn_resnet50_fpn_v2, num_classes=COCO, **FROM_SCRATCH)
    assert count(model.rpn_head) == count(reference.rpn.head)
    assert count(model) == count(reference) - boxes_of_background() - MASK_OF_BACKGROUND


@pytest.mark.parametrize('leaf', ['mask_rcnn_r50_gn_3x_freeze2', 'mask_rcnn_r101_gn_3x_freeze2'])
def test_frozen_control_trains_all_but_stem_and_first_stage(leaf):
    model = ours(f'scratch/{leaf}')
    body = theirs(resnet_body, depth=leaf.split('_')[2])
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    assert sum(parameter.numel() for parameter in frozen) == count(
        body.conv1, body.bn1, body.layer1
    )


def test_keypoints():
    model = ours('scratch/keypoint_rcnn_r50_gn_2x_ms')
    reference = theirs(
        keypointrcnn_resnet50_fpn, num_classes=2, num_keypoints=17, **FROM_SCRATCH
    ).roi_heads
    assert count(model.roi_head.keypoint_head) == count(
        reference.keypoint_head, reference.keypoint_predictor
    )
    heads = theirs(fasterrcnn_resnet50_fpn_v2, num_classes=2, **FROM_SCRATCH).roi_heads
    assert (
        count(model.roi_head.bbox_head)
        == count(heads.box_head, heads.box_predictor) - boxes_of_background()
    )


def test_voc():
    model = ours('scratch/faster_rcnn_r101_gn_144k_voc0712_ms')
    reference = theirs(fasterrcnn_resnet50_fpn_v2, num_classes=21, **FROM_SCRATCH)
    body = theirs(lambda: _resnet_fpn_extractor(resnet_body('r101'), 5, norm_layer=group_norm))
    assert count(model.backbone, model.neck) == count(body)
    heads = reference.roi_heads
    assert (
        count(model.roi_head) == count(heads.box_head, heads.box_predictor) - boxes_of_background()
    )


@pytest.mark.parametrize(
    'leaf', ['cascade_mask_rcnn_r50_gn_9x_ms', 'cascade_mask_rcnn_x152_gn_9x_ms']
)
def test_cascade_adds_two_class_agnostic_box_heads(leaf):
    cascade, plain = ours(f'scratch/{leaf}'), ours(f'scratch/{leaf.removeprefix("cascade_")}')
    heads = theirs(fasterrcnn_resnet50_fpn_v2, num_classes=COCO, **FROM_SCRATCH).roi_heads
    later = count(heads.box_head, heads.box_predictor.cls_score) + 4 * (1024 + 1)
    assert count(cascade) == count(plain) + 2 * later


def test_vgg16():
    model = ours('scratch/faster_rcnn_vgg16_nonorm_11x_ms')
    reference = theirs(vgg16, weights=None)
    assert count(model.backbone) == count(reference.features)
    # fc6 and fc7 are ImageNet's; 81 classes and 80 boxes in place of 1000 classes
    fc6, _, _, fc7, *_ = reference.classifier
    assert count(model.roi_head.bbox_head) == count(fc6, fc7) + (81 + 4 * 80) * (4096 + 1)


# Detectron, configs/04_2018_gn_baselines: what the config here is, MAX_ITER, STEPS after the 0.
# BASE_LR 0.02, GAMMA 0.1, WEIGHT_DECAY 1e-4, 8 GPUs of 2 images in each of them.
DETECTRON = [
    ('scratch/mask_rcnn_r50_gn_3x', 270_000, (210_000, 250_000)),  # scratch_..._R-50-FPN_3x_gn
    ('scratch/mask_rcnn_r101_gn_3x', 270_000, (210_000, 250_000)),  # scratch_..._R-101-FPN_3x_gn
    ('pretrained/mask_rcnn_r50_gn_2x', 180_000, (120_000, 160_000)),  # e2e_..._R-50-FPN_2x_gn
    ('pretrained/mask_rcnn_r101_gn_2x', 180_000, (120_000, 160_000)),  # e2e_..._R-101-FPN_2x_gn
    ('pretrained/mask_rcnn_r50_gn_3x_freeze2', 270_000, (210_000, 250_000)),  # R-50-FPN_3x_gn
    ('pretrained/mask_rcnn_r101_gn_3x_freeze2', 270_000, (210_000, 250_000)),  # R-101-FPN_3x_gn
]
# detectron2, configs/new_baselines/mask_rcnn_R_50_FPN_*ep_LSJ.py: times the 100 epochs' iterations
DETECTRON2 = [(f'scratch/mask_rcnn_r50_syncbn_{n}00e_lsj', n) for n in (1, 2, 4)]


def ramp(iteration: int, warm_up: int, factor: float) -> float:
    """From ``factor`` at 0 to 1 at ``warm_up`` and later, linearly."""
    part = min(iteration / warm_up, 1)
    return factor * (1 - part) + part


def samples(warm_up: int, steps: tuple[int, int], end: int) -> list[int]:
    """Every hundredth iteration of the warm-up, and both sides of each change."""
    changes = [warm_up, *steps, end - 1]
    return [*range(0, warm_up, 100), *(i + d for i in changes for d in (-1, 0, 1) if i + d < end)]


@pytest.mark.parametrize(('leaf', 'end', 'steps'), DETECTRON)
def test_detectrons_recipe(leaf, end, steps):
    cfg = config(leaf)
    assert cfg.train_cfg.max_iters == end
    for i in samples(500, steps, end):
        # WARM_UP_ITERS 500, WARM_UP_FACTOR 1/3: detectron/core/config.py
        expected = 0.02 * 0.1 ** sum(i >= step for step in steps) * ramp(i, 500, 1 / 3)
        assert learning_rate(cfg, i) == pytest.approx(expected, rel=1e-9), i
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 0.0001)
    assert cfg.auto_scale_lr.base_batch_size == 8 * 2


@pytest.mark.parametrize(('leaf', 'times'), DETECTRON2)
def test_detectron2s_recipe(leaf, times):
    cfg = config(leaf)
    end, steps = 184_375 * times, (163_889 * times, 177_546 * times)
    assert cfg.train_cfg.max_iters == end
    # the warm-up is a part of the schedule, 500 of 184,375 iterations, from 0.067
    for i in samples(500 * times, steps, end):
        expected = 0.1 * 0.1 ** sum(i >= step for step in steps) * ramp(i, 500 * times, 0.067)
        assert learning_rate(cfg, i) == pytest.approx(expected, rel=1e-9), i
    assert cfg.optim_wrapper.optimizer.weight_decay == 4e-5
    assert cfg.auto_scale_lr.base_batch_size == 64


def test_keypoints_have_rates_and_scales_of_detectrons_yaml():
    """e2e_keypoint_rcnn_R-50-FPN_1x.yaml; it is of 90k iterations, the drops of 2x are GN's."""
    cfg = config('scratch/keypoint_rcnn_r50_gn_2x_ms')
    warm_up, drops = cfg.param_scheduler
    assert (cfg.optim_wrapper.optimizer.lr, drops.gamma) == (0.02, 0.1)
    assert [180_000 - drop for drop in drops.milestones] == [60_000, 20_000]
    assert learning_rate(cfg, 250) == pytest.approx(0.02 * ramp(250, 500, 1 / 3))
    assert warm_up.end == 501
    resize = cfg.train_dataloader.dataset.pipeline[2]
    assert [tuple(scale) for scale in resize.scales] == [
        (1333, side) for side in (640, 672, 704, 736, 768, 800)
    ]
