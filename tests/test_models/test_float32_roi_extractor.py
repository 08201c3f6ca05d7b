"""Maps in half precision, as under autocast, against the parent on the same maps in float32."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from mmscratch.models import Float32RoIExtractor

STRIDES = [4, 8, 16, 32]
LAYER = dict(type='RoIAlign', output_size=2, sampling_ratio=2)
HALF = [torch.float16, torch.bfloat16]


def build(kind: type[SingleRoIExtractor], strides: list[int] = STRIDES) -> SingleRoIExtractor:
    return kind(LAYER, out_channels=1, featmap_strides=strides)


def maps_of_levels(dtype: torch.dtype, strides: list[int] = STRIDES) -> list[Tensor]:
    """Of two images of 1344 x 1344 pixels; the values of level i are i in all places."""
    sides = [1344 // stride for stride in strides]
    return [torch.full((2, 1, side, side), i, dtype=dtype) for i, side in enumerate(sides)]


def random_maps(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [level.shape for level in maps_of_levels(dtype)]
    return [torch.rand(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize('dtype', [torch.float32, *HALF], ids=str)
@pytest.mark.parametrize(
    ('side', 'level'),
    [(100, 0), (111, 0), (113, 1), (223, 1), (225, 2), (257, 2), (447, 2), (449, 3), (1000, 3)],
)
def test_a_box_is_pooled_from_the_level_of_its_size(side, level, dtype):
    rois = torch.tensor([[0, 3.0, 5.0, 3.0 + side, 5.0 + side]])
    pooled = build(Float32RoIExtractor)(maps_of_levels(dtype), rois)
    assert pooled.unique().tolist() == [level]


# boxes that differ from those of either half-precision format
ROIS = torch.tensor(
    [
        [0, 1001.3, 1101.3, 1301.3, 1307.7],
        [1, 130.7, 257.3, 390.4, 520.9],
        [1, 17.2, 33.6, 1290.1, 1311.9],
        [0, 700.4, 300.3, 750.8, 333.3],
    ]
)


@pytest.mark.parametrize('factor', [None, 1.2])
@pytest.mark.parametrize('dtype', HALF, ids=str)
def test_values_and_gradients_are_those_of_float32(dtype, factor):
    half = random_maps(dtype)
    full = [level.detach().float().requires_grad_() for level in half]
    pooled = build(Float32RoIExtractor)(half, ROIS, factor)
    expected = build(SingleRoIExtractor)(full, ROIS, factor)
    assert torch.equal(pooled, expected)
    pooled.square().sum().backward()
    expected.square().sum().backward()
    assert all(torch.equal(ours.grad, theirs.grad.to(dtype)) for ours, theirs in zip(half, full))


def test_one_level_keeps_the_fractions_of_coordinates():
    # a ramp of one per image pixel, in 1/16 of it: a box's mean is its middle
    ramp = (torch.arange(0, 1344, 16.0) / 16 + 0.5).expand(1, 1, 2, 84).half()
    box = torch.tensor([[0, 1001.3, 8.0, 1301.3, 24.0]])
    pooled = build(Float32RoIExtractor, [16])([ramp], box)
    assert pooled.mean().item() * 16 == pytest.approx(1151.3, abs=1e-3)


def test_float32_maps_are_not_copied(monkeypatch):
    seen = []
    monkeypatch.setattr(
        SingleRoIExtractor, 'forward', lambda self, feats, *args: seen.extend(feats)
    )
    maps = maps_of_levels(torch.float32)
    build(Float32RoIExtractor)(maps, ROIS)
    assert all(ours is given for ours, given in zip(seen, maps, strict=True))
