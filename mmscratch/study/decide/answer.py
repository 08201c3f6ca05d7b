"""What the runs say: gaps between initializations now and with more images, and one sentence.

Intervals hold 80 % of the samples of the fitted curves (:mod:`learning_curve`).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmscratch.study.decide import learning_curve
from mmscratch.study.decide.learning_curve import LearningCurves, Observation
from mmscratch.study.decide.plan import Plan
from mmscratch.study.seed_statistics import Results

# Of the samples, the ends of an interval
LOW, HIGH = 0.1, 0.9
# A difference of so many AP makes none in practice
ALIKE = 1.0
# More than so many times the hours spent are not worth naming
MOST_HOURS = 20
# Images and iterations are extrapolated to so many times those measured. The error of a detector
# that has hardly begun to learn falls faster than by the law, so iterations go less far.
FURTHEST_IMAGES, FURTHEST_ITERATIONS = 10, 2
PRETRAIN, SCRATCH_WINS, EITHER, UNDECIDED = 'pre-train', 'scratch', 'either', 'not decidable'


@dataclass(frozen=True)
class Interval:
    """The middle and the ends of 80 % of the samples; some may be infinite."""

    low: float
    middle: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value is within."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f'{self.low:.1f} to {self.high:.1f}'


def interval(samples: NDArray[np.float64], digits: int = 2) -> Interval:
    """The interval of samples, some of which may be infinite."""
    # of samples that are there: between a number and infinity nothing can be interpolated
    ends = np.quantile(samples, (LOW, 0.5, HIGH), method='inverted_cdf')
    return Interval(*(round(float(end), digits) for end in ends))


@dataclass(frozen=True)
class Comparison:
    """An arm against the first one.

    Args:
        arm: its name.
        gap: how far it is ahead after the longest schedule, by number of images.
        images: from how many on the first arm is as good.
        iterations: how many times the longest schedule the first arm needs to be as good with the
            most images that were trained on.
        word: pre-train, scratch, either, not decidable
        sure: the share of samples in which the arm is ahead, with today's images.
    """

    arm: str
    gap: dict[int, Interval]
    images: Interval
    iterations: Interval
    word: str
    sure: float


def observations(plan: Plan, results: Results, length: int) -> list[Observation]:
    """The AP of each run of one length."""
    return [
        Observation(arm.name, part, ap_of(result))
        for arm in plan.arms
        for part in plan.parts
        for result in results.get(plan.name(arm.name, part, length), [])
    ]


def ap_of(result: dict[str, Any]) -> float:
    """Box AP at the end of a run, or VOC's mAP, in percent."""
    last = result['history'][-1]
    return 100 * last['bbox_mAP' if 'bbox_mAP' in last else 'voc_mAP']


def curves(plan: Plan, results: Results, length: int) -> LearningCurves | None:
    """AP against images after one length; None before each arm has a run."""
    seen = observations(plan, results, length)
    return (
        learning_curve.fit(seen) if {o.arm for o in seen} == {a.name for a in plan.arms} else None
    )


def curves_of_iterations(plan: Plan, results: Results) -> LearningCurves | None:
    """AP against iterations on the largest part on which each arm was trained."""
    for part in reversed(plan.parts):
        seen = [
            Observation(arm.name, n * plan.one, ap_of(result))
            for arm in plan.arms
            for n in plan.lengths
            for result in results.get(plan.name(arm.name, part, n), [])
        ]
        if {o.arm for o in seen} == {arm.name for arm in plan.arms}:
            return learning_curve.fit(seen, learning_curve.ITERATIONS)
    return None


def compare(
    plan: Plan, by_images: LearningCurves, by_iterations: LearningCurves
) -> list[Comparison]:
    """Each arm against the first.

    Args:
        plan: of the runs.
        by_images: after the longest schedule.
        by_iterations: on the largest part.
    """
    first, *others = (arm.name for arm in plan.arms)
    return [_compare(plan, by_images, by_iterations, arm, first) for arm in others]


def _compare(
    plan: Plan, by_images: LearningCurves, by_iterations: LearningCurves, arm: str, first: str
) -> Comparison:
    today = by_images.gap(arm, first, plan.images)
    amounts = sorted({*plan.parts, *(n * plan.images for n in (1, 2, FURTHEST_IMAGES))})
    gap = {n: interval(by_images.gap(arm, first, n)) for n in amounts}
    grid = np.geomspace(plan.parts[0], FURTHEST_IMAGES * plan.images, 60)
    images = by_images.crossing(arm, first, list(grid))
    longest = by_iterations.most
    goal = by_iterations.ap(arm, longest)
    times = np.geomspace(1 / 8, FURTHEST_ITERATIONS, 60)
    reached = np.stack([by_iterations.ap(first, longest * t) >= goal for t in times])
    needed = np.where(reached.any(axis=0), times[np.argmax(reached, axis=0)], np.inf)
    return Comparison(
        arm,
        gap,
        interval(images, 0),
        interval(needed),
        _word(gap[plan.images]),
        round(float(np.mean(today > 0)), 3),
    )


def _word(gap: Interval) -> str:
    if gap.low > -ALIKE and gap.high < ALIKE:
        return EITHER
    return PRETRAIN if gap.low > 0 else SCRATCH_WINS if gap.high < 0 else UNDECIDED


def sentence(plan: Plan, comparison: Comparison, hours: float) -> str:
    """The verdict in plain words.

    Args:
        plan: of the runs.
        comparison: of an arm with the first one.
        hours: that the plan takes.
    """
    titles = {arm.name: arm.title for arm in plan.arms}
    first, arm, gap = titles[plan.arms[0].name], titles[comparison.arm], comparison.gap[plan.images]
    start = f'With your {plan.images:,} images, starting from'
    length = f'after {plan.lengths[-1] * plan.one:,} iterations'
    if comparison.word == PRETRAIN:
        return (
            f'{start} {arm} brings {gap} AP more than from {first}, {length}. '
            f'From {first} it would take {_times(comparison.iterations)}, or '
            f'{_images(comparison.images, plan)}, to catch up.'
        )
    if comparison.word == SCRATCH_WINS:
        ahead = f'{-gap.high:.1f} to {-gap.low:.1f}'
        return f'{start} {first} brings {ahead} AP more than from {arm}, {length}.'
    if comparison.word == EITHER:
        return (
            f'{start} {arm} or from {first} makes less than {ALIKE:g} AP of difference, {length}.'
        )
    # the interval narrows as the square root of the seeds
    wide = max(abs(gap.low - gap.middle), abs(gap.high - gap.middle))
    factor = (wide / max(abs(gap.middle), ALIKE / 2)) ** 2
    if factor < MOST_HOURS:
        needed = max(1, round(hours * (factor - 1)))
        more = f'about {needed} more hour{"s" * (needed > 1)} would'
    else:
        more = 'more seeds would hardly, since the two are close'
    return (
        f'{start} {arm} brings {gap.low:+.1f} to {gap.high:+.1f} AP against {first}, {length}: '
        f'not decidable in this budget; {more}.'
    )


def _times(needed: Interval) -> str:
    most = f'more than {FURTHEST_ITERATIONS}'
    if math.isinf(needed.middle):
        return f'{most} times the iterations'
    high = most if math.isinf(needed.high) else f'{needed.high:.1f}'
    return f'about {needed.middle:.1f} times the iterations ({needed.low:.1f} to {high})'


def _images(needed: Interval, plan: Plan) -> str:
    most = f'more than {FURTHEST_IMAGES * plan.images:,}'
    if math.isinf(needed.middle):
        return f'{most} images'
    high = most if math.isinf(needed.high) else f'{needed.high:,.0f}'
    return f'about {needed.middle:,.0f} images ({needed.low:,.0f} to {high})'


def bands(curves: LearningCurves, amounts: Sequence[float]) -> dict[str, list[list[float]]]:
    """Of each arm, rows of an amount and the interval of its AP, for drawing."""
    return {
        arm: [[round(n, 1), *astuple(interval(curves.ap(arm, n)))] for n in amounts]
        for arm in curves.arms
    }


def content(plan: Plan, results: Results, hours: float) -> dict[str, Any]:
    """All of decide.json that follows from the results.

    Args:
        plan: of the runs.
        results: of the runs so far.
        hours: that these took.

    Returns:
        ``verdict``: a sentence for each arm but the first; ``comparisons``; ``by_images``: bands of
        AP against images after each length; ``by_iterations``: against iterations, on the largest
        part; ``observations``: the AP of each run. Infinite numbers are None.
    """
    images = np.geomspace(plan.parts[0], FURTHEST_IMAGES * plan.images, 40)
    fitted = {n: curves(plan, results, n) for n in plan.lengths}
    of_iterations = curves_of_iterations(plan, results)
    longest = plan.lengths[-1] * plan.one
    iterations = np.geomspace(plan.one / 2, FURTHEST_ITERATIONS * longest, 40)
    by_images = fitted[plan.lengths[-1]]
    comparisons = compare(plan, by_images, of_iterations) if by_images and of_iterations else []
    found = dict(
        verdict=[sentence(plan, each, hours) for each in comparisons],
        comparisons=[asdict(each) for each in comparisons],
        by_images={n * plan.one: bands(fit, list(images)) for n, fit in fitted.items() if fit},
        by_iterations=bands(of_iterations, list(iterations)) if of_iterations else {},
        observations=[
            dict(arm=o.arm, images=o.amount, iterations=n * plan.one, ap=round(o.ap, 2))
            for n in plan.lengths
            for o in observations(plan, results, n)
        ],
    )
    return _finite(found)


def _finite(node: Any) -> Any:
    """The same with None for infinite numbers, which JSON has none of."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and math.isinf(node) else node
