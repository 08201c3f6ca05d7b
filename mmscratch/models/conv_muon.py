"""Muon: momentum whose matrices are made orthogonal."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor

# of the quintic Newton-Schulz iteration, in Jordan's post
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
# a side shorter than this has too few directions to balance; the image's three channels have 27
LEAST_SIDE = 16


@OPTIMIZERS.register_module()
class ConvMuon(torch.optim.AdamW):
    """Muon for weights of convolutions and linear layers, AdamW for all other parameters.

    Muon (K. Jordan, 2024, kellerjordan.github.io/posts/muon) replaces Nesterov's momentum of a
    weight by the nearest matrix with equal singular values, so that rare directions are learned as
    fast as frequent ones. A weight is a matrix of output channels x all others. Matrices with a
    side below 16 belong to AdamW. In contrast to ``torch.optim.Muon``, which takes
    matrices alone and computes in bfloat16, this class takes convolutions, computes in the
    gradient's format, and iterates on the smaller square matrix of inner products.

    Args:
        params: parameters or groups.
        lr: of AdamW.
        momentum: of Muon's running mean of gradients.
        rms: root mean square of the elements of Muon's updates, relative to ``lr``.
        betas: of AdamW.
        weight_decay: decoupled, as in AdamW, for both.

    Example:
        >>> optim_wrapper = dict(optimizer=dict(type='ConvMuon', lr=0.0016, weight_decay=0.1))
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.95,
        rms: float = 0.5,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)
        self.momentum = momentum
        self.rms = rms

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters; returns the loss of ``closure``, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = []
        for group in self.param_groups:
            for weight in group['params']:
                if weight.grad is not None and _is_matrix(weight):
                    self._update(weight, weight.grad, group['lr'], group['weight_decay'])
                    matrices.append((weight, weight.grad))
                    weight.grad = None  # AdamW leaves out parameters without one
        super().step()
        for weight, gradient in matrices:
            weight.grad = gradient
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, lr: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            # AdamW asks for a step when it loads a state
            state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(weight))
        mean = state['momentum'].lerp_(gradient, 1 - self.momentum)
        update = orthogonal(gradient.lerp(mean, self.momentum).flatten(1))
        # an orthogonal matrix's elements have a root mean square of longer side ** -0.5
        scale = self.rms * max(update.shape) ** 0.5
        weight.mul_(1 - lr * decay).add_(update.view_as(weight), alpha=-lr * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with equal singular values: they come out as 0.7 to 1.2.

    Newton-Schulz multiplies a matrix X five times by a polynomial P of X X^T, and X X^T by P twice.
    So only the square matrices of the shorter side are iterated.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    norm = wide.norm() + 1e-10
    gram = wide @ wide.T / norm**2
    product = polynomial = _quintic(gram)
    for _ in range(ITERATIONS - 1):
        gram = polynomial @ gram @ polynomial
        polynomial = _quintic(gram)
        product = polynomial @ product
    result = product @ wide / norm
    return result.T if wide is not matrix else result


def _quintic(gram: Tensor) -> Tensor:
    polynomial = B * gram + C * (gram @ gram)
    polynomial.diagonal().add_(A)
    return polynomial


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1 and min(len(weight), weight[0].numel()) >= LEAST_SIDE
