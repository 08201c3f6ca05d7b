from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from mmscratch.errors import InputError
from mmscratch.hooks import FrozenBackboneHook, PreflightHook
from mmscratch.weights import checkpoint

DECAYING = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1))


@pytest.fixture
def weights(tmp_path):
    """A file with all weights of the toy backbone, and statistics of its BN that are its own."""
    conv1, conv2 = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3)
    state = {'conv1.weight': conv1.weight.data}
    state |= {f'conv2.{name}': value for name, value in conv2.state_dict().items()}
    state |= {f'bn1.{name}': torch.rand(8) for name in ('weight', 'bias')}
    state |= {'bn1.running_mean': torch.rand(8), 'bn1.running_var': 1 + torch.rand(8)}
    file = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={f'backbone.{name}': v for name, v in state.items()}), file)
    return file


def train(make_runner, file, *hooks, **kwargs):
    hooks = hooks or (FrozenBackboneHook(), PreflightHook(init='pretrained'))
    runner = make_runner(*hooks, load_from=str(file), optim_wrapper=DECAYING, **kwargs)
    start = {name: value.clone() for name, value in runner.model.state_dict().items()}
    return runner, start


def test_the_backbone_stays_as_it_was_loaded(make_runner, weights, tmp_path, log_of):
    runner, start = train(make_runner, weights)
    runner.train()
    loaded = torch.load(weights)['state_dict']
    end = runner.model.state_dict()
    for name, value in loaded.items():
        assert torch.equal(end[name], value), f'{name} is trained, decays or counts statistics'
    rest = [name for name in end if not name.startswith('backbone.')]
    assert rest
    assert not any(torch.equal(end[name], start[name]) for name in rest)
    proof = checkpoint.load(tmp_path / 'run/iter_2.pth')['meta']['preflight']
    began = proof['initialization']
    assert (began['arm'], began['frozen']) == ('frozen', True)
    assert began['weights']['kind'] == 'classifier'
    log = log_of(runner)
    assert '4 of 9 parameters train; 0 of 1 norm layers in train mode' in log
    assert 'initialization: frozen, with a frozen backbone, from weights.pth, a backbone' in log


def test_without_the_hook_it_is_trained(make_runner, weights):
    runner, _ = train(make_runner, weights, PreflightHook(init='pretrained'))
    runner.train()
    loaded = torch.load(weights)['state_dict']
    assert not any(torch.equal(runner.model.state_dict()[name], v) for name, v in loaded.items())


def test_random_weights_are_not_frozen(make_runner, weights, tmp_path):
    for hooks in ([], [PreflightHook()], [PreflightHook(init='pretrained')]):
        with pytest.raises(InputError, match=r'7 weights of the backbone are random.* --init FILE'):
            make_runner(FrozenBackboneHook(), *hooks).train()
    content = torch.load(weights)
    del content['state_dict']['backbone.bn1.running_var']
    torch.save(content, weights)
    with pytest.raises(InputError, match=r': 1 weights .* is backbone\.bn1\.running_var, '):
        train(make_runner, weights)[0].train()


def test_weights_of_an_init_cfg_are_pre_trained_ones(make_runner, weights):
    state = torch.load(weights)['state_dict']
    file = weights.with_name('part.pth')
    torch.save({name.removeprefix('backbone.'): value for name, value in state.items()}, file)
    detector = dict(init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    runner = make_runner(FrozenBackboneHook(), PreflightHook(init='pretrained'), detector=detector)
    runner.train()
    assert torch.equal(runner.model.backbone.bn1.running_mean, state['backbone.bn1.running_mean'])


def test_a_resumed_run_equals_the_straight_one(make_runner, weights, tmp_path):
    straight, _ = train(make_runner, weights)
    straight.train()
    first = str(tmp_path / 'run/iter_1.pth')
    resumed, _ = train(make_runner, first, resume=True)
    resumed.train()
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)


@pytest.mark.parametrize('began', [True, False])
def test_a_run_stays_as_it_began(make_runner, weights, tmp_path, began):
    def hooks(frozen):
        return [*([FrozenBackboneHook()] if frozen else []), PreflightHook(init='pretrained')]

    train(make_runner, weights, *hooks(began))[0].train()
    first = str(tmp_path / 'run/iter_1.pth')
    cure = 'resume it with --freeze' if began else 'leave out --freeze'
    with pytest.raises(InputError, match=rf'\[frozen\] .*iter_1\.pth began with.* {cure}'):
        train(make_runner, first, *hooks(not began), resume=True)[0].train()


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='ResNet', depth=18, norm_eval=False),
        dict(type='ResNeXt', depth=50, groups=2, base_width=4, norm_cfg=dict(type='SyncBN')),
        dict(type='VGG', depth=16),
        # MMDetection's, where MMEngine builds it
        dict(type='SwinTransformer', embed_dims=12, num_heads=[1, 1, 1, 1], drop_path_rate=0.5),
    ],
    ids=lambda backbone: backbone['type'],
)
def test_any_backbone_is_frozen(backbone):
    model = nn.Module()
    model.backbone, model.head = MODELS.build(ConfigDict(backbone)), nn.Dropout()
    hook = FrozenBackboneHook()
    hook.before_run(SimpleNamespace(model=model))
    model.train()
    assert model.head.training
    assert not any(module.training for module in model.backbone.modules())
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())


@pytest.mark.usefixtures('process_group')
def test_wrapped_for_many_gpus_nothing_waits_for_its_gradients(make_runner, weights):
    runner, _ = train(
        make_runner, weights, launcher='pytorch', env_cfg=dict(dist_cfg=dict(backend='gloo'))
    )
    runner.train()
    assert not runner.model.find_unused_parameters
    assert runner.iter == 2
