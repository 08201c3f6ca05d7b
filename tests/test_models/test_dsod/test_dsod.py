"""DSOD (section 3 of its paper) against counts of an independent build; priors, a loss by hand."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from mmscratch.benchmark.complexity import detector_multiply_adds
from mmscratch.errors import InputError
from mmscratch.models.dsod import DSODHead, DSODNet

CONFIGS = Path(__file__).resolve().parents[3] / 'configs/dsod'
BATCH_NORM = nn.modules.batchnorm._BatchNorm
# trainable parameters, numbers in the authors' file (with BN's mean, variance and factor)
SIZES = {
    'full_bn_100k_voc07p12': (14_715_804, 14_795_828),
    'lite_bn_100k_voc07p12': (10_395_612, 10_436_854),
    'smallest_bn_100k_voc07p12': (5_833_372, 5_872_372),
    'full_bn_320k': (21_700_524, 21_784_148),
}
# millions of numbers in the file, and which of them the paper prints
ABLATION = {1: 4.11, 2: 4.19, 3: 5.44, 4: 6.08, 5: 6.32, 6: 17.98, 7: 5.75, 8: 12.52, 9: 18.18}
# 10^9 multiply-adds at 300 x 300
WORK = {'full': 15.080, 'lite': 11.001, 'smallest': 5.298}
MIN_SIZES = {'voc': (30, 60, 111, 162, 213, 264), 'coco': (21, 45, 99, 153, 207, 261)}


def build(name: str) -> nn.Module:
    model = Config.fromfile(CONFIGS / f'dsod300_{name}.py').model
    with torch.device('meta'):
        return MODELS.build(model)


def counts(model: nn.Module) -> tuple[int, int]:
    """Trainable parameters, and those with what Caffe stores of a BN layer besides."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    norms = [m for m in model.modules() if isinstance(m, BATCH_NORM)]
    return trainable, trainable + sum(2 * m.num_features + 1 for m in norms)


@pytest.mark.parametrize('name', SIZES)
def test_parameters(name):
    assert counts(build(name)) == SIZES[name]


@pytest.mark.parametrize('row', ABLATION)
def test_parameters_of_the_ablation(row):
    _, stored = counts(build(f'ablation{row}_bn_100k_voc07p12'))
    assert round(stored / 1e6, 2) == ABLATION[row]


@pytest.mark.parametrize('size', WORK)
def test_multiply_adds(size):
    parts = detector_multiply_adds(build(f'{size}_bn_100k_voc07p12'), 300, 300)
    assert round(sum(parts.values()) / 1e9, 3) == WORK[size]


@pytest.mark.parametrize(('size', 'first'), [('full', 800), ('lite', 576), ('smallest', 352)])
def test_maps(size, first):
    model = build(f'{size}_bn_100k_voc07p12').to('meta').eval()
    images = torch.empty(1, 3, 300, 300, device='meta')
    stem = model.backbone.stem(images)
    assert stem.shape == (1, 128, 75, 75)
    maps = model.extract_feat(images)
    sides, channels = (38, 19, 10, 5, 3, 2), (first, 512, 512, 256, 256, 256)
    assert [m.shape for m in maps] == [(1, c, s, s) for c, s in zip(channels, sides)]
    scores, boxes = model.bbox_head(maps)
    priors = (4, 6, 6, 6, 4, 4)
    assert [s.shape[1] for s in scores] == [21 * p for p in priors], '20 classes and background'
    assert [b.shape[1] for b in boxes] == [4 * p for p in priors]
    assert sum(p * s * s for p, s in zip(priors, sides)) == 8744


def prior_table(min_sizes: tuple[int, ...], last_step: int) -> list[list[float]]:
    """Corners of all priors by the formulas of SSD: for each cell, row by row."""
    table = []
    max_sizes = (*min_sizes[1:], 315)
    sides, steps = (38, 19, 10, 5, 3, 2), (8, 16, 32, 64, 100, last_step)
    aspects = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    for side, step, low, high, ratios in zip(sides, steps, min_sizes, max_sizes, aspects):
        shapes = [(low, low), (math.sqrt(low * high),) * 2]
        for ratio in ratios:
            wide, narrow = low * math.sqrt(ratio), low / math.sqrt(ratio)
            shapes += [(wide, narrow), (narrow, wide)]
        for row in range(side):
            for column in range(side):
                x, y = (column + 0.5) * step, (row + 0.5) * step
                table += [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for w, h in shapes]
    return table


@pytest.mark.parametrize('last_step', [300, 150])
@pytest.mark.parametrize('data', MIN_SIZES)
def test_priors(data, last_step):
    name = 'full_bn_320k' if data == 'coco' else 'full_bn_100k_voc07p12'
    generator = Config.fromfile(CONFIGS / f'dsod300_{name}.py').model.bbox_head.anchor_generator
    generator.strides[-1] = last_step
    from mmdet.registry import TASK_UTILS

    sides = [(s, s) for s in (38, 19, 10, 5, 3, 2)]
    priors = torch.cat(TASK_UTILS.build(generator).grid_priors(sides, device='cpu'))
    assert priors.shape == (8744, 4)
    expected = torch.tensor(prior_table(MIN_SIZES[data], last_step))
    torch.testing.assert_close(priors, expected, atol=1e-3, rtol=0)
    centres = (priors[-16:, :2] + priors[-16:, 2:]) / 2
    outside = (centres > 300).any(1).sum()
    assert outside == (12 if last_step == 300 else 0), "the authors' step leaves the image"


def one_map_head() -> DSODHead:
    """One cell with two square priors of 8 and sqrt(8 * 18) = 12 pixels, two classes."""
    return DSODHead(
        num_classes=2,
        in_channels=(1,),
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[16],
            ratios=[[]],
            min_sizes=[8],
            max_sizes=[18],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
        train_cfg=Config.fromfile(CONFIGS / 'dsod300_full_bn_320k.py').model.train_cfg,
    )


def test_loss_by_hand():
    """Four cells; one prior matches, and of the seven others the three hardest count."""
    head = one_map_head()
    # the object lies on the first cell's second prior, centre (8, 8), 12 x 12, and is 1 px right
    truth = InstanceData(bboxes=torch.tensor([[3.0, 2.0, 15.0, 14.0]]), labels=torch.tensor([1]))
    # logits of [first prior, second prior] x [class 0, class 1, background], 2 x 2 cells
    logits = torch.zeros(8, 3)
    logits[1] = torch.tensor([0.0, 2.0, 1.0])
    for prior, hardness in ((2, 3.0), (4, 2.0), (6, 1.0), (7, 0.5)):
        logits[prior, 0] = hardness
    deltas = torch.zeros(8, 4)
    deltas[1] = torch.tensor([0.5, 0.0, 3.0, 0.0])
    scores = logits.view(2, 2, 6).permute(2, 0, 1)[None]
    boxes = deltas.view(2, 2, 8).permute(2, 0, 1)[None]
    meta = dict(img_shape=(32, 32), pad_shape=(32, 32))
    losses = head.loss_by_feat([scores], [boxes], [truth], [meta])

    # the first prior overlaps by 64 / 144 < 0.5: negative
    positive = -2 + math.log(1 + math.exp(2) + math.e)
    negatives = [math.log(2 + math.exp(hardness)) for hardness in (3, 2, 1)]
    assert sum(losses['loss_cls']).item() == pytest.approx(positive + sum(negatives), abs=1e-5)
    # dx = (1 / 12) / 0.1 against 0.5: below 1, squared; dw = 0 against 3: 3 - 0.5
    target = (1 / 12) / 0.1
    expected = 0.5 * (target - 0.5) ** 2 + 2.5
    assert sum(losses['loss_bbox']).item() == pytest.approx(expected, abs=1e-5)


def test_every_map_is_normalized_to_the_learned_scale():
    head = one_map_head()
    head.init_weights()
    head.reg_convs[0].conv.weight.data.fill_(1.0)
    [norm] = head.l2_norms
    assert norm.weight.tolist() == [20.0]
    _, [boxes] = head((torch.full((1, 1, 1, 1), 0.25),))
    assert boxes.flatten().tolist() == pytest.approx([20.0] * 8)


def test_initialization_is_caffes():
    torch.manual_seed(0)
    net = DSODNet(first_channels=32, bottleneck=64, growth=32, layers=(1, 1, 1))
    net.init_weights()
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 3 + 3 * 3
    for conv in convs:
        bound = math.sqrt(3 / (conv.in_channels * conv.kernel_size[0] ** 2))
        assert 0.98 * bound < conv.weight.abs().max().item() <= bound
        assert conv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert conv.bias is None


def test_compression_narrows_transitions():
    """DS/32-12-16-0.5 of the ablation: 64 channels behind the first block, 96 behind the second."""
    net = DSODNet(stem='conv7', first_channels=32, bottleneck=12, growth=16, compression=0.5)
    widths = [transition.conv.out_channels for transition in net.transitions]
    assert widths == [64, 96, 112, 256]


@pytest.mark.parametrize(
    ('wrong', 'told'),
    [
        (dict(stem='7x7'), r"stem='7x7'"),
        (dict(layers=(6, 8)), 'layers=.6, 8.'),
        (dict(counted_from=64), 'counted_from=64'),
    ],
)
def test_wrong_arguments_are_told(wrong, told):
    with pytest.raises(InputError, match=told):
        DSODNet(**wrong)
