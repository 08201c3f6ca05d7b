import json
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from mmscratch.errors import InputError
from mmscratch.hooks import InitHook
from mmscratch.hooks.init_hook import fans, fill
from mmscratch.loops import ResumableIterBasedTrainLoop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ('layer', 'expected'),
    [
        (nn.Linear(5, 7), (5, 7)),
        (nn.Conv2d(4, 6, (3, 2)), (24, 36)),
        # a grouped output sees 4 / 2 channels
        (nn.Conv2d(4, 6, 3, groups=2), (18, 27)),
        # an input of a transposed convolution reaches 6 channels at 4 x 4 places
        (nn.ConvTranspose2d(2, 6, 4), (32, 96)),
        (nn.ConvTranspose2d(2, 6, 4, groups=2), (16, 48)),
    ],
)
def test_fans(layer, expected):
    assert fans(layer) == expected


def test_fills_have_the_spread_of_their_definitions():
    layer = nn.Conv2d(64, 128, 3)
    fill(layer, dict(fill='msra'), generator())
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.01)
    # a normal draw leaves 3 standard deviations behind, a uniform one never sqrt(3)
    assert layer.weight.abs().max() > 3 * math.sqrt(2 / (128 * 9))
    assert torch.all(layer.bias == 0)

    fill(layer, dict(fill='xavier'), generator())
    bound = math.sqrt(3 / (64 * 9))
    assert 0.999 * bound < layer.weight.max() <= bound
    assert -bound <= layer.weight.min() < -0.999 * bound
    assert layer.weight.std().item() == pytest.approx(math.sqrt(1 / (64 * 9)), rel=0.01)

    fill(layer, dict(fill='gaussian', std=0.01), generator())
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert layer.weight.mean().item() == pytest.approx(0, abs=2e-4)


@pytest.mark.parametrize(
    'layer',
    [
        nn.Conv2d(24, 48, 3),
        nn.Conv2d(24, 48, 3, groups=4),
        nn.ConvTranspose2d(24, 48, 3),
        nn.ConvTranspose2d(24, 48, 4, stride=2, groups=4),
    ],
)
def test_msra_gives_gradients_twice_the_power(layer):
    """Half of which a ReLU takes: He et al. 2015, section 2.2."""
    fill(layer, dict(fill='msra'), generator())
    x = torch.zeros(1, 24, 40, 40, requires_grad=True)
    out = layer(x)
    out.backward(torch.randn(out.shape, generator=generator(1)))
    # the border of a plain convolution's input reaches fewer outputs
    assert x.grad[..., 3:-3, 3:-3].var().item() == pytest.approx(2, rel=0.05)


def test_xavier_keeps_the_power_of_activations():
    layer = nn.Conv2d(48, 96, 3, groups=2)
    fill(layer, dict(fill='xavier'), generator())
    out = layer(torch.randn(1, 48, 40, 40, generator=generator(1)))
    assert out.var().item() == pytest.approx(1, rel=0.05)


def weights(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def train_nothing(runner):
    """Train with learning rate 0, so that the weights stay those of the start."""
    runner.optim_wrapper['optimizer']['lr'] = 0.0
    runner.train()
    return weights(runner)


RULES = [
    dict(pattern=r'^backbone\.conv2', fill='gaussian', std=0.5),
    dict(pattern=r'^backbone\.', fill='msra'),
    dict(pattern='rpn_head', fill='gaussian', std=1e-6),
]


def test_first_matching_rule_wins_and_norms_and_others_are_left_alone(make_runner):
    bare = train_nothing(make_runner(InitHook(stats=False)))
    filled = train_nothing(make_runner(InitHook(RULES, stats=False)))
    assert filled['backbone.conv2.weight'].std().item() == pytest.approx(0.5, rel=0.1)
    assert filled['backbone.conv1.weight'].std().item() == pytest.approx(
        math.sqrt(2 / (8 * 9)), rel=0.2
    )
    assert 0 < filled['rpn_head.0.weight'].abs().max() < 1e-5
    assert torch.all(filled['backbone.conv2.bias'] == 0)
    assert bare['backbone.conv2.bias'].any()
    for name in ('backbone.bn1.weight', 'bbox_head.fc_cls.weight', 'bbox_head.fc_cls.bias'):
        assert torch.equal(filled[name], bare[name]), name


def test_values_follow_from_the_seed_and_the_name(make_runner):
    def values(seed, rules=RULES):
        return train_nothing(make_runner(InitHook(rules, stats=False), seed=seed))

    first, again, other = values(3), values(3), values(4)
    assert torch.equal(first['backbone.conv1.weight'], again['backbone.conv1.weight'])
    assert not torch.equal(first['backbone.conv1.weight'], other['backbone.conv1.weight'])
    # other rules elsewhere change nothing
    alone = values(3, [dict(pattern='backbone.conv1', fill='msra')])
    assert torch.equal(first['backbone.conv1.weight'], alone['backbone.conv1.weight'])


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        ([dict(pattern=r'^backbon\.', fill='msra')], r"'\^backbon\\\\.' matches no .*: backbone"),
        ([dict(pattern='bn1', fill='msra')], "'bn1' matches no convolution or linear layer"),
        (
            [dict(pattern='backbone', fill='msra'), dict(pattern='conv1', fill='xavier')],
            "'conv1': earlier rules take all 1 layers",
        ),
    ],
)
def test_rule_without_a_layer_is_an_error(make_runner, rules, message):
    with pytest.raises(InputError, match=message) as error:
        make_runner(InitHook(rules)).train()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('rule', 'message'),
    [
        (dict(pattern='a', fill='he'), 'fill is one of msra, xavier, gaussian'),
        (dict(pattern='a'), 'fill is one of'),
        (dict(pattern='a', fill='gaussian'), "keys of a gaussian rule are .*'std'"),
        (dict(pattern='a', fill='msra', std=1), 'keys of a msra rule'),
        (dict(pattern='a', fill='gaussian', std=0), 'std must be above 0'),
        (dict(pattern='(', fill='msra'), 'no regular expression'),
    ],
)
def test_wrong_rules_are_refused(rule, message):
    with pytest.raises(InputError, match=message):
        InitHook([rule])


def test_loaded_weights_win(make_runner, tmp_path):
    state = {'module.backbone.conv1.weight': torch.full((8, 3, 3, 3), 7.0)}
    # of another shape: mmengine does not load it
    state['backbone.conv2.weight'] = torch.zeros(1)
    torch.save(dict(state_dict=state), tmp_path / 'some.pth')
    filled = train_nothing(
        make_runner(InitHook(RULES, stats=False), load_from=str(tmp_path / 'some.pth'))
    )
    assert torch.all(filled['backbone.conv1.weight'] == 7)
    assert filled['backbone.conv2.weight'].std().item() == pytest.approx(0.5, rel=0.1)


def test_pretrained_init_cfg_wins(make_runner, tmp_path):
    state = {'conv1.weight': torch.full((8, 3, 3, 3), 7.0)}
    torch.save(dict(state_dict=state), tmp_path / 'some.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'some.pth'))
    runner = make_runner(InitHook(RULES, stats=False), detector=dict(init_cfg=init_cfg))
    filled = train_nothing(runner)
    assert torch.all(filled['backbone.conv1.weight'] == 7)
    assert filled['rpn_head.0.weight'].abs().max() < 1e-5


class TwoCalls(BaseModel):
    """y = W x for the images (1, 1) and (0, 1), then once more for twice the images."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(2, 2, bias=False)
        self.idle = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)
        self.shared.weight.data = torch.tensor([[1.0, 2], [3, 4]])

    def forward(self, mode='tensor', **data):
        if mode == 'predict':
            return [0]
        x = torch.tensor([[1.0, 1], [0, 1]])
        return dict(loss=self.shared(x)[:, 0].sum() + 0 * self.norm(self.shared(2 * x)).sum())


class ScalingWrapper(OptimWrapper):
    """Scale the loss as AmpOptimWrapper does, which asks for a GPU."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)

    def backward(self, loss, **kwargs):
        super().backward(self.loss_scaler.scale(loss), **kwargs)


@pytest.mark.parametrize('case', ['plain', 'accumulation', 'loss scale'])
def test_stats_of_a_hand_worked_net(make_runner, tmp_path, case):
    model = TwoCalls()
    wrapper = dict(optimizer=dict(type='SGD', lr=0.0))
    passes = 2 if case == 'accumulation' else 1
    loop = dict(type=ResumableIterBasedTrainLoop, max_iters=2, accumulation=passes)
    if case == 'loss scale':
        wrapper = ScalingWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.0))
    make_runner(InitHook(), model=model, optim_wrapper=wrapper, train_cfg=loop).train()
    stats = json.loads((tmp_path / 'run' / 'init_stats.json').read_text())
    rows = {row['module']: row for row in stats['layers']}
    shared = rows['shared']
    # outputs 3 7 2 4, and twice these: mean 6, mean square (78 + 312) / 8
    assert shared['calls'] == 2 * passes
    assert shared['activation_mean'] == pytest.approx(6)
    assert shared['activation_rms'] == pytest.approx(math.sqrt(48.75))
    assert shared['activation_std'] == pytest.approx(math.sqrt(48.75 - 36))
    # dloss / dW = [[1, 2], [0, 0]]
    assert shared['gradient_rms'] == pytest.approx(math.sqrt(5 / 4))
    assert (shared['fan_in'], shared['fan_out'], shared['fill']) == (2, 2, None)
    assert shared['weight_std'] == pytest.approx(math.sqrt(1.25))
    assert rows['norm']['activation_rms'] == pytest.approx(1, rel=1e-3)
    assert (rows['norm']['fan_in'], rows['norm']['weight_mean']) == (None, 1)
    assert rows['idle']['calls'] == 0
    assert rows['idle']['activation_std'] is rows['idle']['gradient_rms'] is None
    assert 'rank 0' in stats['measured']


def test_table_names_layers_and_the_hooks_are_gone_after_the_first_iteration(make_runner, log_of):
    runner = make_runner(InitHook([dict(pattern='fc', fill='xavier')]))
    counts = []

    class Count(Hook):
        priority = 'LOWEST'

        def _count(self, runner):
            modules = list(runner.model.modules())
            counts.append(
                sum(len(m._forward_hooks) for m in modules)
                + sum(len(p._post_accumulate_grad_hooks or ()) for p in runner.model.parameters())
            )

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self._count(runner)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self._count(runner)

    runner.register_hook(Count())
    runner.train()
    # 4 layers and 1 norm, each with 2 hooks; none in the second iteration
    assert counts == [10, 0, 0, 0]
    table = log_of(runner).split('Scales at step 0')[1]
    line = next(line for line in table.splitlines() if line.startswith('bbox_head.fc_cls'))
    assert line.split()[1:4] == ['8', '4', 'xavier']
    assert 'rpn_head.0 ' in table
    assert 'backbone.bn1' not in table


def test_a_number_that_is_not_finite_is_null(make_runner, tmp_path):
    model = TwoCalls()
    model.idle.weight.data.fill_(math.inf)
    make_runner(InitHook(), model=model).train()
    text = (tmp_path / 'run' / 'init_stats.json').read_text()
    rows = {row['module']: row for row in json.loads(text)['layers']}
    assert rows['idle']['weight_std'] is None
    assert 'NaN' not in text
    assert 'Infinity' not in text


def test_stats_can_be_left_out(make_runner, tmp_path):
    make_runner(InitHook(stats=False)).train()
    assert not (tmp_path / 'run' / 'init_stats.json').exists()
