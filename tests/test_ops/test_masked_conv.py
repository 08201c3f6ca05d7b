import torch
from mmcv.ops import MaskedConv2d
from torch.nn.functional import conv2d


def test_equals_a_convolution_where_the_mask_is_and_0_elsewhere(device):
    generator = torch.Generator().manual_seed(0)
    layer = MaskedConv2d(3, 4, (3, 5), padding=(1, 2)).to(device).double()
    x = torch.randn(1, 3, 6, 7, generator=generator).to(device).double()
    mask = torch.rand(1, 6, 7, generator=generator).to(device) > 0.6
    expected = conv2d(x, layer.weight, layer.bias, padding=(1, 2)) * mask
    torch.testing.assert_close(layer(x, mask), expected)
    assert layer(x, torch.zeros_like(mask)).count_nonzero() == 0
