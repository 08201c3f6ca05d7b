"""Multiply-adds, against numbers worked out by hand and against published ones."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import ResNet, ResNeXt
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from mmscratch.benchmark.complexity import detector_multiply_adds, multiply_adds
from mmscratch.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# ResNet-50 at 224 x 224 by stage: side of the map, channels in, mid, out, number of blocks
# (He et al., CVPR 2016, table 1); the first block of stages 3 to 5 halves the map in its 3x3.
STAGES = [(56, 64, 64, 256), (28, 256, 128, 512), (14, 512, 256, 1024), (7, 1024, 512, 2048)]


def resnet_multiply_adds(blocks: list[int]) -> int:
    """Of the convolutions of a bottleneck ResNet at 224, added up from the table."""
    total = 112**2 * 7 * 7 * 3 * 64
    for index, ((side, before, mid, after), number) in enumerate(zip(STAGES, blocks)):
        entry = side if index == 0 else 2 * side
        total += entry**2 * before * mid  # 1x1, before the stride
        total += side**2 * (9 * mid * mid + mid * after)
        total += side**2 * before * after  # the shortcut's 1x1
        total += (number - 1) * side**2 * (after * mid + 9 * mid * mid + mid * after)
    return total


@pytest.mark.parametrize(
    ('layer', 'shape', 'expected'),
    [
        # 5 x 7 outputs of 4 channels, each a sum over 3 channels of 3 x 3
        (nn.Conv2d(3, 4, 3, padding=1), (1, 3, 5, 7), 5 * 7 * 4 * 27),
        # stride 2: 3 x 4 outputs; each of 2 groups sees half of 6 channels
        (nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2), (1, 6, 5, 7), 3 * 4 * 8 * 27),
        # each of 5 x 7 x 3 inputs meets the 2 x 2 weights of 4 channels
        (nn.ConvTranspose2d(3, 4, 2, stride=2), (1, 3, 5, 7), 5 * 7 * 3 * 16),
        (nn.Linear(10, 6), (4, 10), 240),
        (nn.Conv1d(2, 3, 5), (2, 2, 9), 2 * 5 * 3 * 10),
        (nn.Sequential(nn.GroupNorm(1, 4), nn.ReLU(), nn.MaxPool2d(2)), (1, 4, 8, 8), 0),
    ],
)
def test_layers_by_hand(layer, shape, expected):
    assert multiply_adds(layer.to('meta'), torch.empty(shape, device='meta')) == expected


def test_a_layer_that_is_used_twice_counts_twice():
    conv = nn.Conv2d(4, 4, 1, device='meta')
    assert multiply_adds(nn.Sequential(conv, nn.ReLU(), conv), meta(1, 4, 3, 3)) == 2 * 9 * 16


def test_counting_leaves_the_module_as_it_was():
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.SyncBatchNorm(1), nn.Dropout().eval()).to('meta')
    assert multiply_adds(module, meta(2, 1, 3, 3)) == 18
    assert [layer.training for layer in module] == [True, True, False]
    assert not module[0]._forward_hooks
    with pytest.raises(RuntimeError):
        multiply_adds(module, meta(2, 5, 3, 3))
    assert module.training
    assert not module[0]._forward_hooks


@pytest.mark.parametrize('norm', [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_norm_layers_take_one_value_a_channel(norm):
    module = nn.Sequential(nn.Conv2d(1, 4, 3), norm(4)).to('meta')
    assert multiply_adds(module, meta(1, 1, 3, 3)) == 4 * 9


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device='meta')


def of_backbone(build, **kwargs) -> int:
    with torch.device('meta'):
        return multiply_adds(build(**kwargs), meta(1, 3, 224, 224))


def test_resnets_at_224():
    r50 = of_backbone(ResNet, depth=50)
    assert r50 == resnet_multiply_adds([3, 4, 6, 3])
    assert r50 == pytest.approx(4.09e9, rel=0.002)  # torchvision's table, without the classifier
    assert of_backbone(ResNet, depth=101) == resnet_multiply_adds([3, 4, 23, 3])


def test_the_papers_x152_has_four_times_the_multiply_adds_of_r101():
    r101 = of_backbone(ResNet, depth=101)
    x152 = of_backbone(ResNeXt, depth=152, groups=8, base_width=32)
    assert r101 == pytest.approx(7.80e9, abs=5e6)
    assert x152 == pytest.approx(33.05e9, abs=5e6)
    assert x152 / r101 == pytest.approx(4.24, abs=0.005)


@pytest.fixture
def build():
    def function(path: str, **changes) -> nn.Module:
        cfg = Config.fromfile(CONFIGS / f'{path}.py')
        cfg.merge_from_dict(changes)
        with torch.device('meta'):
            return MODELS.build(cfg.model)

    return function


def test_mask_rcnn_by_hand(build):
    counts = detector_multiply_adds(build('scratch/mask_rcnn_r50_gn_2x'))
    # 800 x 1333 is padded to 800 x 1344; P2 to P6 at strides 4 to 64, by the model's own rounding
    sides = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
    cells = [height * width for height, width in sides]
    assert counts['neck'] == sum(
        n * (c * 256 + 9 * 256 * 256) for n, c in zip(cells, (256, 512, 1024, 2048))
    )
    assert counts['rpn_head'] == sum(cells) * (9 * 256 * 256 + 256 * (3 + 12))
    convs = 4 * 49 * 9 * 256 * 256
    assert counts['bbox_head'] == 1000 * (convs + 49 * 256 * 1024 + 1024 * (81 + 320))
    # 14 x 14 through 4 convs, then to 28 x 28 by a 2 x 2 deconvolution, then 80 masks
    mask = 196 * (4 * 9 * 256 * 256 + 4 * 256 * 256) + 784 * 256 * 80
    assert counts['mask_head'] == 100 * mask
    assert list(counts) == ['backbone', 'neck', 'rpn_head', 'bbox_head', 'mask_head']


def test_cascade_counts_three_box_heads_and_one_mask_head(build):
    plain = detector_multiply_adds(build('scratch/mask_rcnn_r50_gn_2x'))
    cascade = detector_multiply_adds(build('scratch/cascade_mask_rcnn_r50_gn_9x_ms'))
    # the later stages regress one box for all classes: 4 outputs in place of 320
    later = plain['bbox_head'] - 1000 * 1024 * (320 - 4)
    assert cascade == plain | {'bbox_head': plain['bbox_head'] + 2 * later}


def test_mmdetections_cascade_has_three_mask_heads():
    cfg = Config.fromfile(CONFIGS / 'scratch/mask_rcnn_r50_gn_2x.py')
    base = "_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'"
    cascade = Config.fromstring(base, '.py').model
    with torch.device('meta'):
        three, one = MODELS.build(cascade), MODELS.build(cfg.model)
    mask_head = detector_multiply_adds(one, 224, 320)['mask_head']
    assert detector_multiply_adds(three, 224, 320)['mask_head'] == 3 * mask_head


def test_keypoint_head(build):
    counts = detector_multiply_adds(build('scratch/keypoint_rcnn_r50_gn_2x_ms'))
    assert 'mask_head' not in counts
    # 14 x 14 through 8 convs of 512 channels and a 4 x 4 deconvolution to 17 maps
    convs = 196 * 9 * (256 * 512 + 7 * 512 * 512)
    assert counts['keypoint_head'] == 100 * (convs + 196 * 512 * 17 * 16)


def test_vgg_without_neck(build):
    counts = detector_multiply_adds(build('scratch/faster_rcnn_vgg16_nonorm_11x_ms'))
    assert list(counts) == ['backbone', 'rpn_head', 'bbox_head']
    fc = 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * (81 + 320)
    assert counts['bbox_head'] == 1000 * fc
    # 15 anchors a cell at stride 16
    assert counts['rpn_head'] == 50 * 84 * (9 * 512 * 512 + 512 * (15 + 60))
    # VGG-16's 13 convs: output side at 224, pairs of channels (Simonyan and Zisserman, table 1)
    pairs = {1: [(3, 64), (64, 64)], 2: [(64, 128), (128, 128)]}
    pairs |= {4: [(128, 256), (256, 256), (256, 256)], 8: [(256, 512), (512, 512), (512, 512)]}
    pairs |= {16: [(512, 512)] * 3}
    expected = 0
    for stride, convs in pairs.items():
        expected += (800 // stride) * (1344 // stride) * 9 * sum(map(math.prod, convs))
    assert counts['backbone'] == expected


def test_image_is_padded_as_the_model_pads_it(build):
    detector = build('scratch/mask_rcnn_r18_gn_600i_shapes')
    exact = detector_multiply_adds(detector, 256, 384)
    assert detector_multiply_adds(detector, 225, 353) == exact
    assert detector_multiply_adds(detector, 224, 384)['backbone'] < exact['backbone']


def test_shared_head_is_refused(build):
    detector = build('scratch/mask_rcnn_r18_gn_600i_shapes')
    detector.roi_head.shared_head = nn.Identity()
    with pytest.raises(InputError, match='shared_head'):
        detector_multiply_adds(detector)
