"""Sigmoid focal loss, called as ``mmcv._ext.sigmoid_focal_loss_*`` are.

MMDetection's ``FocalLoss`` calls them on a GPU alone, and computes the same in Python on a CPU.
Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.

Letters in shapes: N samples, C classes.
"""

import torch
import torchvision
from torch import Tensor

from mmscratch.ops.absent_op import refuse
from mmscratch.ops.precision import at_least_float32


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each sample and class into ``output``, in place.

    Args:
        input: [N, C] logits.
        target: [N] int64 classes; C is background.
        weight: empty; mmcv's weights of classes [C] are refused.
        output: [N, C], overwritten.
        gamma: exponent that lowers the loss of what is known well.
        alpha: factor of a sample's own class; that of the others is ``1 - alpha``.
    """
    if weight.numel():
        refuse('sigmoid_focal_loss with weights of classes')
    [logits] = at_least_float32(input)
    output.copy_(_loss(logits, target, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each loss by its logit into ``grad_input`` [N, C], in place.

    The rest is as in the forward pass.
    """
    with torch.enable_grad():
        [logits] = at_least_float32(input.detach())
        logits.requires_grad_()
        loss = _loss(logits, target, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(loss, logits)[0])


def _loss(logits: Tensor, target: Tensor, gamma: float, alpha: float) -> Tensor:
    own = target[:, None] == torch.arange(logits.shape[1], device=target.device)
    return torchvision.ops.sigmoid_focal_loss(logits, own.to(logits), alpha, gamma)
