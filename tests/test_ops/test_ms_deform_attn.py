import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)


def test_is_that_of_mmcv_on_a_cpu(device):
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[4, 6], [2, 3]])
    inputs = [
        torch.rand(*size, generator=generator, dtype=torch.float64).requires_grad_()
        for size in [(2, 30, 2, 3), (2, 5, 2, 2, 4, 2), (2, 5, 2, 2, 4)]
    ]
    expected = multi_scale_deformable_attn_pytorch(inputs[0], shapes, *inputs[1:])
    gradients = torch.autograd.grad(expected.square().sum(), inputs)

    own = [x.detach().to(device).requires_grad_() for x in inputs]
    starts = torch.tensor([0, 24], device=device)
    output = MultiScaleDeformableAttnFunction.apply(
        own[0], shapes.to(device), starts, own[1], own[2], 64
    )
    output.square().sum().backward()

    torch.testing.assert_close(output.cpu(), expected)
    for x, gradient in zip(own, gradients):
        torch.testing.assert_close(x.grad.cpu(), gradient)
