import pytest
import torch
from mmcv.ops import sigmoid_focal_loss


def reference(logits, target, gamma, alpha):
    """The paper's equation 5, one number at a time."""
    loss = torch.zeros_like(logits)
    for i, row in enumerate(logits):
        for c, logit in enumerate(row):
            p = torch.sigmoid(logit)
            own = int(target[i]) == c
            p, factor = (p, alpha) if own else (1 - p, 1 - alpha)
            loss[i, c] = -factor * (1 - p) ** gamma * p.log()
    return loss


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.5, 0.9)])
def test_equals_the_papers_equation_and_its_gradient(dtype, gamma, alpha, device):
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(6, 4, generator=generator)).to(dtype)
    target = torch.tensor([0, 1, 2, 3, 4, 4])  # 4: background
    exact = logits.double().requires_grad_()
    expected = reference(exact, target, gamma, alpha)
    [gradient] = torch.autograd.grad(expected.sum(), exact)

    own = logits.detach().to(device).requires_grad_()
    loss = sigmoid_focal_loss(own, target.to(device), gamma, alpha, None, 'none')
    loss.sum().backward()

    tolerance = (
        dict(rtol=2e-2, atol=1e-2) if dtype == torch.bfloat16 else dict(rtol=1e-4, atol=1e-6)
    )
    assert loss.dtype == dtype
    torch.testing.assert_close(loss.detach().cpu().double(), expected.detach(), **tolerance)
    torch.testing.assert_close(own.grad.cpu().double(), gradient, **tolerance)


def test_weights_of_classes_are_refused():
    with pytest.raises(NotImplementedError, match='weights of classes'):
        sigmoid_focal_loss(torch.zeros(1, 2), torch.zeros(1).long(), 2.0, 0.25, torch.ones(2))
