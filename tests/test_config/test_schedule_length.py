from pathlib import Path

import pytest
from mmengine.config import Config

from mmscratch.config.batch_plan import plan_batch, progressive_resizes
from mmscratch.config.schedule_length import set_iterations
from mmscratch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


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


def test_progressive_resizing_and_a_fall_to_zero_shrink_in_proportion():
    cfg = config('mask_rcnn_r50_gn_fast')
    set_iterations(cfg, 15_600)
    [resize] = progressive_resizes(cfg)
    assert resize.begins == [0, 7_200]
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[1].end) == (501, 15_601)


def test_iterations_are_steps_also_of_a_config_that_accumulates():
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


SMALL = 'mask_rcnn_r18_gn_600i_shapes'


@pytest.mark.parametrize(
    ('name', 'iterations', 'end', 'drops'),
    [
        # a sixth of the run, as of 600
        (SMALL, 150, 26, [90, 130]),
        (SMALL, 100, 18, [60, 87]),
        (SMALL, 10, 3, [6, 9]),
        (SMALL, 4, 2, [2, 3]),
        # in proportion the second would come at the end, which is never
        (SMALL, 3, 2, [2, 2]),
        # its share of the run would be less than an iteration
        ('mask_rcnn_r50_gn_6x', 500, 51, [444, 481]),
        # it fits, and stays as it is
        (SMALL, 170, 101, [102, 147]),
        ('mask_rcnn_r50_gn_6x', 564, 501, [501, 543]),
    ],
)
def test_a_warm_up_that_does_not_fit_shrinks_in_proportion(name, iterations, end, drops):
    cfg = config(name)
    set_iterations(cfg, iterations)
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, end)
    assert (steps.milestones, steps.end) == (drops, iterations)
    assert all(end <= drop < iterations for drop in drops)


def test_a_shorter_warm_up_is_told(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmscratch.config.schedule_length.print_log', lambda line, **options: lines.append(line)
    )
    set_iterations(config(SMALL), 170)
    assert not lines
    set_iterations(config(SMALL), 10)
    assert lines == ['--iterations 10: the warm-up is shortened from 100 iterations to 2']


def test_what_begins_with_the_end_of_the_warm_up_still_does():
    cfg = config()
    warm_up = dict(type='LinearLR', by_epoch=False, end=5401)
    curve = dict(
        type='CosineAnnealingLR', by_epoch=False, begin=5400, end=540_000, T_max=540_000 - 5400
    )
    cfg.param_scheduler = [dict(warm_up), dict(curve)]
    set_iterations(cfg, 6000)
    assert cfg.param_scheduler == [
        warm_up,
        dict(type='CosineAnnealingLR', by_epoch=False, begin=5400, end=6000),
    ]
    cfg = config()
    cfg.param_scheduler = [dict(warm_up), dict(curve)]
    set_iterations(cfg, 1000)
    assert cfg.param_scheduler[0].end == 101
    # MMEngine takes 1000 - 100 for T_max
    assert cfg.param_scheduler[1] == dict(
        type='CosineAnnealingLR', by_epoch=False, begin=100, end=1000
    )


def test_a_drop_waits_for_the_warm_up():
    cfg = config(SMALL)
    cfg.param_scheduler[1].milestones = [30, 520]
    set_iterations(cfg, 60)
    assert cfg.param_scheduler[0].end == 11
    assert cfg.param_scheduler[1].milestones == [11, 52]


@pytest.mark.parametrize('iterations', [3, 10, 150, 400])
@pytest.mark.parametrize('policy', ['accumulate', 'scale'])
def test_a_short_run_is_planned_alike_from_the_recipe_and_from_its_dump(policy, iterations):
    recipe, dumped = config(SMALL), config(SMALL)
    for cfg in (recipe, dumped):
        cfg.train_dataloader.batch_size = 2
    plan_batch(dumped, gpus=1, policy='accumulate')
    assert dumped.train_cfg.accumulation == 4
    for cfg in (recipe, dumped):
        set_iterations(cfg, iterations)
    plan = plan_batch(recipe, gpus=1, policy=policy)
    assert plan_batch(dumped, gpus=1, policy=policy) == plan
    assert dumped.param_scheduler == recipe.param_scheduler
    assert dumped.train_cfg == recipe.train_cfg
    warm_up, steps = recipe.param_scheduler
    assert warm_up.begin < warm_up.end <= min(steps.milestones)
    assert max(steps.milestones) < steps.end == recipe.train_cfg.max_iters


@pytest.mark.parametrize('iterations', [1, 2])
def test_a_run_without_room_for_a_warm_up_and_a_drop_is_refused(iterations):
    with pytest.raises(InputError, match=rf'--iterations {iterations}: .*give more than 2'):
        set_iterations(config(), iterations)


def test_a_run_of_epochs_is_refused():
    cfg = Config(dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12)))
    with pytest.raises(InputError, match='no max_iters'):
        set_iterations(cfg, 500)
