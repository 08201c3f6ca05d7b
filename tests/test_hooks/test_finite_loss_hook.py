import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmscratch.errors import InputError
from mmscratch.hooks.finite_loss_hook import FiniteLossHook


def diverge_at(iteration):
    """Return a change of the toy detector: from this iteration on its loss is NaN."""

    def change(model):
        calls = iter(range(1, 100))

        def poison(module, args, output):
            return output * (math.nan if next(calls) >= iteration else 1)

        model.bbox_head.fc_cls.register_forward_hook(poison)

    return change


@pytest.fixture
def runner(tmp_path):
    """Return a function that makes the little of a runner that the hook asks."""
    parameter = torch.nn.Parameter(torch.zeros(1))

    def make(iteration=0, **wrapper):
        optim_wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.02))
        vars(optim_wrapper).update(wrapper)
        return SimpleNamespace(iter=iteration, work_dir=str(tmp_path), optim_wrapper=optim_wrapper)

    return make


def losses(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_a_diverged_run_ends_before_its_checkpoint(make_runner, tmp_path):
    runner = make_runner(FiniteLossHook(), change=diverge_at(2))
    with pytest.raises(
        InputError, match=r'^iteration 2: loss is nan, at learning rate 0\.1'
    ) as info:
        runner.train()
    assert 'go on from the last checkpoint (--resume) with clipped gradients' in str(info.value)
    assert '\n' not in str(info.value)
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('iter_1.pth')
    assert not (tmp_path / 'run/iter_2.pth').exists()


def test_without_a_checkpoint_it_begins_again(make_runner):
    runner = make_runner(FiniteLossHook(), change=diverge_at(1))
    with pytest.raises(InputError, match=r'^iteration 1: .* and begin again with a lower learning'):
        runner.train()


def test_the_broken_terms_and_the_images_are_named(runner):
    batch = dict(data_samples=[SimpleNamespace(img_path=f'train/{name}.jpg') for name in 'ab'])
    values = losses(loss=math.nan, loss_cls=0.5, loss_bbox=math.nan, loss_mask=math.inf)
    with pytest.raises(InputError) as info:
        FiniteLossHook().after_train_iter(runner(1233), 0, batch, values)
    assert str(info.value).startswith(
        'iteration 1,234: loss_bbox is nan, loss_mask is inf, at learning rate 0.02, on a.jpg, '
        'b.jpg; look'
    )


def test_the_step_before_is_named_where_no_loss_is_left(runner):
    hook = FiniteLossHook()
    for name in 'ab':
        batch = dict(data_samples=[SimpleNamespace(img_path=f'train/{name}.jpg')])
        hook.after_train_iter(
            runner(), 0, batch, losses(loss=5.0, loss_cls=2.0, loss_bbox=3.0, acc=9.0)
        )
    batch = dict(data_samples=[SimpleNamespace(img_path='train/c.jpg')])
    broken = losses(loss=math.nan, loss_cls=math.nan, loss_bbox=math.nan, acc=1.0)
    with pytest.raises(InputError, match=r'rate 0\.02, after a step on b\.jpg; look'):
        hook.after_train_iter(runner(), 0, batch, broken)


@pytest.mark.parametrize('batch', [None, [1], dict(inputs=[1]), dict(data_samples=[object()])])
def test_a_batch_without_names_is_no_obstacle(runner, batch):
    with pytest.raises(InputError, match=r'loss is nan, at learning rate 0\.02; look'):
        FiniteLossHook().after_train_iter(runner(), 0, batch, losses(loss=math.nan))


def test_finite_losses_pass(runner):
    hook = FiniteLossHook()
    hook.after_train_iter(runner(), 0, None, losses(loss=1e30, loss_cls=-1.0))
    hook.after_train_iter(runner(), 0, None, None)
    hook.after_train_iter(runner(), 0, None, losses(acc=math.nan))


def test_a_gradient_scaler_skips_some(runner):
    scaled = runner(loss_scaler=torch.amp.GradScaler('cpu'))
    hook = FiniteLossHook(max_skipped=3)
    for value in (math.nan, math.inf, 1.0, math.nan, math.nan):
        hook.after_train_iter(scaled, 0, None, losses(loss=value))
    with pytest.raises(InputError, match='loss is nan'):
        hook.after_train_iter(scaled, 0, None, losses(loss=math.nan))


def test_a_gradient_scaler_that_is_off_skips_none(runner):
    scaled = runner(loss_scaler=torch.amp.GradScaler('cpu', enabled=False))
    with pytest.raises(InputError, match='loss is nan'):
        FiniteLossHook().after_train_iter(scaled, 0, None, losses(loss=math.nan))
