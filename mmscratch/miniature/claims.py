"""The paper's claims, and what the study's runs say of each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from mmscratch.miniature import plan
from mmscratch.miniature.run import Run

HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'not decided'
# name of a run, without its seed -> the results of its seeds
Results = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Verdict:
    """``holds``, ``does not hold`` or ``not decided``, and the numbers that say so."""

    word: str
    numbers: str


@dataclass(frozen=True)
class Claim:
    """A claim, where it stands in the paper, what has to be run for it, and its judge."""

    number: int
    title: str
    source: str
    runs: Callable[[Sequence[int]], list[Run]]
    judge: Callable[[Results], Verdict]


def final(results: Results, name: str, metric: str = 'bbox_mAP') -> list[float]:
    """The last value of each seed, in percent."""
    return [100 * result['history'][-1][metric] for result in results[name]]


@dataclass(frozen=True)
class Gap:
    """The difference of two means, in percent AP, and twice its standard error."""

    value: float
    error: float

    @property
    def is_positive(self) -> bool:
        """Beyond what the seeds' spread explains."""
        return self.value > self.error

    def __str__(self) -> str:
        return f'{self.value:+.1f} ± {self.error:.1f}'


def gap(ahead: list[float], behind: list[float]) -> Gap:
    """How far one mean is ahead of the other; the error is infinite with one seed."""
    if min(len(ahead), len(behind)) < 2:
        return Gap(mean(ahead) - mean(behind), math.inf)
    variance = sum(stdev(values) ** 2 / len(values) for values in (ahead, behind))
    return Gap(mean(ahead) - mean(behind), 2 * math.sqrt(variance))


def judge_schedules(results: Results) -> Verdict:
    """Pre-training ahead at the shortest schedule, and not any more at the longest."""
    first, last = plan.LENGTHS[0], plan.LENGTHS[-1]
    gaps = {
        length: gap(final(results, f'pretrained_{length}x'), final(results, f'scratch_{length}x'))
        for length in (first, last)
    }
    numbers = ', '.join(f'at {n}x pre-training is {g} box AP ahead' for n, g in gaps.items())
    if math.isinf(gaps[first].error):
        return Verdict(OPEN, f'{numbers} (one seed)')
    if not gaps[first].is_positive:
        return Verdict(OPEN, numbers)
    return Verdict(FAILS if gaps[last].is_positive else HOLDS, numbers)


CLAIMS = (
    Claim(
        number=1,
        title='A detector from random initialization catches up with its pre-trained twin, if it '
        'is trained long enough',
        source='Table 1, figures 1 and 3',
        runs=plan.schedules,
        judge=judge_schedules,
    ),
)
