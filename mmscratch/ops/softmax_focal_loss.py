"""Softmax focal loss, called as ``mmcv._ext.softmax_focal_loss_*`` are.

mmcv computes the softmax, and divides by the number of samples. Letters in shapes: N samples, C
classes.
"""

import torch
from torch import Tensor


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each sample into ``output``, in place.

    Args:
        input: [N, C] probabilities, which sum to 1.
        target: [N] int64 classes; a sample with a negative one has loss 0.
        weight: [C] factors of the classes, or empty.
        output: [N], overwritten.
        gamma: exponent that lowers the loss of what is known well.
        alpha: factor of all losses.
    """
    p, missing, factor = _own(input, target, weight, alpha)
    output.copy_(-factor * missing**gamma * p.log())


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivatives of each loss by its logits into ``grad_input`` [N, C], in place.

    ``buff`` is unused; the rest is as in the forward pass.
    """
    p, missing, factor = _own(input, target, weight, alpha)
    slope = factor * (gamma * missing ** (gamma - 1) * p * p.log() - missing**gamma)
    own = target[:, None] == torch.arange(input.shape[1], device=input.device)
    grad_input.copy_(slope[:, None] * (own.to(input) - input))


def _own(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each sample: its class's probability, 1 minus it, and the factor of its loss."""
    index = target.clamp(min=0)
    p = input.gather(1, index[:, None])[:, 0]
    tiny = torch.finfo(p.dtype).tiny
    factor = alpha * (target >= 0).to(p)
    if weight.numel():
        factor = factor * weight.to(p)[index]
    return p.clamp(min=tiny), (1 - p).clamp(min=tiny), factor
