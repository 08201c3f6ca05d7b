import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

from mmscratch.errors import InputError
from mmscratch.hooks.finite_loss_hook import FiniteLossHook
from mmscratch.loops import bad_step
from mmscratch.weights import checkpoint


def diverge_at(iteration):
    """Return a change of the toy detector: from this iteration on its loss is NaN."""

    def change(model):
        calls = iter(range(1, 100))

        def poison(module, args, output):
            return output * (math.nan if next(calls) >= iteration else 1)

        model.bbox_head.fc_cls.register_forward_hook(poison)

    return change


def break_at(*iterations, what='output'):
    """Return a change of the toy detector: in these iterations the loss or its gradient is NaN."""

    def change(model):
        def poison(module, args, output):
            is_due = MessageHub.get_current_instance().get_info('iter') + 1 in iterations
            if is_due and what == 'gradient':
                output.register_hook(lambda gradient: gradient * math.nan)
            return output * (math.nan if is_due and what == 'output' else 1)

        model.bbox_head.fc_cls.register_forward_hook(poison)

    return change


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Return a function that makes the little of a runner that the hook asks."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    monkeypatch.setattr(bad_step, 'save', lambda *args: 'bad_step.pt')

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
    with pytest.raises(InputError, match=r'^iteration 1: .* and begin again with a lower learn'):
        runner.train()


def test_the_broken_terms_and_the_images_are_named(runner):
    batch = dict(data_samples=[SimpleNamespace(img_path=f'train/{name}.jpg') for name in 'ab'])
    values = losses(loss=math.nan, loss_cls=0.5, loss_bbox=math.nan, loss_mask=math.inf)
    with pytest.raises(InputError) as info:
        FiniteLossHook().after_train_iter(runner(1233), 0, batch, values)
    assert str(info.value).startswith(
        'iteration 1,234: loss_bbox is nan, loss_mask is inf, at learning rate 0.02, on a.jpg, '
        'b.jpg; tools/analysis/replay.py bad_step.pt takes the step again'
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
    with pytest.raises(InputError, match=r'rate 0\.02, after a step on b\.jpg; tools'):
        hook.after_train_iter(runner(), 0, batch, broken)


@pytest.mark.parametrize('batch', [None, [1], dict(inputs=[1]), dict(data_samples=[object()])])
def test_a_batch_without_names_is_no_obstacle(runner, batch):
    with pytest.raises(InputError, match=r'loss is nan, at learning rate 0\.02; tools'):
        FiniteLossHook().after_train_iter(runner(), 0, batch, losses(loss=math.nan))


def test_finite_losses_pass(runner):
    hook = FiniteLossHook()
    hook.after_train_iter(runner(), 0, None, losses(loss=1e30, loss_cls=-1.0))
    hook.after_train_iter(runner(), 0, None, None)
    hook.after_train_iter(runner(), 0, None, losses(acc=math.nan))


@pytest.mark.parametrize(
    ('what', 'fault'), [('loss', 'loss is nan'), ('gradient', 'gradient is not finite')]
)
def test_a_gradient_scaler_skips_some(runner, what, fault):
    """Also those whose loss is finite, and whose gradient is not."""
    scaler = torch.amp.GradScaler('cpu')
    run = runner(loss_scaler=scaler)
    run.model, run.message_hub = torch.nn.Linear(1, 1), SimpleNamespace(update_scalar=print)
    optimizer = run.optim_wrapper.optimizer
    [weight] = optimizer.param_groups[0]['params']
    hook = FiniteLossHook(max_skipped=3)
    hook.before_train(run)

    def step(factor):
        hook.before_train_iter(run, 0)
        weight.grad = None
        scaler.scale(weight * factor).sum().backward()
        scaler.step(optimizer)
        scaler.update()
        hook.after_train_iter(run, 0, None, losses(loss=factor if what == 'loss' else 1.0))

    for factor in (math.nan, math.inf, 1.0, math.nan, math.nan):
        step(factor)
    with pytest.raises(InputError, match=fault):
        step(math.nan)


def test_a_gradient_scaler_that_is_off_skips_none(runner):
    scaled = runner(loss_scaler=torch.amp.GradScaler('cpu', enabled=False))
    with pytest.raises(InputError, match='loss is nan'):
        FiniteLossHook().after_train_iter(scaled, 0, None, losses(loss=math.nan))


def test_the_step_is_kept_with_the_weights_of_before(make_runner, tmp_path):
    runner = make_runner(FiniteLossHook(), change=break_at(2), detector=dict(num_classes=5))
    with pytest.raises(InputError, match='replay'):
        runner.train()
    before = checkpoint.load(tmp_path / 'run/iter_1.pth')['state_dict']
    content = bad_step.load(tmp_path / 'run/bad_step.pt')
    assert content['state_dict'].keys() == before.keys()
    trained = dict(runner.model.named_parameters())
    for name in trained:
        assert torch.equal(content['state_dict'][name], before[name])
        assert torch.equal(trained[name], before[name])
    step = content['bad_step']
    assert (step['iteration'], step['seed'], step['accumulation']) == (1, 0, 1)
    assert math.isnan(step['losses']['loss'])
    [batch] = step['batches']
    assert len(batch['img_id']) == 2


def test_a_gradient_that_is_not_finite_ends_the_run_at_its_own_step(make_runner):
    runner = make_runner(FiniteLossHook(), change=break_at(2, what='gradient'))
    with pytest.raises(InputError, match=r'^iteration 2: the norm of the gradient is nan, at'):
        runner.train()


@pytest.mark.parametrize('clip', [dict(type='value', clip_value=0.5), dict(max_norm=0.5)])
def test_clipping_hides_no_infinite_gradient(make_runner, clip):
    def overflow(model):
        # infinite alone: clipping leaves NaN as it is
        model.bbox_head.fc_cls.bias.register_hook(lambda g: torch.full_like(g, math.inf))

    runner = make_runner(
        FiniteLossHook(),
        change=overflow,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=clip),
    )
    before = runner.model.bbox_head.fc_cls.weight.clone()
    with pytest.raises(InputError, match=r'^iteration 1: the norm of the gradient is'):
        runner.train()
    assert torch.equal(runner.model.bbox_head.fc_cls.weight, before)


def test_what_is_no_such_step_is_refused(make_runner, tmp_path):
    make_runner(FiniteLossHook()).train()
    with pytest.raises(InputError, match=r'iter_2\.pth: is no step that broke: give the bad_step'):
        bad_step.load(tmp_path / 'run/iter_2.pth')


@pytest.mark.parametrize('what', ['output', 'gradient'])
def test_skipped_steps_leave_no_trace_and_are_counted(make_runner, tmp_path, log_of, what):
    def train(folder, *iterations, **kwargs):
        runner = make_runner(
            FiniteLossHook(skip=1),
            change=break_at(*iterations, what=what),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=4, val_interval=4),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
            work_dir=str(tmp_path / folder),
            **kwargs,
        )
        runner.train()
        return runner

    def saved(folder, number):
        return checkpoint.load(tmp_path / folder / f'iter_{number}.pth')

    straight = train('straight', 3)
    assert 'skipped, as 1 of at most 1 steps; tools/analysis/replay.py' in log_of(straight)
    # weights, statistics of BN, momentum
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(
            *(saved('straight', number)[part] for number in (2, 3)), rtol=0, atol=0
        )
    assert [saved('straight', number)['meta']['skipped_steps'] for number in (2, 3, 4)] == [0, 1, 1]
    history = straight.message_hub.get_scalar('train/loss').data[0]
    assert len(history) == 3
    assert all(map(math.isfinite, history))
    for number in (2, 3):
        resume = dict(resume=True, load_from=str(tmp_path / f'straight/iter_{number}.pth'))
        train(f'from{number}', 3, **resume)
        for part in ('state_dict', 'optimizer'):
            torch.testing.assert_close(
                saved(f'from{number}', 4)[part], saved('straight', 4)[part], rtol=0, atol=0
            )
        assert saved(f'from{number}', 4)['meta']['skipped_steps'] == 1
    # the last one counts the step before
    with pytest.raises(InputError, match=r'^iteration 4: .*, after 1 skipped steps; tools'):
        train('again', 4, **resume)


@pytest.mark.parametrize('clip', [None, dict(max_norm=0.01)])
def test_the_norm_is_logged_and_changes_nothing(make_runner, clip):
    norms, weights = {}, []
    for hooks in ([FiniteLossHook()], []):
        runner = make_runner(
            *hooks, optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=clip)
        )

        def note(optimizer, *args):
            gradients = [p.grad.double().flatten() for p in optimizer.param_groups[0]['params']]
            norms[torch.cat(gradients).norm().item()] = None  # once, however often it is called

        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.optim_wrapper.optimizer.register_step_pre_hook(note)
        runner.train()
        weights.append(runner.model.state_dict())
        if hooks:
            logged = runner.message_hub.get_scalar('train/grad_norm').data[0]
            assert len(logged) == 2
            # with clipping that of before, by MMEngine
            assert (
                min(logged) > 0.011
                if clip
                else logged.tolist() == pytest.approx([*norms], rel=1e-5)
            )
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_step_that_a_scaler_skips_leaves_the_running_statistics_as_they_were(runner):
    run = runner(loss_scaler=SimpleNamespace(is_enabled=lambda: True))
    run.model = torch.nn.BatchNorm1d(2)
    before = [buffer.clone() for buffer in run.model.buffers()]
    hook = FiniteLossHook()
    hook.before_train_iter(run, 0)
    run.model(torch.full((4, 2), math.inf))
    assert not run.model.running_mean.isfinite().all()
    hook.after_train_iter(run, 0, None, losses(loss=math.nan))
    assert all(torch.equal(*pair) for pair in zip(run.model.buffers(), before))
