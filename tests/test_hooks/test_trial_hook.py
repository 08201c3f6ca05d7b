"""What a trial counts, and when it refuses a resumption."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner.utils import calc_dynamic_intervals

import mmscratch.weights.checkpoint  # noqa: F401  torch loads checkpoints with it
from mmscratch.errors import InputError
from mmscratch.hooks import trial_hook
from mmscratch.hooks.trial_hook import TrialHook, are_enough, counted


def test_the_first_steps_are_not_counted():
    steps = [(float(i), 0.0) for i in range(1, 9)]
    assert counted(steps, ahead=0) == steps[2:]
    # 1 + 2 + 3 + 4 s; the end of the sixth is past 20 s
    assert counted(steps, ahead=4) == steps[4:]
    assert counted(steps, ahead=8) == steps[5:]
    assert counted(steps[:2], ahead=0) == steps[1:2]


@pytest.mark.parametrize(
    ('seconds', 'expected'),
    [
        ([1.0] * 19, False),
        ([1.0] * 20, True),
        ([3.0] * 9, False),
        ([3.0] * 10, True),
        ([60.0], False),
        ([30.0] * 2, True),
        ([0.01] * 99, False),
        ([0.01] * 100, True),
    ],
)
def test_a_trial_ends_after_enough_steps(seconds, expected):
    assert are_enough(seconds) == expected


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(interval=4), [4, 8, 10]),
        (dict(interval=4, save_last=False), [4, 8]),
        (dict(interval=4, save_begin=3), [3, 7, 10]),
        (dict(interval=-1), [10]),
        (dict(interval=1, by_epoch=True), [10]),
    ],
)
def test_checkpoints_are_counted_as_mmengine_saves_them(options, expected):
    hook = CheckpointHook(**dict(by_epoch=False) | options)
    assert [i for i in range(1, 11) if trial_hook._saves(hook, i, 10)] == expected


@pytest.mark.parametrize(
    ('begin', 'dynamic', 'expected'),
    [(1, None, [4, 8, 10]), (5, None, [8, 10]), (1, [(6, 2), (9, 1)], [4, 6, 8, 9, 10])],
)
def test_validations_are_counted_as_mmengine_validates(begin, dynamic, expected):
    milestones, intervals = calc_dynamic_intervals(4, dynamic)
    loop = SimpleNamespace(
        dynamic_milestones=milestones, dynamic_intervals=intervals, val_begin=begin, max_iters=10
    )
    assert [i for i in range(1, 11) if trial_hook._validates(loop, i)] == expected


class Changing(Hook):
    """Of a user's own: it changes what it finds in a checkpoint."""

    def after_load_checkpoint(self, runner, checkpoint):
        checkpoint['state_dict']['backbone.conv2.bias'] += 1e-6
        checkpoint['optimizer']['state'][0]['momentum_buffer'] *= 2


def test_a_resumption_is_compared_to_the_bit(make_runner):
    options = dict(
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=9, val_interval=9),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
    )
    first = TrialHook()
    runner = make_runner(**options)
    runner.register_hook(first, priority=TrialHook.PRIORITY)
    runner.train()
    assert (first.saves, first.kept, first.validations, first.iteration) == (9, 9, 1, 8)
    assert runner.iter == 9
    assert len(first.steps) == 8
    assert first.val_images == 2

    def resume(*hooks):
        resumed = make_runner(*hooks, resume=True, load_from=str(first.file), **options)
        again = TrialHook(saved=first)
        resumed.register_hook(again, priority=TrialHook.PRIORITY)
        resumed.train()
        return again

    assert resume().losses == first.losses
    with pytest.raises(InputError, match='from iteration 8 has other weights, optimizer than'):
        resume(Changing())


def test_a_tensor_of_any_type_is_compared_by_its_bytes():
    values = [torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16)]
    values += [torch.zeros(1, 2, dtype=torch.float16), torch.tensor([0.0, -0.0]).half()]
    assert len({trial_hook._plain(value) for value in values}) == 4
