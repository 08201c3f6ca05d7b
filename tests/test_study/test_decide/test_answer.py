"""What the runs say: comparisons and sentences, of observations that are made up."""

import functools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmscratch.study.decide import answer, learning_curve
from mmscratch.study.decide.answer import Comparison, Interval
from mmscratch.study.decide.arm import Arm
from mmscratch.study.decide.plan import Plan
from mmscratch.study.run import Data

CONFIG = 'configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py'
ARMS = Arm('scratch', CONFIG), Arm('imagenet', CONFIG), Arm('frozen', CONFIG)
PLAN = Plan(ARMS[:2], Data('own', 'sha', Path('own')), 1000, (125, 354, 1000), (1, 2, 4), 300, 3)
NEAR = Interval(-1.5, 0.1, 1.6)
FOUND = Comparison(
    arm='imagenet',
    gap={1000: Interval(3.1, 4.0, 5.0)},
    trained_on=1000,
    images=Interval(1800, 2500, 3600),
    crossing=Interval(math.inf, math.inf, math.inf),
    iterations=Interval(1.5, 1.8, math.inf),
    iterations_on=1000,
    word=answer.AHEAD,
    sure=0.99,
    most_ap=40.0,
)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(learning_curve, 'fit', functools.partial(learning_curve.fit, draws=100))


def results(plan: Plan, ap) -> dict:
    """The results of a plan, by ``ap(arm, images, iterations)`` in percent, of three seeds."""
    return {
        plan.name(arm.name, part, n): [
            dict(history=[dict(bbox_mAP=(ap(arm.name, part, n * plan.one) + d) / 100)])
            for d in (-0.2, 0, 0.2)
        ]
        for arm in plan.arms
        for part in plan.parts
        for n in plan.lengths
    }


def content(plan: Plan, ap) -> dict:
    return answer.content(plan, results(plan, ap), hours=1)


def test_what_one_arm_needs_is_less_than_where_the_lead_ends():
    """10 AP for ten times the images, and 4 AP ahead with any number: 2,500 are worth 1,000."""

    def ap(arm, images, iterations):
        return 20 + 10 * math.log10(images / 100) + 4 * (arm == 'imagenet') + iterations / 1200

    found = content(PLAN, ap)
    [comparison] = found['comparisons']
    assert comparison['images']['low'] <= 2512
    assert comparison['images']['high'] is None, 'beyond ten times the images'
    assert comparison['images']['middle'] < 4000
    assert comparison['crossing']['middle'] is None, 'beyond ten times the images'
    assert 'From random weights it would take' in found['verdict'][0]
    assert comparison['word'] == answer.AHEAD
    assert found['best'] == ['imagenet']


@pytest.mark.parametrize('ap', [0.0, -100.0])
def test_nothing_is_said_of_detectors_that_learned_nothing(ap):
    found = content(PLAN, lambda *_: ap)
    assert found['comparisons'][0]['word'] == answer.UNLEARNED
    assert found['best'] == []
    assert 'neither' in found['verdict'][0]
    assert 'AP of difference' not in found['verdict'][0]


def test_the_best_are_those_that_none_is_clearly_ahead_of():
    plan = replace(PLAN, arms=ARMS)
    level = dict(scratch=20, imagenet=30, frozen=29.8)
    assert content(plan, lambda arm, *_: level[arm])['best'] == ['imagenet', 'frozen']
    level['frozen'] = 25
    assert content(plan, lambda arm, *_: level[arm])['best'] == ['imagenet']


def test_one_length_says_nothing_of_more_iterations():
    every = results(PLAN, lambda *_: 20.0)
    longest = {name: runs for name, runs in every.items() if name.endswith('4x')}
    found = answer.content(PLAN, longest, 1)
    assert found['verdict'] == found['comparisons'] == []
    assert found['by_iterations_on'] is None
    # two lengths of each arm on the smallest part alone
    part = PLAN.parts[0]
    two = {name: runs for name, runs in every.items() if name.startswith(f'{part}_')}
    assert answer.content(PLAN, longest | two, 1)['by_iterations_on'] == part


def test_an_arm_without_runs_does_not_keep_the_others_from_being_compared():
    plan = replace(PLAN, arms=ARMS)
    level = dict(scratch=20, imagenet=30, frozen=25)
    every = results(plan, lambda arm, *_: level[arm])
    two = {name: runs for name, runs in every.items() if 'frozen' not in name}
    found = answer.content(plan, two, 1)
    assert [each['arm'] for each in found['comparisons']] == ['imagenet']
    assert found['best'] == ['imagenet']
    # its shorter schedules failed
    one = {name: r for name, r in every.items() if 'frozen' not in name or name.endswith('_4x')}
    assert [each['arm'] for each in answer.content(plan, one, 1)['comparisons']] == ['imagenet']
    # nothing can be compared with the first one without its runs
    others = {name: runs for name, runs in every.items() if 'scratch' not in name}
    assert answer.content(plan, others, 1)['verdict'] == []


def test_what_one_arm_alone_was_trained_on_is_no_measurement_of_the_gap():
    every = results(PLAN, lambda arm, *_: 30.0 + (arm == 'imagenet'))
    part = {name: runs for name, runs in every.items() if not name.startswith('1000_scratch')}
    [whole], [of_part] = (answer.content(PLAN, r, 1)['comparisons'] for r in (every, part))
    assert (whole['trained_on'], of_part['trained_on']) == (1000, 354)
    assert (whole['iterations_on'], of_part['iterations_on']) == (1000, 354)
    widths = [c['gap'][1000]['high'] - c['gap'][1000]['low'] for c in (whole, of_part)]
    assert widths[1] > 1.5 * widths[0]


def test_the_verdict_in_plain_words():
    assert answer.sentence(PLAN, FOUND, 1, 0) == (
        "With your 1,000 images, starting from ImageNet's weights brings 3.1 to 5.0 AP more "
        '(80 % interval) than from random weights, after 1,200 iterations. From random weights it '
        'would take about 1.8 times the iterations (1.5 to more than 2), or about 2,500 images '
        '(1,800 to 3,600), to be as good.'
    )
    far = Interval(1.8, math.inf, math.inf)
    assert 'take more than 1.8 times' in answer.sentence(PLAN, replace(FOUND, iterations=far), 1, 0)
    never = Interval(math.inf, math.inf, math.inf)
    assert 'take more than 2 times' in answer.sentence(PLAN, replace(FOUND, iterations=never), 1, 0)
    many = Interval(7000, math.inf, math.inf)
    assert 'more than 7,000 images' in answer.sentence(PLAN, replace(FOUND, images=many), 1, 0)
    part = replace(FOUND, trained_on=250)
    assert answer.sentence(PLAN, part, 1, 0).startswith(
        'With your 1,000 images (trained on 250 of them at most), starting from'
    )
    part = replace(FOUND, iterations_on=354)
    says = 'about 1.8 times the iterations (1.5 to more than 2), measured on 354 images, or'
    assert says in answer.sentence(PLAN, part, 1, 0)


@pytest.mark.parametrize(
    ('gap', 'seeds', 'trained_on', 'missing', 'says'),
    [
        (Interval(-2.0, 3.0, 8.0), 2, 1000, 7, 'Not decided yet: 7 runs are missing.'),
        (Interval(-2.0, 3.0, 8.0), 2, 250, 0, 'runs on more images may decide it'),
        (NEAR, 3, 1000, 0, 'the two are close'),
        # (4 / 3) ** 2 times the seeds
        (Interval(-1.0, 3.0, 7.0), 2, 1000, 0, 'with --budget 9.5h trains 4 seeds in all'),
        # the schedules are the longest
        (Interval(-1.0, 3.0, 7.0), 5, 1000, 0, 'Not decidable with this config'),
        (Interval(-4.0, 0.5, 5.0), 2, 1000, 0, 'longer schedules may decide it'),
    ],
)
def test_what_may_decide_it(gap, seeds, trained_on, missing, says):
    plan = replace(PLAN, seeds=seeds)
    found = replace(FOUND, word=answer.UNDECIDED, gap={1000: gap}, trained_on=trained_on)
    text = answer.sentence(plan, found, 4, missing)
    assert f'brings between {-gap.low:.1f} AP less and {gap.high:.1f} AP more' in text
    assert says in text


def test_the_budget_for_more_seeds_is_larger_than_the_present_one():
    """The runs took half of it."""
    gap = Interval(-1.0, 3.0, 7.0)
    found = replace(FOUND, word=answer.UNDECIDED, gap={1000: gap})
    says = answer.sentence(replace(PLAN, seeds=2), found, 2, 0, budget=10)
    assert 'with --budget 10.1h trains 4 seeds in all' in says


def test_runs_that_failed_are_not_missing():
    every = results(PLAN, lambda *_: 20.0)
    spread = {name: runs for name, runs in every.items() if not name.startswith('354_')}
    for sign, name in ((1, '1000_imagenet_4x'), (-1, '125_imagenet_4x')):
        spread[name] = [dict(history=[dict(bbox_mAP=0.2 + sign * d)]) for d in (-0.1, 0, 0.1)]
    lost = 3 * (len(every) - len(spread))
    assert f'{lost} runs are missing' in answer.content(PLAN, spread, 1)['verdict'][0]
    assert 'Not decidable' in answer.content(PLAN, spread, 1, failed=lost)['verdict'][0]


def test_an_interval_may_end_in_infinity():
    samples = np.array([1.0] * 5 + [np.inf] * 5)
    assert answer.interval(samples).high == math.inf
