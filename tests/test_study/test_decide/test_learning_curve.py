"""Curves fitted to a few runs: they hold the truth as often as they say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from mmscratch.study.decide.learning_curve import IMAGES, ITERATIONS, Observation, fit


def world(random: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """Error with the most images, the share of it that stays, and the exponent, of two arms."""
    rest, exponent = random.uniform(0.2, 0.8), np.exp(random.normal(-0.7, 0.4))
    return {
        arm: (random.uniform(0.2, 0.8), rest * random.uniform(0.8, 1.2), exponent)
        for arm in ('scratch', 'imagenet')
    }


def ap(parameters: tuple[float, float, float], ratio: float) -> float:
    error, rest, exponent = parameters
    return 100 * (1 - error * (rest + (1 - rest) * ratio**-exponent))


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(0)
    held, widths = [], []
    for _ in range(40):
        arms = world(random)
        seen = [
            Observation(arm, n, ap(parameters, n / 100) + random.normal())
            for arm, parameters in arms.items()
            for n in (25, 50, 100)
            for _ in range(2)
        ]
        # of a law that is the truth
        curves = fit(seen, replace(IMAGES, misfit=0.0), draws=100)
        low, high = np.quantile(curves.gap('imagenet', 'scratch', 400), (0.1, 0.9))
        truth = ap(arms['imagenet'], 4) - ap(arms['scratch'], 4)
        held.append(low <= truth <= high)
        widths.append(high - low)
    assert 0.7 <= np.mean(held) < 1
    assert np.median(widths) < 12, 'an interval that holds anything says nothing'


def observations(gap: float = 10.0, spread: float = 0.5) -> list[Observation]:
    return [
        Observation(arm, n, base + rise + noise)
        for arm, base in (('scratch', 30.0), ('imagenet', 30.0 + gap))
        for n, rise in ((100, 0.0), (300, 6.0), (900, 9.0))
        for noise in (-spread, spread)
    ]


@pytest.mark.parametrize('law', [IMAGES, ITERATIONS])
def test_the_derivatives_are_those_of_the_law(law):
    ratio = np.array([0.05, 0.3, 1.0, 4.0])
    point = np.array([0.3, -0.6, 0.2])
    numerical = approx_fprime(point, lambda p: law.ap(*p, ratio))
    assert pytest.approx(numerical, rel=1e-5, abs=1e-4) == law.gradient(*point, ratio).T


def test_more_seeds_narrow_the_interval_and_more_images_widen_it():
    def width(seen, amount):
        low, high = np.quantile(fit(seen, draws=200).gap('imagenet', 'scratch', amount), (0.1, 0.9))
        return high - low

    few, many = observations(), observations() * 4
    assert width(many, 900) < 0.7 * width(few, 900)
    assert width(few, 900) < width(few, 1800) < width(few, 9000)
    assert width(few, 900) < width(observations(spread=3.0), 900)


def test_the_measured_gap_is_fitted():
    curves = fit(observations())
    assert np.median(curves.gap('imagenet', 'scratch', 900)) == pytest.approx(10, abs=0.5)
    assert np.median(curves.ap('scratch', 100)) == pytest.approx(30, abs=1)


def test_the_crossing_is_where_the_gap_ends():
    seen = [
        Observation(arm, n, value + noise)
        for arm, values in (('scratch', (20.0, 35.0, 45.0)), ('imagenet', (40.0, 43.0, 45.5)))
        for n, value in zip((100, 300, 900), values)
        for noise in (-0.3, 0.3)
    ]
    amounts = [100, 300, 900, 1200, 1800, 3600]
    crossing = fit(seen).crossing('imagenet', 'scratch', amounts)
    assert np.median(crossing) in (900, 1200)
    assert np.isinf(fit(observations()).crossing('imagenet', 'scratch', amounts)).mean() > 0.9


def test_the_order_of_runs_changes_nothing():
    seen = observations()
    one, other = fit(seen, draws=20), fit(seen[::-1], draws=20)
    assert np.array_equal(one.ap('scratch', 5000), other.ap('scratch', 5000))
