import copy

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR

from mmscratch.loops.resumed_schedule import follow_config, optimizer_faults

END = 30


def make(drops, end=END, lr=0.02, begin=0, warm_up=4):
    """Return an optimizer, its warm-up, and its drops."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    drops = [drop - begin for drop in drops]
    return optimizer, [
        LinearLR(optimizer, start_factor=0.5, by_epoch=False, end=warm_up),
        MultiStepLR(optimizer, milestones=drops, by_epoch=False, begin=begin, end=end),
    ]


def train(optimizer, schedulers, iterations):
    """Return the learning rate of each iteration."""
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def resume(first, second, at):
    """Train ``at`` iterations of one schedule and go on with another: faults, learning rates."""
    rates = train(*first, at)
    states = copy.deepcopy([scheduler.state_dict() for scheduler in first[1]])
    optimizer, schedulers = second
    faults = follow_config(schedulers, states)
    # what mmengine does then
    optimizer.load_state_dict(copy.deepcopy(first[0].state_dict()))
    for scheduler, state in zip(schedulers, states):
        scheduler.load_state_dict(state)
    return faults, rates + train(optimizer, schedulers, END - at)


@pytest.mark.parametrize('at', [2, 4, 10, 14])
@pytest.mark.parametrize(
    ('drops', 'end'),
    [([15, 18], 20), ([], 25), ([15, 28], END), ([15], 15)],
    ids=['shorter', 'constant', 'other second drop', 'first drop at its end'],
)
def test_a_schedule_goes_on_as_another(drops, end, at):
    planned = [20, 25]
    faults, rates = resume(make(drops, end), make(planned), at)
    assert faults == []
    assert rates == train(*make(planned), END)


@pytest.mark.parametrize('at', [14, 15, 19])
def test_a_trunk_that_has_come_to_its_end_goes_on(at):
    """Behind its end a scheduler counts no steps, and those that it is given have to be right."""
    faults, rates = resume(make([], end=at), make([20, 25]), at)
    assert faults == []
    assert rates == train(*make([20, 25]), END)


@pytest.mark.parametrize('at', [4, 9])
def test_a_shorter_schedule_branches_off_from_a_longer_one(at):
    faults, rates = resume(make([20, 25]), make([10, 15], 20), at)
    assert faults == []
    assert rates == train(*make([10, 15], 20), END)


def test_a_drop_behind_both_is_no_obstacle():
    faults, rates = resume(make([10, 15], 20), make([10, 25]), 12)
    assert faults == []
    assert rates == train(*make([10, 25]), END)


def test_drops_are_counted_from_the_begin():
    faults, rates = resume(make([10], 20, begin=4), make([20], begin=4), 9)
    assert faults == []
    assert rates == train(*make([20], begin=4), END)


@pytest.mark.parametrize(
    ('first', 'second', 'at', 'told'),
    [
        (make([10, 15], 20), make([20, 25]), 12, 'milestones [10, 15] and here [20, 25]'),
        (make([10, 15], 20), make([20, 25]), 10, 'end 20 and here 30'),
        (make([20, 25]), make([10, 25]), 12, 'milestones [20, 25] and here [10, 25]'),
        (
            make([20, 25]),
            make([12, 25]),
            12,
            'MultiStepLR differs from this config up to iteration 12',
        ),
        (make([20, 25]), make([9], end=10), 12, 'milestones [20, 25] and here [9]'),
        (make([20, 25]), make([20, 25], lr=0.01), 12, 'rate [0.02] and here [0.01]'),
        (
            make([20, 25]),
            make([20, 25], warm_up=6),
            12,
            'LinearLR differs from this config up to iteration 12',
        ),
    ],
)
def test_another_past_is_told_and_the_checkpoints_schedule_kept(first, second, at, told):
    expected = train(*copy.deepcopy(first), END)
    faults, rates = resume(first, second, at)
    assert any(told in fault for fault in faults), faults
    assert all('\n' not in fault for fault in faults)
    assert rates == expected


def test_what_has_not_begun_may_be_anything():
    first, second = make([20], begin=15), make([22, 25], begin=16)
    faults, rates = resume(first, second, 10)
    assert faults == []
    assert rates == train(*make([22, 25], begin=16), END)


def test_a_cosine_cannot_be_made_longer():
    schedulers = []
    for length in (20, 30):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
        schedulers.append(CosineAnnealingLR(optimizer, T_max=length, by_epoch=False))
    train(optimizer, schedulers[:1], 5)
    (fault,) = follow_config(schedulers[1:], [schedulers[0].state_dict()])
    assert 'T_max 20 and here 30' in fault


def test_other_kinds_are_left_alone():
    _, schedulers = make([20])
    assert follow_config(None, []) == []
    assert follow_config(dict(a=schedulers), dict(a=[])) == []
    assert 'began with 0 schedulers, this config has 2' in follow_config(schedulers, [])[0]


def test_options_of_the_optimizer_that_a_resumption_would_not_follow():
    def groups(**options):
        weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        decays = ({}, dict(weight_decay=0.0))
        pairs = [dict(params=[weight], **d) for weight, d in zip(weights, decays)]
        return torch.optim.AdamW(pairs, lr=options.pop('lr', 0.1), **options).param_groups

    assert optimizer_faults(groups(lr=0.2), groups()) == []
    assert optimizer_faults(groups(weight_decay=0.05, betas=[0.9, 0.99]), groups()) == [
        'the optimizer began with betas [0.9, 0.999] and here [0.9, 0.99]',
        'the optimizer began with weight_decay 0.01 and here 0.05',
    ]
    # a scheduler changes it
    now, before = ([dict(momentum=m, initial_momentum=0.9)] for m in (0.9, 0.85))
    assert optimizer_faults(now, before) == []
