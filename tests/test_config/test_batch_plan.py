import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim.scheduler import lr_scheduler

from mmscratch.config.batch_plan import plan_batch
from mmscratch.errors import InputError


def paper_config(images_per_gpu: int = 2) -> Config:
    return Config(
        dict(
            train_cfg=dict(
                type='ResumableIterBasedTrainLoop', max_iters=540_000, val_interval=10_000
            ),
            train_dataloader=dict(
                batch_size=images_per_gpu,
                pipeline=[dict(type='ProgressiveResize', begins=[0, 270_000])],
            ),
            optim_wrapper=dict(optimizer=dict(lr=0.02)),
            auto_scale_lr=dict(base_batch_size=16),
            param_scheduler=[
                dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
                dict(
                    type='MultiStepLR', by_epoch=False, milestones=[480_000, 520_000], end=540_000
                ),
            ],
            default_hooks=dict(
                checkpoint=dict(interval=10_000),
                logger=dict(interval=50),
                start_cascade=dict(begin=270_000),
            ),
        )
    )


def test_eight_gpus_run_the_config_as_it_is():
    cfg, untouched = paper_config(), paper_config()
    plan = plan_batch(cfg, gpus=8, policy='accumulate')
    assert cfg.to_dict() == untouched.to_dict()
    assert plan.describe(118_287) == (
        '16 images/step = 8 x 2, lr 0.02, 540k iterations = 73.0 epochs of 118,287 images'
    )


def test_one_gpu_accumulates_eight_passes():
    cfg, recipe = paper_config(), paper_config()
    plan = plan_batch(cfg, gpus=1, policy='accumulate')
    assert plan.describe(118_287) == (
        '16 images/step = 1 x 2 x 8 accumulated, lr 0.02, '
        '540k iterations = 73.0 epochs of 118,287 images'
    )
    assert cfg.train_cfg.pop('accumulation') == 8
    assert cfg.to_dict() == recipe.to_dict(), 'a step is an iteration'


def test_an_accumulation_that_does_not_fit_the_recipe_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(
        'mmscratch.config.batch_plan.print_log', lambda line, **options: told.append(line)
    )
    cfg = paper_config()
    cfg.train_cfg.accumulation = 2
    plan_batch(cfg, gpus=8, policy='accumulate')
    assert 'accumulation=2 becomes 1: the recipe has 16 images a step' in told[0]


def test_a_short_warm_up_that_is_scaled_reaches_the_whole_rate():
    cfg = paper_config()
    cfg.param_scheduler = [dict(WARM_UP, by_epoch=False, begin=0, end=3)]
    plan_batch(cfg, gpus=64, policy='scale')
    assert learning_rates(cfg.param_scheduler, 3, lr=0.16)[1:] == pytest.approx([0.16, 0.16])


@pytest.mark.parametrize('loop', [dict(), dict(type='mmengine.IterBasedTrainLoop')])
def test_a_loop_that_takes_one_pass_is_refused(loop):
    cfg = paper_config()
    cfg.train_cfg = dict(loop, max_iters=9)
    plan_batch(cfg, gpus=8, policy='accumulate')
    with pytest.raises(InputError, match=r"2 of 16 images .*type='ResumableIterBasedTrainLoop'"):
        plan_batch(cfg, gpus=1, policy='accumulate')


@pytest.mark.parametrize('policy', ['accumulate', 'scale'])
def test_a_config_that_counts_passes_is_refused(policy):
    cfg = paper_config()
    cfg.optim_wrapper.accumulative_counts = 4
    with pytest.raises(InputError, match=r'accumulative_counts=4 .*divide all .* by 4.*base_batch'):
        plan_batch(cfg, gpus=1, policy=policy)


@pytest.mark.parametrize(
    ('gpus', 'lr', 'steps', 'milestones', 'warm_up_end', 'begin'),
    [
        (2, 0.005, 2_160_000, [1_920_000, 2_080_000], 2001, 1_080_000),
        (64, 0.16, 67_500, [60_000, 65_000], 63, 33_750),
    ],
)
def test_scale_keeps_the_images_of_every_phase(gpus, lr, steps, milestones, warm_up_end, begin):
    cfg = paper_config()
    plan = plan_batch(cfg, gpus=gpus, policy='scale')
    assert plan.lr == pytest.approx(lr)
    assert (plan.steps, plan.images_per_step) == (steps, 2 * gpus)
    assert cfg.param_scheduler[1].milestones == milestones
    assert cfg.param_scheduler[0].end == warm_up_end
    assert cfg.default_hooks.start_cascade.begin == begin
    assert cfg.train_dataloader.pipeline[0].begins == [0, begin]
    assert 'accumulation' not in cfg.train_cfg


def learning_rates(schedulers: list[dict], iterations: int, lr: float = 0.02) -> list[float]:
    """The learning rate of each iteration."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    built = [
        getattr(lr_scheduler, scheduler['type'])(
            optimizer, **{key: value for key, value in scheduler.items() if key != 'type'}
        )
        for scheduler in schedulers
    ]
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return rates


WARM_UP = dict(type='LinearLR', start_factor=0.1, end=6)
CURVES = (
    dict(type='MultiStepLR', milestones=[480_000, 520_000], end=540_000),
    dict(type='CosineAnnealingLR', T_max=539_500, begin=500, end=540_000, eta_min=0.001),
    dict(type='ExponentialLR', gamma=0.99, begin=500, end=540_000),
)


@pytest.mark.parametrize(
    'schedulers',
    [
        [WARM_UP, dict(type='StepLR', step_size=4, begin=5, end=30)],
        [WARM_UP, dict(type='CosineAnnealingLR', begin=5, end=30, eta_min=0.001)],
        [dict(type='CosineAnnealingLR', T_max=20)],
        [dict(type='CosineRestartLR', periods=[4, 26], restart_weights=[1, 0.5], eta_min=0.001)],
        [WARM_UP, dict(type='PolyLR', power=0.9, eta_min=0.001, begin=5, end=30)],
        [WARM_UP, dict(type='ExponentialLR', gamma=0.8, begin=5, end=30)],
        [dict(type='ConstantLR', factor=0.1, end=7)],
    ],
)
def test_every_scheduler_keeps_its_course(schedulers):
    """On an eighth of the recipe's images at a time."""
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=30),
            train_dataloader=dict(batch_size=2),
            optim_wrapper=dict(optimizer=dict(lr=0.02)),
            auto_scale_lr=dict(base_batch_size=16),
            param_scheduler=[dict(scheduler, by_epoch=False) for scheduler in schedulers],
        )
    )
    expected = learning_rates(cfg.param_scheduler, 30)
    assert len(set(expected)) > 1
    plan = plan_batch(cfg, gpus=1, policy='scale')
    rates = learning_rates(cfg.param_scheduler, 240, plan.lr)
    assert rates[::8] == pytest.approx([rate / 8 for rate in expected])


@pytest.mark.parametrize('curve', CURVES)
@pytest.mark.parametrize('policy', ['accumulate', 'scale'])
def test_a_config_that_a_run_has_dumped_is_trained_as_that_run_was(curve, policy):
    cfg = paper_config()
    cfg.param_scheduler = [cfg.param_scheduler[0], dict(curve, by_epoch=False)]
    recipe = copy.deepcopy(cfg)
    plan = plan_batch(cfg, gpus=1, policy=policy)
    dumped = Config.fromstring(cfg.pretty_text, '.py')
    assert plan_batch(dumped, gpus=1, policy=policy) == plan
    assert dumped.to_dict() == cfg.to_dict()
    # on more GPUs it becomes what the recipe becomes there
    for gpus in (2, 8):
        theirs, again = copy.deepcopy(recipe), copy.deepcopy(dumped)
        theirs_plan = plan_batch(theirs, gpus=gpus, policy=policy)
        assert plan_batch(again, gpus=gpus, policy=policy) == theirs_plan
        # a power of a power
        for schedulers in (theirs.param_scheduler, again.param_scheduler):
            schedulers[1].gamma = round(schedulers[1].get('gamma', 0), 12)
        assert again.param_scheduler == theirs.param_scheduler
        theirs.auto_scale_lr = again.auto_scale_lr
        assert again.to_dict() == theirs.to_dict()


def test_the_policy_may_change_afterwards():
    """Accumulated first, scaled later: as if it had been scaled at once."""
    cfg, scaled = paper_config(), paper_config()
    plan_batch(cfg, gpus=1, policy='accumulate')
    plan = plan_batch(cfg, gpus=1, policy='scale')
    assert plan == plan_batch(scaled, gpus=1, policy='scale')
    assert cfg.to_dict() == scaled.to_dict()


@pytest.mark.parametrize('policy', ['accumulate', 'scale'])
def test_a_config_that_names_no_number_of_images_is_trained_as_it_is(policy):
    cfg = paper_config()
    cfg.pop('auto_scale_lr')
    before = cfg.to_dict()
    assert plan_batch(cfg, gpus=3, policy=policy).images_per_step == 6
    assert cfg.to_dict() == before
    cfg.train_cfg.accumulation = 4
    before = cfg.to_dict()
    plan = plan_batch(cfg, gpus=3, policy='accumulate')
    assert (plan.images_per_step, plan.steps) == (24, 540_000)
    assert cfg.to_dict() == before


@pytest.mark.parametrize('kind', ['OneCycleLR', 'MyOwnLR'])
def test_a_scheduler_of_unknown_counts_is_not_scaled(kind):
    cfg = paper_config()
    cfg.param_scheduler = [dict(type=kind, by_epoch=False, total_steps=540_000)]
    plan_batch(cfg, gpus=1, policy='accumulate')
    with pytest.raises(InputError, match=f'--batch scale does not know what .* {kind} counts'):
        plan_batch(cfg, gpus=1, policy='scale')


@pytest.mark.parametrize('schedulers', [None, dict(type='StepLR', by_epoch=False, step_size=9)])
def test_there_need_not_be_a_list_of_schedulers(schedulers):
    cfg = paper_config()
    cfg.param_scheduler = schedulers
    assert plan_batch(cfg, gpus=1, policy='scale').steps == 4_320_000
    assert schedulers is None or cfg.param_scheduler.step_size == 72


def test_all_that_train_cfg_and_checkpoints_count_is_scaled():
    cfg = paper_config()
    cfg.train_cfg.update(val_begin=100, dynamic_intervals=[(400_000, 5000), (500_000, 1000)])
    cfg.default_hooks.checkpoint.update(interval=-1, save_begin=60_000)
    plan_batch(cfg, gpus=1, policy='scale')
    assert cfg.train_cfg.val_begin == 800
    assert cfg.train_cfg.dynamic_intervals == [(3_200_000, 40_000), (4_000_000, 8000)]
    # -1 says never
    assert cfg.default_hooks.checkpoint == dict(interval=-1, save_begin=480_000)


def test_mmengine_does_not_scale_a_second_time():
    cfg = paper_config()
    cfg.auto_scale_lr.enable = True
    with pytest.raises(InputError, match=r'auto_scale_lr\.enable=True.*--batch'):
        plan_batch(cfg, gpus=1, policy='scale')


def test_a_cascade_from_the_start_stays_one():
    cfg = paper_config()
    cfg.default_hooks.start_cascade.begin = 0
    plan_batch(cfg, gpus=64, policy='scale')
    assert cfg.default_hooks.start_cascade.begin == 0


@pytest.mark.parametrize('gpus', [3, 16])
def test_a_batch_that_does_not_divide_is_refused(gpus):
    with pytest.raises(InputError, match=rf'{gpus} GPUs x 2 images.*--batch scale'):
        plan_batch(paper_config(), gpus=gpus, policy='accumulate')


def test_epoch_schedules_are_refused():
    cfg = paper_config()
    cfg.param_scheduler[1].by_epoch = True
    with pytest.raises(InputError, match='by_epoch=False'):
        plan_batch(cfg, gpus=1, policy='scale')
    del cfg.train_cfg['max_iters']
    with pytest.raises(InputError, match='max_iters'):
        plan_batch(cfg, gpus=1, policy='accumulate')
