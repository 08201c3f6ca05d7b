import pytest
import torch
from mmcv.ops import SoftmaxFocalLoss, softmax_focal_loss


def reference(logits, target, gamma, alpha, weight):
    """The loss of each sample, one at a time."""
    losses = []
    for row, label in zip(logits, target.tolist()):
        p = torch.softmax(row, dim=0)[label]
        factor = 0 if label < 0 else alpha * (1 if weight is None else weight[label])
        losses.append(-factor * (1 - p) ** gamma * p.log())
    return torch.stack(losses)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.5, 0.9), (0.0, 1.0)])
def test_equals_the_definition_and_its_gradient(gamma, alpha, weighted, reduction, device):
    logits = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    target = torch.tensor([0, 1, 2, 3, 3, -1])  # -1: no loss
    weight = torch.tensor([0.5, 1, 2, 3]).double() if weighted else None
    exact = logits.clone().requires_grad_()
    expected = getattr(reference(exact, target, gamma, alpha, weight), reduction)()
    [gradient] = torch.autograd.grad(expected, exact)

    own = logits.to(device).requires_grad_()
    loss = SoftmaxFocalLoss(gamma, alpha, weight, reduction).to(device)(own, target.to(device))
    loss.backward()
    torch.testing.assert_close(loss.cpu(), expected)
    torch.testing.assert_close(own.grad.cpu(), gradient)


def test_loss_of_each_sample(device):
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    target = torch.tensor([2, 0, -1])
    losses = softmax_focal_loss(logits.to(device), target.to(device), 2.0, 0.25, None, 'none')
    torch.testing.assert_close(losses.cpu(), reference(logits, target, 2.0, 0.25, None))


def test_a_sample_known_for_sure_or_not_at_all_has_a_finite_gradient(device):
    logits = torch.tensor([[200.0, 0], [0, 200]], device=device, requires_grad=True)
    loss = softmax_focal_loss(logits, torch.zeros(2, device=device).long(), 0.5, 1.0)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
