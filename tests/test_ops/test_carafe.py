import pytest
import torch
from mmcv.ops.carafe import carafe


def reference(features, masks, kernel_size, groups, scale):
    """One number of the output at a time."""
    batch, channels, height, width = features.shape
    output = features.new_zeros(batch, channels, scale * height, scale * width)
    for b, c, y, x in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        for cell in range(kernel_size**2):
            row = y // scale + cell // kernel_size - kernel_size // 2
            column = x // scale + cell % kernel_size - kernel_size // 2
            if 0 <= row < height and 0 <= column < width:
                kernel = masks[b, c // (channels // groups) * kernel_size**2 + cell, y, x]
                output[b, c, y, x] += kernel * features[b, c, row, column]
    return output


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(('kernel_size', 'groups', 'scale'), [(3, 2, 2), (5, 1, 1), (1, 4, 3)])
def test_values_and_gradients(kernel_size, groups, scale, dtype, device):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 4, 2, 3), (2, groups * kernel_size**2, 2 * scale, 3 * scale)]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    expected = reference(*exact, kernel_size, groups, scale)
    factors = torch.randn(expected.shape, generator=generator).to(dtype)
    wanted = torch.autograd.grad(expected, exact, factors.double())

    own = [tensor.to(device).requires_grad_() for tensor in tensors]
    output = carafe(*own, kernel_size, groups, scale)
    found = torch.autograd.grad(output, own, factors.to(device))
    rounding = 1e-9 if dtype == torch.float64 else 2e-2
    for value, other in zip([output, *found], [expected, *wanted], strict=True):
        assert value.dtype == dtype
        torch.testing.assert_close(value.cpu().double(), other, rtol=rounding, atol=rounding)
