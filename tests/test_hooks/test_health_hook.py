import random
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from mmscratch.hooks.health_hook import HealthHook


@pytest.fixture
def told():
    """Return a function that lets the hook see the norms of a run, and returns its warnings."""

    def see(norms):
        warnings = []
        hub = MessageHub('health')
        logger = SimpleNamespace(warning=warnings.append)
        hook = HealthHook(interval=10**6)
        for number, norm in enumerate(norms):
            hub.update_scalar('train/grad_norm', norm)
            runner = SimpleNamespace(iter=number, message_hub=hub, logger=logger)
            hook.before_train_iter(runner, number)
            hook.after_train_iter(runner, number)
        return warnings

    return see


def test_a_rise_is_told_once_before_the_end(told):
    norms = [2.0] * 60 + [2.0 * 1.4**step for step in range(60)]
    [warning] = told(norms)
    # the 6th of them is the first over 10
    assert warning.startswith(
        'iteration 70: the gradients explode: their norm is 10.8 or more, and was 2; if the loss'
    )
    assert 'clip_grad.max_norm=6' in warning
    assert len(told([*norms, *norms[60:][::-1], *norms])) == 2


def test_a_rise_is_told_after_a_step_that_was_left_out(told):
    assert told([*[2.0] * 60, float('nan'), *[2.0] * 5, *[2.0 * 1.4**step for step in range(60)]])


def test_healthy_norms_are_not(told):
    chance = random.Random(0)
    # heavy tails: each tenth is up to a hundred times as large; and a slow rise by a hundred
    norms = [chance.lognormvariate(0, 0.7) * chance.choice([1] * 9 + [100]) for _ in range(3000)]
    assert told(norms) == []
    assert told([1.0 + step / 30 for step in range(3000)]) == []
    # the first iterations are not judged
    assert told([0.1] * 15 + [5.0] * 9) == []


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)
        self.gn = nn.GroupNorm(2, 4)
        self.ln = nn.LayerNorm(3)
        self.pooled = nn.GroupNorm(2, 4)

    def forward(self, x):
        # `pooled` sees a single place
        return self.ln(self.gn(self.bn(x))) + self.pooled(x.mean((0, 2, 3), keepdim=True))


@pytest.mark.parametrize(
    ('spoil', 'dead'),
    [
        (lambda net: None, None),
        (lambda net: nn.init.zeros_(net.gn.weight), 'gn'),
        # one channel is not the layer
        (lambda net: nn.init.zeros_(net.bn.weight[:3]), None),
        (lambda net: net.gn.register_forward_pre_hook(lambda *a: torch.ones(2, 4, 3, 3)), 'gn'),
        (lambda net: nn.init.zeros_(net.ln.weight), None),
    ],
)
def test_dead_norm_layers_are_told_once(spoil, dead):
    net, warnings = Net(), []
    with torch.no_grad():
        spoil(net)
    hook = HealthHook(interval=2)
    runner = SimpleNamespace(
        model=net, message_hub=MessageHub('health'), logger=SimpleNamespace(warning=warnings.append)
    )
    for runner.iter in range(6):
        hook.before_train_iter(runner, runner.iter)
        assert bool(net.gn._forward_hooks) == (runner.iter % 2 == 1)
        net(torch.randn(2, 4, 3, 3))
        hook.after_train_iter(runner, runner.iter)
    assert not net.gn._forward_hooks
    expected = (
        f'iteration 2: 1 norm layers give a constant whatever the image, the first is {dead}:'
    )
    assert len(warnings) == bool(dead)
    assert all(warning.startswith(expected) for warning in warnings)
