"""Plans: what fits into a budget, in which order, and what is too small."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from mmscratch.config import schedule_length
from mmscratch.errors import InputError
from mmscratch.study.decide import arm, plan
from mmscratch.study.decide.plan import Cost, lay_out, parts_of, seconds_of
from mmscratch.study.pretraining_run import PretrainingRun
from mmscratch.study.run import Data, in_order

CONFIG = Path('configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py')
COST = Cost(dict(scratch=0.5, imagenet=0.5), rest=15)


def laid_out(hours: float, jobs: int = 2, images: int = 1000, cost: Cost = COST) -> plan.Plan:
    arms = arm.resolve(['scratch', 'imagenet'], CONFIG)
    data = Data('own', 'sha', Path('own'))
    return lay_out(arms, data, images, images, 1200, cost, 3600 * hours, jobs)


@pytest.mark.parametrize('hours', [0.7, 1, 2, 3, 6, 24])
def test_a_plan_fits_and_a_larger_budget_gives_more(hours):
    smaller, larger = laid_out(hours), laid_out(1.5 * hours)
    assert seconds_of(smaller, COST) <= 2 * 3600 * hours * plan.PLANNED
    assert (larger.seeds * len(larger.parts), larger.lengths[-1] * larger.one) >= (
        smaller.seeds * len(smaller.parts),
        0,
    )
    assert smaller.lengths[-1] * smaller.one <= 16 * 1200
    assert smaller.seeds >= 2, 'one seed has no spread'


def test_a_large_budget_gives_longer_schedules_and_then_seeds():
    day, week = laid_out(24), laid_out(24 * 7)
    assert 2 * 1200 < day.lengths[-1] * day.one < 16 * 1200
    assert day.seeds == 3
    assert week.lengths[-1] * week.one == 16 * 1200
    assert week.seeds == plan.MOST_SEEDS


def test_the_cost_is_that_of_the_runs():
    made = laid_out(3)
    steps = sum(run.iterations for run in made.runs)
    assert seconds_of(made, COST) == pytest.approx(steps * 0.5 + len(made.runs) * 15)


def test_the_time_left_follows_the_pace_of_the_runs():
    made = laid_out(3)
    labels = list(plan.costs(made, COST))
    assert set(labels) == {run.label for run in in_order(made.runs)}
    assert plan.seconds_left(made, COST, 2, [], 10) == plan.wall_seconds(made, COST, 2)
    ended = labels[: len(labels) // 2]
    # parts take equally long, and there is an even number of them
    assert plan.seconds_left(made, COST, 2, ended, 5000) == pytest.approx(5000)
    assert plan.seconds_left(made, COST, 2, labels, 5000) == 0


@pytest.mark.parametrize(
    ('seconds', 'text'), [(61, '2m'), (7140, '119m'), (7200, '2h'), (7201, '2.1h')]
)
def test_a_budget_is_rounded_up(seconds, text):
    assert plan.as_budget(seconds) == text


def test_pre_training_on_own_images_costs_what_its_probe_says():
    arms = arm.resolve(['scratch', 'own'], CONFIG)
    data = Data('own', 'sha', Path('own'))
    cost = Cost(dict(scratch=0.5, own=0.5), rest=15, pretraining=4.0)
    made = lay_out(arms, data, 1000, 1000, 1200, cost, 10 * 3600, 2)
    without = seconds_of(made, Cost(cost.step, cost.rest))
    own = [run for run in in_order(made.runs) if isinstance(run, PretrainingRun)]
    assert len(own) == made.seeds
    iterations = sum(int(run.arguments[-1]) for run in own)
    assert seconds_of(made, cost) - without == pytest.approx(4 * iterations)

    probes = plan.probes(made, jobs=2)
    assert [run.name for run in probes] == ['probe_scratch', 'probe_own', 'probe_pretraining']


def test_a_budget_that_tells_nothing_is_refused():
    with pytest.raises(InputError, match=r'takes \d+m with 2 runs at a time') as refused:
        laid_out(0.1)
    minutes = int(str(refused.value).split('--budget ')[1].split('m')[0])
    assert laid_out(minutes / 60)


def test_the_smallest_plan_takes_all_of_the_budget():
    with pytest.raises(InputError) as refused:
        laid_out(0.1)
    minutes = int(str(refused.value).split('--budget ')[1].split('m')[0])
    smallest = laid_out(plan.PLANNED * (minutes + 1) / 60)
    assert smallest.lengths[-1] * smallest.one == plan.LEAST * 1200
    assert smallest.seeds == len(smallest.parts) == len(smallest.lengths) == 2


def test_a_run_and_what_it_needs_fit_however_many_run_at_a_time():
    few, many = (laid_out(0.25, jobs) for jobs in (8, 500))
    whole, branch = many.lengths[-1] * many.one, many.schedule.first_drop + 1
    longest = (whole + branch) * 0.5 + 2 * 15
    assert longest <= 0.25 * 3600 * plan.PLANNED
    assert plan.wall_seconds(many, COST, 500) == pytest.approx(longest)
    assert plan.wall_seconds(few, COST, 1) == pytest.approx(seconds_of(few, COST))


def test_runs_that_wait_for_others_leave_jobs_idle():
    """Of three longest runs the third is trained beside nothing: two branches have their turn."""
    made = replace(laid_out(3), parts=(100,), lengths=(1, 2), one=90, seeds=3)
    made = replace(made, arms=made.arms[:1])
    whole, branch = 180 * 0.5 + 15, 61 * 0.5 + 15
    assert plan.wall_seconds(made, COST, 2) == pytest.approx(2 * (whole + branch))
    late = replace(COST, probing=100)
    assert plan.wall_seconds(made, late, 2) == pytest.approx(100 + 2 * (whole + branch))


@pytest.mark.parametrize('one', [300, 4800])
def test_the_final_detector_gets_the_drops_that_were_measured(one):
    """Of schedules that are shorter or longer than the config's 1,200 iterations."""
    made = replace(laid_out(3), one=one)
    iterations = made.lengths[-1] * one
    run = made.of(made.arms[0], 1000, 0)[-1].load()
    cfg = Config.fromfile(made.arms[0].config)
    options = dict(option.split('=') for option in made.recipe(made.arms[0], iterations))
    cfg.merge_from_dict({key: json.loads(value) for key, value in options.items()})
    schedule_length.set_iterations(cfg, iterations)
    assert cfg.train_cfg.max_iters == run.train_cfg.max_iters == iterations
    assert cfg.param_scheduler[0].end == run.param_scheduler[0].end
    drops = cfg.param_scheduler[1].milestones
    # a branch begins one iteration before its first drop
    assert drops == run.param_scheduler[1].milestones
    assert cfg.param_scheduler[1].end == run.param_scheduler[1].end


def test_all_seeds_of_the_smallest_part_come_first():
    made = laid_out(3)
    parts = [int(run.name.split('_')[0]) for run in made.runs]
    assert parts == sorted(parts)
    first = [run for run in made.runs if run.name.startswith(f'{made.parts[0]}_')]
    assert {run.seed for run in first} == set(range(made.seeds))
    assert {run.name.split('_')[1] for run in first} == {'scratch', 'imagenet'}


def test_a_seed_draws_images_of_its_own():
    run = laid_out(3).runs[-1]
    assert run.load().train_dataloader.sampler.subset_seed == run.seed > 0
    assert run.load().train_dataloader.sampler.subset == 1000


def test_twins_differ_in_their_weights_alone():
    made = laid_out(3)
    scratch, pretrained = (made.of(each, 1000, 0)[0].load() for each in made.arms)
    assert scratch.load_from is None
    assert pretrained.load_from.startswith('package://')
    assert scratch.model == pretrained.model
    assert scratch.optim_wrapper == pretrained.optim_wrapper


def test_parts_grow_by_one_factor_up_to_all_images():
    assert parts_of(1000, 4) == (125, 250, 500, 1000)
    assert parts_of(1000, 2) == (125, 1000)
    assert parts_of(20, 4)[0] == 8
    with pytest.raises(InputError, match='15 training images'):
        parts_of(15, 2)


@pytest.mark.parametrize(
    ('names', 'fault'),
    [
        (['scratch'], 'name two initializations at least'),
        (['scratch', 'scratch'], 'name two initializations at least'),
        (['scratch', 'imagnet'], '--arms imagnet: neither scratch, imagenet'),
        (['scratch', 'gone.pth'], '--arms gone.pth: neither'),
    ],
)
def test_unknown_arms(names, fault):
    with pytest.raises(InputError, match=fault):
        arm.resolve(names, CONFIG)


def test_a_config_without_a_twin_has_no_imagenet():
    config = Path('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    with pytest.raises(InputError, match=r'no ImageNet.* name what to compare'):
        arm.defaults(config)
    with pytest.raises(InputError, match='there is no configs/pretrained/mask_rcnn_r18'):
        arm.resolve(['scratch', 'imagenet'], config)
    assert arm.defaults(CONFIG) == ['scratch', 'imagenet']


def test_weights_that_are_not_here_are_told(monkeypatch):
    monkeypatch.setattr(arm.checkpoint, 'is_at_hand', lambda source: False)
    with pytest.raises(InputError, match=r'not on this machine: package.*scratch,imagenet'):
        arm.defaults(CONFIG)


def test_a_file_of_weights_is_an_arm(tmp_path):
    file = tmp_path / 'moco.pth'
    file.write_bytes(b'weights')
    [_, own] = arm.resolve(['scratch', str(file)], CONFIG)
    assert own.name == 'moco'
    assert own.arguments == ('--init', str(file))
    assert own.sha256 == hashlib.sha256(b'weights').hexdigest()


def test_two_files_of_one_name_are_refused(tmp_path):
    files = [tmp_path / folder / 'moco.pth' for folder in ('a', 'b')]
    for file in files:
        file.parent.mkdir()
        file.touch()
    with pytest.raises(InputError, match='two of them are called moco'):
        arm.resolve(list(map(str, files)), CONFIG)


def test_a_file_with_the_name_of_an_initialization_is_refused(tmp_path):
    file = tmp_path / 'own.pth'
    file.touch()
    with pytest.raises(InputError, match=r'own\.pth: this file would be called own.*rename'):
        arm.resolve(['scratch', str(file)], CONFIG)


def test_a_schedule_of_another_kind_is_refused():
    with pytest.raises(InputError, match='decide needs a warm-up'):
        plan.check_config(Path('configs/scratch/mask_rcnn_r18_gn_fast_shapes.py'))
    with pytest.raises(InputError, match='no such config'):
        plan.check_config(Path('configs/scratch/none.py'))


@pytest.mark.parametrize(
    ('config', 'says'),
    [
        ('pretrained/faster_rcnn_lite0_bn_1200i_shapes', 'begins with .* its twin of configs/scr'),
        ('scratch/cascade_mask_rcnn_r18_gn_600i_shapes', 'a cascade that starts later'),
    ],
)
def test_a_config_that_would_be_another_experiment_is_refused(config, says):
    with pytest.raises(InputError, match=f'{config}.py: .*{says}'):
        plan.check_config(Path(f'configs/{config}.py'))
