"""What decide predicted from a quarter of the images, and what was measured with all of them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
from scipy.stats import binom, norm

from mmscratch.study import real
from mmscratch.study.calibration import plan, schedules
from mmscratch.study.decide import answer, learning_curve
from mmscratch.study.decide.answer import Interval
from mmscratch.study.decide.evidence import PAPERS_LIMIT
from mmscratch.study.decide.learning_curve import IMAGES, LearningCurves, Observation
from mmscratch.study.decide.plan import Plan
from mmscratch.study.page import collect, markdown
from mmscratch.study.real.data import SOURCES
from mmscratch.study.real.plan import INITIALIZATIONS, LENGTHS, PARTS
from mmscratch.study.seed_statistics import Results, final
from mmscratch.study.verdict import FAILS, HOLDS, OPEN, Verdict

# The share of 80 % intervals that have to hold what was measured. Fewer may be chance: they
# contradict the 80 % if these would give so few in less than RARE of all cases.
COVERED, RARE = 0.7, 0.1
# A probability that is close to certainty
SURE = 0.9
BOARDS = SOURCES['deeppcb'].images[0]
# Deviations of the law that are tried, in AP
MISFITS = np.arange(0, 6, 0.1)
# of a study that was stopped before its second seed
NOTHING = Verdict(OPEN, 'no data set has all its runs yet')


@dataclass(frozen=True)
class Prediction:
    """Of one data set and one initialization against scratch.

    Args:
        data: the name of the data set.
        images: of its training set.
        arm: the initialization.
        gap: predicted, in AP, with all images.
        sure: the probability that the initialization is ahead.
        measured: the gap of the means of the seeds with all images.
        fitted: the mean and the deviation of the gap, if the law were the truth.
        outside: log(all images / the images that decide saw).
    """

    data: str
    images: int
    arm: str
    gap: Interval
    sure: float
    measured: float
    fitted: tuple[float, float]
    outside: float

    @property
    def held(self) -> bool:
        """Whether the interval has the measured gap in it."""
        return self.gap.holds(self.measured)


def predictions(results: Results, kind: str) -> list[Prediction]:
    """Of each data set of a kind whose runs are all there, of every seed."""
    found = []
    for name, question in plan.questions(kind).items():
        wanted = {f'{name}_{run.name}' for p in (question.seen, question.truth) for run in p.runs}
        if all(len(results.get(run, ())) >= plan.SEEDS for run in wanted):
            own = {key.removeprefix(f'{name}_'): results[key] for key in wanted}
            found += predict(name, question.seen, question.truth, own)
    return found


def predict(name: str, seen: Plan, truth: Plan, results: Results) -> list[Prediction]:
    """Compare what decide says of the runs of ``seen`` with those of ``truth``."""
    found = tuple(answer.observations(seen, results, truth.lengths[-1]))
    return _compare(name, truth.images, found, _measured(truth, results))


def of_decisions(results: Results) -> list[Prediction]:
    """What whole decisions say of all images, of those for which these were trained on."""
    found = []
    for name, each in plan.decided().items():
        truth = each.truth
        if measured := measured_of(name, truth, results):
            iterations = truth.lengths[-1] * truth.one
            seen = tuple(
                Observation(o['arm'], o['images'], o['ap'])
                for o in each.said['observations']
                if o['iterations'] == iterations
            )
            said = {one['arm']: one for one in each.said['comparisons']}
            found += [
                replace(
                    prediction,
                    gap=Interval(**said[prediction.arm]['gap'][str(truth.images)]),
                    sure=said[prediction.arm]['sure'],
                )
                for prediction in _compare(name, truth.images, seen, measured)
            ]
    return found


def measured_of(name: str, truth: Plan, results: Results) -> dict[str, float]:
    """The mean AP of each arm with all images of a decision; empty if seeds are missing."""
    own = {run.name: results.get(f'{name}_{run.name}', []) for run in truth.runs}
    return _measured(truth, own) if min(map(len, own.values())) >= plan.SEEDS else {}


def _measured(truth: Plan, results: Results) -> dict[str, float]:
    """The mean AP of each arm with all images."""
    return {
        arm.name: mean(final(results, truth.name(arm.name, truth.images, truth.lengths[-1])))
        for arm in truth.arms
    }


@functools.cache
def of_boards() -> list[Prediction]:
    """What 60 and 250 circuit boards tell of all, for each schedule of the study of real images."""
    runs = collect(real.STUDY.claims, Path('results') / real.STUDY.name)
    amounts = {part: many or BOARDS for part, (data, many, _) in PARTS.items() if data == 'deeppcb'}
    found = []
    for n in LENGTHS:
        aps = {
            (arm, amount): final(runs, f'{part}_{arm}_{n}x')
            for arm in INITIALIZATIONS
            for part, amount in amounts.items()
        }
        seen = tuple(
            Observation(arm, amount, ap)
            for (arm, amount), of_seeds in aps.items()
            for ap in of_seeds
            if amount < BOARDS
        )
        measured = {arm: mean(aps[arm, BOARDS]) for arm in INITIALIZATIONS}
        found += _compare(f'deeppcb, {n}x', BOARDS, seen, measured)
    return found


def _compare(
    name: str, images: int, seen: tuple[Observation, ...], measured: dict[str, float]
) -> list[Prediction]:
    """``measured``: the mean AP of each arm with all images; the first is scratch."""
    curves = _fit(seen)
    scratch, *others = measured
    found = []
    for arm in others:
        gap = curves.gap(arm, scratch, images)
        sure, truly = float((gap > 0).mean()), measured[arm] - measured[scratch]
        exact = replace(curves, law=replace(curves.law, misfit=0.0)).gap(arm, scratch, images)
        fitted, outside = (float(exact.mean()), float(exact.std())), np.log(images / curves.most)
        found.append(
            Prediction(name, images, arm, answer.interval(gap), sure, truly, fitted, outside)
        )
    return found


@functools.cache
def _fit(seen: tuple[Observation, ...]) -> LearningCurves:
    """Judges, table and figure need the same curves, which take half a second."""
    return learning_curve.fit(seen)


def covers(results: Results, part: str) -> Verdict:
    """Whether the 80 % intervals hold what was measured often enough."""
    return _coverage(predictions(results, part))


def covers_with_chosen_misfit(results: Results, part: str) -> Verdict:
    """The same of data sets that had a part in choosing the misfit of the law.

    Therefore each is also predicted with the misfit that is the most likely one for the others.
    """
    found = predictions(results, part)
    verdict = _coverage(found)
    if not found:
        return verdict
    chosen = [_likeliest_misfit(found[:i] + found[i + 1 :]) for i in range(len(found))]
    held = sum(_holds(each, misfit) for each, misfit in zip(found, chosen))
    numbers = (
        f'{verdict.numbers}. The most likely misfit is {_likeliest_misfit(found):.1f} AP; decide '
        f'has {IMAGES.misfit:.1f}. If it is chosen by the other data sets alone, {min(chosen):.1f} '
        f'to {max(chosen):.1f} AP, {held} of {len(found)} intervals contain the gap'
    )
    return Verdict(verdict.word, numbers)


def _deviation(prediction: Prediction, misfit: float) -> float:
    return float(np.hypot(prediction.fitted[1], misfit * prediction.outside))


def _likeliest_misfit(found: Sequence[Prediction]) -> float:
    likelihoods = [
        sum(norm.logpdf(p.measured, p.fitted[0], _deviation(p, misfit)) for p in found)
        for misfit in MISFITS
    ]
    return float(MISFITS[np.argmax(likelihoods)])


def _holds(prediction: Prediction, misfit: float) -> bool:
    off = abs(prediction.measured - prediction.fitted[0])
    return bool(off <= norm.ppf(answer.HIGH) * _deviation(prediction, misfit))


def covers_boards(_: Results) -> Verdict:
    """The same of the circuit boards, from runs of another study."""
    return _coverage(of_boards())


def covers_decisions(results: Results) -> Verdict:
    """The same of whole decisions."""
    return _coverage(of_decisions(results))


def _coverage(found: list[Prediction]) -> Verdict:
    if not found:
        return NOTHING
    held, number = sum(each.held for each in found), len(found)
    width = mean(each.gap.high - each.gap.low for each in found)
    off = mean(abs(each.gap.middle - each.measured) for each in found)
    numbers = (
        f'{held} of {number} intervals contain the measured gap ({100 * held / number:.0f} %); on '
        f'average they are {width:.1f} AP wide, and their middles are off by {off:.1f} AP'
    )
    if held >= COVERED * number:
        return Verdict(HOLDS, numbers)
    rare = binom.cdf(held, number, answer.HIGH - answer.LOW) < RARE
    return Verdict(FAILS if rare else OPEN, numbers)


def signs(results: Results, part: str) -> Verdict:
    """Whether decide says more often who is ahead than two rules do that look at no run."""
    found = predictions(results, part)
    if not found:
        return NOTHING
    right, brier = _ways(found)
    numbers = '; '.join(
        f'{way} is right in {100 * right[way]:.0f} %, Brier score {brier[way]:.3f}' for way in right
    )
    sure = [each for each in found if max(each.sure, 1 - each.sure) >= SURE]
    if sure:
        numbers += (
            f'; where decide is sure to {100 * SURE:.0f} %, it is right in '
            f'{sum(_is_right(each.sure, each) for each in sure)} of {len(sure)}'
        )
    better = all(right['decide'] > right[way] for way in right if way != 'decide')
    return Verdict(HOLDS if better else FAILS, numbers)


def _ways(found: list[Prediction]) -> tuple[dict[str, float], dict[str, float]]:
    """Of decide and each rule: how often it is right, and its Brier score."""
    ways = {
        'decide': [each.sure for each in found],
        'the rule of 10,000 images': [float(each.images < PAPERS_LIMIT) for each in found],
        'always pre-train': [1.0 for _ in found],
    }
    right = {way: mean(map(_is_right, sure, found)) for way, sure in ways.items()}
    brier = {
        way: mean((p - (each.measured > 0)) ** 2 for p, each in zip(sure, found))
        for way, sure in ways.items()
    }
    return right, brier


def _is_right(sure: float, prediction: Prediction) -> bool:
    return (sure > 0.5) == (prediction.measured > 0)


def covers_schedules(_: Results) -> Verdict:
    """Whether the intervals for longer schedules hold what was measured often enough."""
    found = schedules.predictions()
    if not found:
        return NOTHING
    gaps = _held(found)
    alone = sum(each.scratch.holds(each.measured_scratch) for each in found)
    numbers = (
        f'{gaps} of {len(found)} intervals contain the measured gap, {alone} the measured AP from '
        'scratch; of those by the power law, which serves for images, '
        f'{_held(schedules.predictions(IMAGES))} would contain the gap'
    )
    return Verdict(HOLDS if min(gaps, alone) >= COVERED * len(found) else FAILS, numbers)


def _held(found: list[schedules.SchedulePrediction]) -> int:
    return sum(each.gap.holds(each.measured) for each in found)


def table(results: Results, kind: str) -> str:
    """A row a prediction, in Markdown."""
    return _table(predictions(results, kind))


def table_of_ways(results: Results, kind: str) -> str:
    """A row for decide and for each rule, in Markdown."""
    found = predictions(results, kind)
    right, brier = _ways(found) if found else ({}, {})
    rows = [[w, f'{right[w] * len(found):.0f} of {len(found)}', f'{brier[w]:.3f}'] for w in right]
    return markdown([['way', 'right', 'Brier score'], *rows], 'lrr')


def table_of_boards(_: Results) -> str:
    """The same of the circuit boards."""
    return _table(of_boards())


def table_of_decisions(results: Results) -> str:
    """The same of whole decisions."""
    return _table(of_decisions(results))


def _table(found: list[Prediction]) -> str:
    rows = [
        [each.data, f'{each.images:,}', each.arm, f'{each.gap.middle:+.1f}']
        + [f'{each.gap.low:+.1f} to {each.gap.high:+.1f}', f'{each.measured:+.1f}']
        + ['yes' if each.held else '**no**', f'{each.sure:.2f}']
        for each in found
    ]
    head = ['data', 'images', 'against scratch', 'predicted', '80 % interval', 'measured']
    head += ['contains it', 'sure that it is ahead']
    return markdown([head, *rows], 'l' * len(head))


def table_of_schedules(_: Results) -> str:
    """A row a prediction, in Markdown."""
    rows = [
        [each.study, each.data, ', '.join(map(str, each.seen)), str(each.length)]
        + [f'{each.gap.low:+.1f} to {each.gap.high:+.1f}', f'{each.measured:+.1f}']
        + [f'{each.scratch}', f'{each.measured_scratch:.1f}']
        for each in schedules.predictions()
    ]
    head = ['study', 'data', 'N of Nx, seen', 'predicted', '80 % interval of the gap', 'measured']
    head += ['80 % interval of scratch', 'measured']
    return markdown([head, *rows], 'l' * len(head))
