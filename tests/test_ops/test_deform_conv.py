import pytest
import torch
from mmcv.ops import DeformConv2d, ModulatedDeformConv2dPack, deform_conv2d, modulated_deform_conv2d
from torch.nn.functional import conv2d, grid_sample, pad

# of the kernel, stride, padding, dilation, groups, groups of offsets
PLAIN = ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1)
UNEVEN = ((3, 2), (2, 1), (2, 1), (1, 2), 2, 3)


def reference(x, offset, weight, mask, bias, stride, padding, dilation, groups, offset_groups):
    """A grid_sample for each cell of the kernel, then a convolution with stride of the kernel."""
    batch, channels, height, width = x.shape
    kernel = weight.shape[2:]
    rows, columns = offset.shape[2:]
    offset = offset.view(batch, offset_groups, *kernel, 2, rows, columns)
    mask = mask.view(batch, offset_groups, *kernel, rows, columns)
    sampled = x.new_zeros(batch, channels, rows, kernel[0], columns, kernel[1])
    for group, its in enumerate(torch.arange(channels).chunk(offset_groups)):
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                dy, dx = offset[:, group, i, j].unbind(1)
                y = torch.arange(rows)[:, None] * stride[0] - padding[0] + i * dilation[0] + dy
                x_ = torch.arange(columns) * stride[1] - padding[1] + j * dilation[1] + dx
                grid = torch.stack([(2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
                values = grid_sample(x[:, its], grid, align_corners=False)
                sampled[:, its, :, i, :, j] = values * mask[:, group, i, j, None]
    sampled = sampled.view(batch, channels, rows * kernel[0], columns * kernel[1])
    return conv2d(sampled, weight, bias, kernel, groups=groups)


def draw(kernel, stride, padding, dilation, groups, offset_groups, dtype=torch.float64):
    """Input, offset, weight, mask and bias.

    Offsets reach beyond the borders; none is a whole number, where there are two derivatives.
    """
    generator = torch.Generator().manual_seed(0)
    size = (7, 9)
    out = [
        (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    ]
    cells = offset_groups * kernel[0] * kernel[1]
    shapes = [
        (4, 6, *size),
        (4, 2 * cells, *out),
        (4, 6 // groups, *kernel),
        (4, cells, *out),
        (4,),
    ]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn[1] = (3 * drawn[1]).floor() + 0.2 + 0.6 * torch.sigmoid(drawn[1])
    return [tensor.to(dtype) for tensor in drawn]


def compare(run, expected_run, tensors, device, tolerance):
    """Values and gradients of all tensors."""
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    expected = expected_run(*exact)
    own = [tensor.detach().to(device).requires_grad_() for tensor in tensors]
    output = run(*own)
    assert output.dtype == tensors[0].dtype
    torch.testing.assert_close(output.cpu().double(), expected, **tolerance)

    factors = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(output)
    wanted = torch.autograd.grad(expected, exact, factors.cpu().double())
    found = torch.autograd.grad(output, own, factors)
    for gradient, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient.cpu().double(), other, **tolerance)


@pytest.mark.parametrize('im2col_step', [1, 2, 32])
@pytest.mark.parametrize('sizes', [PLAIN, UNEVEN], ids=['plain', 'uneven'])
def test_version_1_equals_sampling_on_a_grid(sizes, im2col_step, device):
    numbers = sizes[1:]
    x, offset, weight, _, _ = draw(*sizes)
    ones = x.new_ones(len(x), offset.shape[1] // 2, *offset.shape[2:])
    compare(
        lambda *tensors: deform_conv2d(*tensors, *numbers, False, im2col_step),
        lambda *tensors: reference(*tensors, ones, None, *numbers),
        [x, offset, weight],
        device,
        dict(rtol=1e-9, atol=1e-9),
    )


@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize('sizes', [PLAIN, UNEVEN], ids=['plain', 'uneven'])
def test_modulated_equals_sampling_on_a_grid(sizes, with_bias, device):
    numbers = sizes[1:]
    x, offset, weight, mask, bias = draw(*sizes)
    tensors = [x, offset, mask, weight, bias]

    def run(x, offset, mask, weight, bias=None):
        return modulated_deform_conv2d(x, offset, mask, weight, bias, *numbers)

    def expected_run(x, offset, mask, weight, bias=None):
        return reference(x, offset, weight, mask, bias, *numbers)

    kept = tensors if with_bias else tensors[:-1]
    compare(run, expected_run, kept, device, dict(rtol=1e-9, atol=1e-9))


def test_offsets_larger_than_the_output_are_read_from_their_begin(device):
    """mmcv knows no strides, and MMDetection's DyHead calls it so."""
    x, offset, weight, mask, _ = draw(*PLAIN)
    large = [torch.cat([t, t.flip(1)], dim=2).roll(1) for t in (offset, mask)]

    def expected_run(x, offset, mask, weight):
        offset, mask = (
            map.reshape(4, -1)[:, : channels * 63].view(4, channels, 7, 9)
            for map, channels in ((offset, 18), (mask, 9))
        )
        return reference(x, offset, weight, mask, None, *PLAIN[1:])

    compare(
        lambda x, o, m, w: modulated_deform_conv2d(x, o, m, w, None, *PLAIN[1:]),
        expected_run,
        [x, *large, weight],
        device,
        dict(rtol=1e-9, atol=1e-9),
    )


def test_bfloat16_is_computed_in_float32(device):
    x, offset, weight, mask, bias = draw(*PLAIN, dtype=torch.bfloat16)
    compare(
        lambda x, o, m, w, b: modulated_deform_conv2d(x, o, m, w, b, *PLAIN[1:]),
        lambda x, o, m, w, b: reference(x, o, w, m, b, *PLAIN[1:]),
        [x, offset, mask, weight, bias],
        device,
        dict(rtol=2e-2, atol=2e-2),
    )


def test_half_offsets_beside_float_weights(device):
    """So autocast calls it: offsets come out of a convolution in bfloat16."""
    x, offset, weight, *_ = draw(*PLAIN, dtype=torch.float32)
    x, offset, weight = (tensor.to(device).requires_grad_() for tensor in (x, offset, weight))
    output = deform_conv2d(x, offset.bfloat16(), weight, *PLAIN[1:])
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert [tensor.grad.dtype for tensor in (x, offset, weight)] == [torch.float32] * 3


def test_without_offsets_it_is_a_convolution(device):
    torch.manual_seed(0)
    layer = ModulatedDeformConv2dPack(4, 6, 3, stride=2, padding=1, groups=2).to(device).double()
    x = torch.randn(2, 4, 8, 5).to(device).double()
    # the layer's own offsets begin as 0, its mask as sigmoid(0)
    expected = conv2d(x, layer.weight / 2, layer.bias, 2, 1, groups=2)
    torch.testing.assert_close(layer(x), expected)


def test_input_smaller_than_the_kernel(device):
    """mmcv pads it at the far sides, and cuts the output."""
    torch.manual_seed(0)
    layer = DeformConv2d(2, 3, 3, padding=1).to(device)
    x = torch.randn(1, 2, 2, 4, device=device)
    offset = torch.randn(1, 18, 2, 4, device=device)
    ones = torch.ones(1, 9, 3, 4, dtype=torch.float64)
    padded = [pad(tensor.cpu().double(), (0, 0, 0, 1)) for tensor in (x, offset)]
    weight = layer.weight.detach().cpu().double()
    expected = reference(*padded, weight, ones, None, *PLAIN[1:])[:, :, :2]
    torch.testing.assert_close(
        layer(x, offset).detach().cpu().double(), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_a_sample_at_no_number_is_0(value, device):
    """torchvision's kernel crashes at NaN; a training that diverges has such offsets."""
    x, offset, weight, mask, _ = draw(*PLAIN)
    offset[:, :2, 3] = value  # of the first cell of the kernel, in one row
    tensors = [t.clone().to(device).requires_grad_() for t in (x, offset, mask, weight)]
    output = modulated_deform_conv2d(*tensors, None, *PLAIN[1:])
    gradients = torch.autograd.grad(output.sum(), tensors)

    mask[:, :1, 3] = 0
    offset[:, :2, 3] = 0.5
    expected = reference(x, offset, weight, mask, None, *PLAIN[1:])
    torch.testing.assert_close(output.detach().cpu(), expected)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[1][:, :2, 3].any()
