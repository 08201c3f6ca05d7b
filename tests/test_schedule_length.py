from pathlib import Path

import pytest
from mmengine.config import Config

from mmscratch.batch_plan import plan_batch
from mmscratch.errors import InputError
from mmscratch.schedule_length import set_iterations

ROOT = Path(__file__).resolve().parents[1]


def config(name: str = 'mask_rcnn_r50_gn_6x') -> Config:
    return Config.fromfile(ROOT / f'configs/scratch/{name}.py')


@pytest.mark.parametrize('multiple', [2, 3, 4, 5, 9])
def test_the_papers_schedules_come_out_of_each_other(multiple):
    cfg = config()
    set_iterations(cfg, multiple * 90_000)
    written = Config.fromfile(ROOT / f'configs/_base_/schedules/{multiple}x.py')
    assert cfg.param_scheduler == written.param_scheduler
    assert cfg.train_cfg.max_iters == written.train_cfg.max_iters
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 10_000


@pytest.mark.parametrize(
    ('iterations', 'drops'),
    [
        (90_000, [30_000, 70_000]),
        # 60,000 before the end would be before a third
        (89_999, [79_999, 86_666]),
        (18_000, [16_000, 17_333]),
        (9_000, [8_000, 8_667]),
    ],
)
def test_short_schedules_shrink_in_proportion(iterations, drops):
    cfg = config()
    set_iterations(cfg, iterations)
    assert cfg.param_scheduler[1].milestones == drops
    assert cfg.param_scheduler[1].end == iterations
    assert cfg.param_scheduler[0].end == 501
    interval = iterations // 9
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (interval,) * 2


def test_a_cascade_starts_in_proportion():
    cfg = config('cascade_mask_rcnn_r50_gn_9x_ms')
    assert cfg.default_hooks.start_cascade.begin == 540_000
    set_iterations(cfg, 81_000)
    assert cfg.default_hooks.start_cascade.begin == 54_000


def test_iterations_are_steps_also_where_the_config_counts_passes():
    cfg, dumped = config(), config()
    set_iterations(cfg, 90_000)
    plan = plan_batch(cfg, gpus=1, policy='accumulate')
    plan_batch(dumped, gpus=1, policy='accumulate')
    set_iterations(dumped, 90_000)
    assert plan_batch(dumped, gpus=1, policy='accumulate') == plan
    assert plan.accumulation == 8
    assert dumped.to_dict() == cfg.to_dict()


def test_curves_that_reach_the_end_still_do():
    cfg = config()
    cosine = dict(type='CosineAnnealingLR', by_epoch=False, T_max=540_000, end=540_000)
    cfg.param_scheduler = [cfg.param_scheduler[0], cosine]
    set_iterations(cfg, 20_000)
    assert (cfg.param_scheduler[1].T_max, cfg.param_scheduler[1].end) == (20_000, 20_000)
    assert cfg.param_scheduler[0].end == 501


def test_a_run_that_is_shorter_than_its_warm_up_is_refused():
    with pytest.raises(InputError, match=r'--iterations 500: the first drop .* 444, .* takes 501'):
        set_iterations(config(), 500)


def test_a_run_of_epochs_is_refused():
    cfg = Config(dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12)))
    with pytest.raises(InputError, match='no max_iters'):
        set_iterations(cfg, 500)
