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
from mmscratch.study.decide.plan import MOST_SEEDS, PLANNED, Plan, as_budget
from mmscratch.study.seed_statistics import Results

# Of the samples, the ends of an interval
LOW, HIGH = 0.1, 0.9
# A difference of so many AP makes none in practice
NEGLIGIBLE = 1.0
# With less AP than this from any initialization nothing can be compared
LEAST_AP = 5.0
# Images and iterations are extrapolated to so many times those measured. The error of a detector
# that has hardly begun to learn falls faster than by the law, so iterations go less far.
FURTHEST_IMAGES, FURTHEST_ITERATIONS = 10, 2
# times the longest schedule among which the first arm's need is looked for
ITERATIONS = 0.1, FURTHEST_ITERATIONS
AHEAD, BEHIND, ALIKE, UNDECIDED, UNLEARNED = (
    'ahead',
    'behind',
    'alike',
    'not decidable',
    'not learned',
)


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
        trained_on: the most images that both were trained on.
        images: how many the first arm needs to be as good as this one is with today's images.
        crossing: from how many on the first arm is as good as this one is with as many.
        iterations: how many times the longest schedule the first arm needs to be as good, on the
            same images, ``iterations_on``.
        iterations_on: images of the runs that ``iterations`` follows from.
        word: ahead, behind, alike, not decidable, not learned.
        sure: the share of samples in which the arm is ahead, with today's images.
        most_ap: the middle of the AP of the better of the two, on ``trained_on`` images.
    """

    arm: str
    gap: dict[int, Interval]
    trained_on: int
    images: Interval
    crossing: Interval
    iterations: Interval
    iterations_on: int
    word: str
    sure: float
    most_ap: float


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
    """AP against images after one length; None before the first arm and another have runs.

    An arm of which no run succeeded must not keep the others from being compared.
    """
    seen = observations(plan, results, length)
    arms = {o.arm for o in seen}
    return learning_curve.fit(seen) if plan.arms[0].name in arms and len(arms) > 1 else None


def curves_of_iterations(plan: Plan, results: Results) -> tuple[int, LearningCurves] | None:
    """The largest part with two lengths of the same arms, and AP against iterations on it.

    The longest length has to be one of the two: the first arm is asked how many times of it it
    needs. The arms are those that have two lengths on a part, the first one among them.
    """
    lengths = {
        part: {
            arm.name: of_arm
            for arm in plan.arms
            if len(of_arm := _lengths_of(plan, results, arm.name, part)) > 1
            and plan.lengths[-1] in of_arm
        }
        for part in plan.parts
    }
    arms = set[str]().union(*lengths.values())
    for part, of_arms in reversed(lengths.items()):
        if plan.arms[0].name in arms == set(of_arms):
            seen = [
                Observation(arm, n * plan.one, ap_of(result))
                for arm, of_arm in of_arms.items()
                for n, of_seeds in of_arm.items()
                for result in of_seeds
            ]
            return part, learning_curve.fit(seen, learning_curve.ITERATIONS)
    return None


def _lengths_of(
    plan: Plan, results: Results, arm: str, part: int
) -> dict[int, list[dict[str, Any]]]:
    return {n: of for n in plan.lengths if (of := results.get(plan.name(arm, part, n)))}


def compare(
    plan: Plan, by_images: LearningCurves, by_iterations: LearningCurves, iterations_on: int
) -> list[Comparison]:
    """Each arm with both curves against the first.

    Args:
        plan: of the runs.
        by_images: after the longest schedule.
        by_iterations: on one part.
        iterations_on: the images of this part.
    """
    first, *others = (arm.name for arm in plan.arms if arm.name in by_iterations.measured)
    return [_compare(plan, by_images, by_iterations, iterations_on, arm, first) for arm in others]


def _compare(
    plan: Plan,
    by_images: LearningCurves,
    by_iterations: LearningCurves,
    iterations_on: int,
    arm: str,
    first: str,
) -> Comparison:
    today = by_images.gap(arm, first, plan.images)
    trained_on = min(by_images.measured[name][1] for name in (arm, first))
    most_ap = max(interval(by_images.ap(name, trained_on)).middle for name in (arm, first))
    amounts = sorted({*plan.parts, *(n * plan.images for n in (1, 2, FURTHEST_IMAGES))})
    gap = {n: interval(by_images.gap(arm, first, n)) for n in amounts}
    same = by_images.ap(arm, plan.images)
    grid = np.geomspace(plan.parts[0], FURTHEST_IMAGES * plan.images, 60)
    images = _first(grid, [by_images.ap(first, n) >= same for n in grid])
    longest = by_iterations.most
    goal = by_iterations.ap(arm, longest)
    times = np.geomspace(*ITERATIONS, 60)
    iterations = _first(times, [by_iterations.ap(first, longest * t) >= goal for t in times])
    return Comparison(
        arm,
        gap,
        trained_on,
        interval(images, 0),
        interval(by_images.crossing(arm, first, list(grid)), 0),
        interval(iterations),
        iterations_on,
        UNLEARNED if most_ap < LEAST_AP else _word(gap[plan.images]),
        round(float(np.mean(today > 0)), 3),
        most_ap,
    )


def _first(amounts: NDArray[np.float64], reached: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Of each draw the first amount that reaches its goal, or infinity."""
    rows = np.stack(reached)
    return np.where(rows.any(axis=0), amounts[np.argmax(rows, axis=0)], np.inf)


def _word(gap: Interval) -> str:
    if gap.low > -NEGLIGIBLE and gap.high < NEGLIGIBLE:
        return ALIKE
    return AHEAD if gap.low > 0 else BEHIND if gap.high < 0 else UNDECIDED


def best(plan: Plan, by_images: LearningCurves) -> list[str]:
    """The arms that may be the best with today's images: none is clearly ahead of them."""
    aps = {
        arm.name: by_images.ap(arm.name, plan.images)
        for arm in plan.arms
        if arm.name in by_images.measured
    }
    winner = max(aps, key=lambda arm: float(np.mean(aps[arm])))
    if interval(by_images.ap(winner, by_images.measured[winner][1])).middle < LEAST_AP:
        return []
    behind = {arm: interval(aps[winner] - ap) for arm, ap in aps.items()}
    return [arm for arm, gap in behind.items() if gap.low <= 0 or gap.high < NEGLIGIBLE]


def sentence(
    plan: Plan, comparison: Comparison, hours: float, missing: int, budget: float = 0.0
) -> str:
    """The verdict in plain words.

    Args:
        plan: of the runs.
        comparison: of an arm with the first one.
        hours: that the runs have taken.
        missing: runs of the plan that have neither a result nor failed.
        budget: in hours.
    """
    titles = {arm.name: arm.title for arm in plan.arms}
    first, arm, gap = titles[plan.arms[0].name], titles[comparison.arm], comparison.gap[plan.images]
    start = f'With your {plan.images:,} images'
    if comparison.trained_on < plan.images:
        start += f' (trained on {comparison.trained_on:,} of them at most)'
    length = f'after {plan.lengths[-1] * plan.one:,} iterations'
    if comparison.word == UNLEARNED:
        return (
            f'{start}, neither {arm} nor {first} leads to a detector that can be compared: '
            f'{comparison.most_ap:.1f} AP {length}. Look at the data with tools/data/check.py, or '
            'give a larger budget, in another folder (--out).'
        )
    if comparison.word == AHEAD:
        times = _times(comparison.iterations)
        if comparison.iterations_on < plan.images:
            times += f', measured on {comparison.iterations_on:,} images'
        return (
            f'{start}, starting from {arm} brings {gap} AP more (80 % interval) than from {first}, '
            f'{length}. From {first} it would take {times}, or '
            f'{_images(comparison.images, plan)}, to be as good.'
        )
    if comparison.word == BEHIND:
        ahead = f'{-gap.high:.1f} to {-gap.low:.1f}'
        return (
            f'{start}, starting from {first} brings {ahead} AP more (80 % interval) than from '
            f'{arm}, {length}.'
        )
    if comparison.word == ALIKE:
        return (
            f'{start}, it makes less than {NEGLIGIBLE:g} AP of difference (80 % interval) whether '
            f'training starts from {arm} or from {first}, {length}.'
        )
    return (
        f'{start}, starting from {arm} brings between {abs(gap.low):.1f} AP less and '
        f'{gap.high:.1f} AP more (80 % interval) than from {first}, {length}. '
        + _remedy(plan, comparison, hours, missing, budget)
    )


def _remedy(plan: Plan, comparison: Comparison, hours: float, missing: int, budget: float) -> str:
    """What may decide it."""
    gap = comparison.gap[plan.images]
    if missing:
        return f'Not decided yet: {missing} runs are missing.'
    if comparison.trained_on < plan.images:
        return 'Not decidable in this budget: runs on more images may decide it.'
    if max(-gap.low, gap.high) < 2 * NEGLIGIBLE:
        return 'Not decidable in this budget: the two are close.'
    # the interval narrows as the square root of the seeds at best
    wide = max(gap.middle - gap.low, gap.high - gap.middle)
    seeds = math.ceil(plan.seeds * (wide / max(abs(gap.middle), NEGLIGIBLE / 2)) ** 2)
    if plan.seeds < seeds <= MOST_SEEDS:
        # as a decision gives seeds to a larger budget
        needed = max(3600 * hours * seeds / plan.seeds / PLANNED, 3600 * budget + 1)
        return (
            f'Not decidable in this budget: the same command with --budget {as_budget(needed)} '
            f'trains {seeds} seeds in all, which may decide it.'
        )
    # a plan begins with so many only if its schedules are the longest
    if plan.seeds - plan.added == MOST_SEEDS:
        return (
            'Not decidable with this config: one with a longer schedule (--config), or more images '
            'with labels, may decide it.'
        )
    return (
        'Not decidable in this budget: longer schedules may decide it, with a larger budget in '
        'another folder (--out).'
    )


def _times(needed: Interval) -> str:
    most = f'more than {FURTHEST_ITERATIONS}'
    if math.isinf(needed.low):
        return f'{most} times the iterations'
    if math.isinf(needed.middle):
        return f'more than {needed.low:.1f} times the iterations'
    high = most if math.isinf(needed.high) else f'{needed.high:.1f}'
    return f'about {needed.middle:.1f} times the iterations ({needed.low:.1f} to {high})'


def _images(needed: Interval, plan: Plan) -> str:
    most = f'more than {FURTHEST_IMAGES * plan.images:,}'
    if math.isinf(needed.low):
        return f'{most} images'
    if math.isinf(needed.middle):
        return f'more than {needed.low:,.0f} images'
    high = most if math.isinf(needed.high) else f'{needed.high:,.0f}'
    return f'about {needed.middle:,.0f} images ({needed.low:,.0f} to {high})'


def bands(curves: LearningCurves, amounts: Sequence[float]) -> dict[str, list[list[float]]]:
    """Of each arm, rows of an amount and the interval of its AP, for drawing."""
    return {
        arm: [[round(n, 1), *astuple(interval(curves.ap(arm, n)))] for n in amounts]
        for arm in curves.arms
    }


def content(
    plan: Plan, results: Results, hours: float, failed: int = 0, budget: float = 0.0
) -> dict[str, Any]:
    """All of decide.json that follows from the results.

    Args:
        plan: of the runs.
        results: of the runs so far.
        hours: that these took.
        failed: runs of the plan that failed.
        budget: in hours.

    Returns:
        ``verdict``: a text for each arm but the first; ``comparisons``; ``best``: the arms that may
        be the best; ``by_images``: bands of AP against images after each length;
        ``by_iterations``: against iterations, on ``by_iterations_on`` images; ``observations``: the
        AP of each run. Infinite numbers are None.
    """
    images = np.geomspace(plan.parts[0], FURTHEST_IMAGES * plan.images, 40)
    fitted = {n: curves(plan, results, n) for n in plan.lengths}
    part, of_iterations = curves_of_iterations(plan, results) or (None, None)
    longest = plan.lengths[-1] * plan.one
    iterations = np.geomspace(plan.one / 2, FURTHEST_ITERATIONS * longest, 40)
    by_images = fitted[plan.lengths[-1]]
    comparisons = (
        compare(plan, by_images, of_iterations, part)
        if by_images and of_iterations and part
        else []
    )
    names = {
        plan.name(arm.name, n, x) for arm in plan.arms for n in plan.parts for x in plan.lengths
    }
    done = sum(len(results.get(name, [])) for name in names)
    missing = len(names) * plan.seeds - done - failed
    found = dict(
        verdict=[sentence(plan, each, hours, missing, budget) for each in comparisons],
        comparisons=[asdict(each) for each in comparisons],
        best=best(plan, by_images) if by_images and comparisons else [],
        by_images={n * plan.one: bands(fit, list(images)) for n, fit in fitted.items() if fit},
        by_iterations=bands(of_iterations, list(iterations)) if of_iterations else {},
        by_iterations_on=part,
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
