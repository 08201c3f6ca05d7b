"""ResNeXt-152-8x32d: which of the two readings of the paper's name its configs take."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def multiply_adds(backbone: dict) -> int:
    """Multiply-adds of the convolutions for one image of 224 x 224, from shapes alone."""
    total = 0

    def count(conv: nn.Conv2d, args: tuple, output: torch.Tensor) -> None:
        nonlocal total
        inputs = conv.in_channels // conv.groups * math.prod(conv.kernel_size)
        total += inputs * math.prod(output.shape)

    with torch.device('meta'):
        model = MODELS.build(backbone)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(count)
        model(torch.empty(1, 3, 224, 224))
    return total


def test_x152_costs_four_times_an_r101_as_the_paper_says():
    """Table 3's "about 4x the FLOPs of R101": 8 groups of 32 channels, not 32 groups of 8."""
    x152, r101 = (
        Config.fromfile(CONFIGS / f'scratch/mask_rcnn_{name}_gn_9x_ms.py').model.backbone
        for name in ('x152', 'r101')
    )
    assert (x152.type, x152.depth, x152.style) == ('ResNeXt', 152, 'pytorch')
    assert multiply_adds(r101) / 1e9 == pytest.approx(7.80, abs=0.01)
    assert multiply_adds(x152) / 1e9 == pytest.approx(33.05, abs=0.01)
    assert multiply_adds(x152) / multiply_adds(r101) == pytest.approx(4.24, abs=0.01)
    other = dict(x152, groups=32, base_width=8)
    assert multiply_adds(other) / multiply_adds(r101) == pytest.approx(3.13, abs=0.01)
