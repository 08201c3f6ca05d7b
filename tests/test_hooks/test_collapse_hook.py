import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from mmscratch.errors import InputError
from mmscratch.hooks import CollapseHook


class Spreads(BaseModel):
    """Gives the spreads of a list, one an iteration; the last one stays."""

    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.values = list(values)

    def forward(self, mode='tensor', **data):
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        return dict(loss=self.weight**2, image_spread=torch.tensor(value))


def train(make_runner, values, iterations, **options):
    runner = make_runner(
        CollapseHook(**options),
        model=Spreads(values),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=1000),
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
        default_hooks=dict(checkpoint=None),
    )
    runner.train()
    return runner


def test_equal_embeddings_stop_the_run_after_the_warm_up(make_runner):
    with pytest.raises(InputError) as caught:
        train(make_runner, [0.01], 100, warm_up=40)
    text = str(caught.value)
    assert text.startswith('iteration 40: the embeddings are nearly the same for all images: ')
    assert 'image_spread is 0.010, and below 0.05 is a collapse' in text


def test_a_warning_comes_early_and_once(make_runner, log_of):
    runner = train(make_runner, [0.01] * 30 + [0.9], 60, warm_up=60)
    assert log_of(runner).count('the run ends if this lasts until iteration 60') == 1
    assert 'iteration 20: the embeddings' in log_of(runner)


def test_a_collapse_after_the_warm_up_stops_the_run(make_runner):
    with pytest.raises(InputError, match='iteration 5'):
        train(make_runner, [0.5] * 40 + [0.0], 100, warm_up=20)


def test_healthy_embeddings_and_single_low_values_pass(make_runner, log_of):
    runner = train(make_runner, [0.5, 0.01] * 40, 60, warm_up=20)
    assert runner.iter == 60
    assert 'collapse' not in log_of(runner)


def test_a_run_shorter_than_the_warm_up_is_judged_at_its_end(make_runner):
    with pytest.raises(InputError, match='iteration 30'):
        train(make_runner, [0.01], 30)
    with pytest.raises(InputError, match='iteration 3'):
        train(make_runner, [0.01], 3)
