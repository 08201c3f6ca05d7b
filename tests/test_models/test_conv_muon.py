"""ConvMuon: its matrices, AdamW's share, its state."""

import copy

import pytest
import torch
from mmengine.registry import OPTIMIZERS
from torch import nn

from mmscratch.models.conv_muon import ConvMuon, orthogonal


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.Conv2d(16, 4, 1), nn.Conv2d(16, 24, 3)
    )


def with_gradients(module: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return module


@pytest.mark.parametrize('shape', [(16, 200), (200, 16), (48, 48)])
def test_directions_are_kept_and_singular_values_become_equal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonal(matrix) @ v.T
    assert values.max() / values.min() > 1.5
    singular = found.diagonal()
    assert singular[values > values.max() / 100].min() > 0.5
    assert singular.max() < 1.3
    torch.testing.assert_close(found, torch.diag(singular), atol=2e-3, rtol=0)


def test_a_matrix_moves_by_rms_and_rate():
    module = with_gradients(model(), 1)
    before = module[3].weight.detach().clone()
    ConvMuon(module.parameters(), lr=0.01, rms=0.5, weight_decay=0).step()
    moved = module[3].weight.detach() - before
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.01 * 0.5, rel=0.2)
    # against the gradient
    assert (moved * module[3].weight.grad).sum() < 0


def test_all_other_parameters_are_adamws():
    ours, theirs = with_gradients(model(), 1), with_gradients(model(), 1)
    settings = dict(lr=0.01, weight_decay=0.1)
    optimizers = [
        OPTIMIZERS.build(dict(type='ConvMuon', params=ours.parameters(), **settings)),
        torch.optim.AdamW(theirs.parameters(), **settings),
    ]
    for seed in (1, 2):
        for module, optimizer in zip((ours, theirs), optimizers):
            with_gradients(module, seed)
            optimizer.step()
    different = [
        name
        for (name, own), other in zip(ours.named_parameters(), theirs.parameters())
        if not torch.equal(own, other)
    ]
    # 16 x 27 and 24 x 144; of the third the shorter side is 4
    assert different == ['0.weight', '3.weight']
    assert all(parameter.grad is not None for parameter in ours.parameters())


def test_its_state_goes_on():
    straight = model()
    optimizer = ConvMuon(with_gradients(straight, 1).parameters(), lr=0.01)
    optimizer.step()
    resumed = copy.deepcopy(straight)
    other = ConvMuon(resumed.parameters(), lr=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for module, each in ((straight, optimizer), (resumed, other)):
        with_gradients(module, 2)
        each.step()
    for own, expected in zip(resumed.parameters(), straight.parameters()):
        assert torch.equal(own, expected)
