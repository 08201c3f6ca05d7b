"""The closed form of the learning rate, against mmengine's schedulers and by hand."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS
from mmengine.config import Config

from mmscratch.config.learning_rate import learning_rate
from mmscratch.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def schedule(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'_base_/schedules/{name}.py')


def stepped(cfg: Config, iterations: int) -> list[float]:
    """The rate at each iteration as training has it: iterate, then step every scheduler."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler), default_args=dict(optimizer=optimizer))
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


# 600i to its end; of the others the warm-up (500 iterations, 1000 in 200e) and what follows
@pytest.mark.parametrize(('name', 'iterations'), [('600i', 600), ('6x', 600), ('200e', 1100)])
def test_closed_form_is_mmengines_schedule(name, iterations):
    cfg = schedule(name)
    rates = [learning_rate(cfg, i) for i in range(iterations)]
    assert rates == pytest.approx(stepped(cfg, iterations), rel=1e-9)


@pytest.mark.parametrize(
    'schedulers',
    [
        # drops of 0.02; the one at the end never comes
        [dict(type='MultiStepLR', milestones=[3, 7, 12], gamma=0.02, end=12)],
        # milestones count from begin; two at one iteration multiply
        [dict(type='MultiStepLR', milestones=[2, 4, 4], gamma=0.5, begin=5, end=30)],
        [dict(type='LinearLR', start_factor=0.25, begin=0, end=9)],
        [
            dict(type='LinearLR', start_factor=0.067, begin=0, end=6),
            dict(type='MultiStepLR', milestones=[4, 10], gamma=0.1, end=15),
        ],
    ],
)
def test_closed_form_on_small_schedules(schedulers):
    schedulers = [dict(by_epoch=False, **scheduler) for scheduler in schedulers]
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=0.5)), param_scheduler=schedulers))
    rates = [learning_rate(cfg, i) for i in range(20)]
    assert rates == pytest.approx(stepped(cfg, 20), rel=1e-9)


def test_by_hand():
    cfg = schedule('6x')
    # a third, then by equal steps to all of it at iteration 500
    assert learning_rate(cfg, 0) == pytest.approx(0.02 / 3)
    assert learning_rate(cfg, 250) == pytest.approx(0.02 * 2 / 3)
    assert learning_rate(cfg, 499) == pytest.approx(0.02 * (1 - 2 / 3 / 500))
    assert learning_rate(cfg, 500) == learning_rate(cfg, 479_999) == 0.02
    assert learning_rate(cfg, 480_000) == learning_rate(cfg, 519_999) == pytest.approx(0.002)
    assert learning_rate(cfg, 520_000) == learning_rate(cfg, 539_999) == pytest.approx(0.0002)


@pytest.mark.parametrize(
    'scheduler',
    [
        dict(type='CosineAnnealingLR', by_epoch=False, T_max=5, end=5),
        dict(type='MultiStepLR', milestones=[8, 11], end=12),
    ],
)
def test_other_schedulers_are_refused(scheduler):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=1.0)), param_scheduler=[scheduler]))
    with pytest.raises(InputError, match=scheduler['type']):
        learning_rate(cfg, 0)
