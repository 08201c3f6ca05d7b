import pytest
import torch
import torch.nn.functional as F

from mmscratch.errors import InputError
from mmscratch.models import SimpleFeaturePyramid


def layer_norm(x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)


def test_maps_are_those_of_vitdet():
    """ViTDet, section 3: strides 1/4, 1/2, 1 and 2 of the map's, each made from it alone."""
    torch.manual_seed(0)
    neck = SimpleFeaturePyramid(8, 6)
    weights = dict(neck.named_parameters())
    x = torch.randn(2, 8, 4, 5)

    def up(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv_transpose2d(x, weights[f'{name}.weight'], weights[f'{name}.bias'], stride=2)

    scaled = [
        up(F.gelu(layer_norm(up(x, 'scales.0.0'))), 'scales.0.3'),
        up(x, 'scales.1'),
        x,
        F.max_pool2d(x, 2),
    ]
    expected = []
    for level, map_ in enumerate(scaled):
        map_ = layer_norm(F.conv2d(map_, weights[f'levels.{level}.0.conv.weight']))
        map_ = F.conv2d(map_, weights[f'levels.{level}.1.conv.weight'], padding=1)
        expected.append(layer_norm(map_))
    expected.append(expected[-1][..., ::2, ::2])
    for ours, theirs in zip(neck((x,)), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    # convolutions before a norm layer have no bias
    assert not [name for name in weights if 'levels' in name and name.endswith('conv.bias')]


def test_other_norm_layers_and_numbers_of_maps():
    neck = SimpleFeaturePyramid([16], 8, num_outs=4, norm_cfg=dict(type='GN', num_groups=4))
    maps = neck((torch.rand(1, 16, 3, 3),))
    assert [tuple(m.shape) for m in maps] == [(1, 8, side, side) for side in (12, 6, 3, 1)]
    sum(m.square().mean() for m in maps).backward()
    assert not [name for name, value in neck.named_parameters() if value.grad is None]


@pytest.mark.parametrize(
    'options', [dict(in_channels=[8, 16]), dict(in_channels=6), dict(in_channels=8, num_outs=3)]
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(InputError, match=r'model\.neck: in_channels=.* takes one map'):
        SimpleFeaturePyramid(**options, out_channels=4)
