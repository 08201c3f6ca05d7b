"""Multi-scale deformable attention, called as ``mmcv._ext.ms_deform_attn_*`` are.

On a CPU mmcv computes it in plain torch, by ``multi_scale_deformable_attn_pytorch``; on a GPU it
calls these, which compute it in the same way. The backward pass computes the forward pass anew.

Letters in shapes: B images, S places of all levels, M heads, D channels a head, Q queries, L
levels, P points.
"""

import torch
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """The attended values [B, Q, M * D].

    Args:
        value: [B, S, M, D].
        value_spatial_shapes: [L, 2] heights and widths.
        value_level_start_index: unused.
        sampling_locations: [B, Q, M, L, P, 2], (x, y) in 0 .. 1 of the level.
        attention_weights: [B, Q, M, L, P].
        im2col_step: unused.
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(
        value, value_spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of ``grad_output`` [B, Q, M * D] into those of the inputs, in place."""
    inputs = [x.detach().requires_grad_() for x in (value, sampling_locations, attention_weights)]
    values, locations, weights = inputs
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            values, value_spatial_shapes, value_level_start_index, locations, weights, im2col_step
        )
    gradients = torch.autograd.grad(output, inputs, grad_output)
    for target, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients):
        target.copy_(gradient)
