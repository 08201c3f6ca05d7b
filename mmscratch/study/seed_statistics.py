"""Means over the seeds of runs, and how far apart they have to be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, variance
from typing import Any

from scipy.stats import t

# name of a run, without its seed -> the results of its seeds
Results = dict[str, list[dict[str, Any]]]


def final(results: Results, name: str, metric: str = 'bbox_mAP') -> list[float]:
    """The last value of each seed, in percent."""
    return [100 * result['history'][-1][metric] for result in results[name]]


def fine_less_coarse(results: Results, name: str, kind: str = 'bbox') -> list[float]:
    """AP at IoU 0.75 less AP at IoU 0.5 of each seed, in percent; ``kind`` is bbox or segm."""
    fine, coarse = (final(results, name, f'{kind}_mAP_{iou}') for iou in (75, 50))
    return [a - b for a, b in zip(fine, coarse)]


def training_losses(results: Results, name: str) -> list[float]:
    """The training loss at the end of each seed: the mean of its last three records."""
    return [mean(value for _, value in result['loss'][-3:]) for result in results[name]]


@dataclass(frozen=True)
class Gap:
    """The difference of two means, in percent AP, and half of its 95 % confidence interval."""

    value: float
    error: float

    @property
    def is_positive(self) -> bool:
        """Whether the difference is above 0 by more than the seeds' spread explains."""
        return self.value > self.error

    @property
    def is_negative(self) -> bool:
        """Whether the difference is below 0 by more than the seeds' spread explains."""
        return self.value < -self.error

    def __str__(self) -> str:
        # without the sign of a negative zero
        value = f'{round(self.value, 1) + 0.0:+.1f}'
        return value if math.isinf(self.error) else f'{value} ± {self.error:.1f}'


def gap(ahead: list[float], behind: list[float]) -> Gap:
    """How far one mean is ahead of the other; the error is infinite with one seed."""
    return contrast([ahead], [behind])


def contrast(added: Sequence[list[float]], subtracted: Sequence[list[float]]) -> Gap:
    """The sum of means less the sum of other means.

    Student's t, with one spread for all of them: three seeds are too few to estimate several.
    """
    value = sum(map(mean, added)) - sum(map(mean, subtracted))
    samples = [*added, *subtracted]
    if min(len(values) for values in samples) < 2:
        return Gap(value, math.inf)
    return Gap(value, interval(samples) * math.sqrt(sum(1 / len(values) for values in samples)))


def interval(samples: Sequence[list[float]]) -> float:
    """How far a value lies from its mean at most, 95 times of 100; infinite if no sample has two.

    Student's t, with one spread for all samples.
    """
    freedom = sum(len(values) - 1 for values in samples)
    if not freedom:
        return math.inf
    pooled = sum(variance(values) * (len(values) - 1) for values in samples if len(values) > 1)
    return float(t.ppf(0.975, freedom)) * math.sqrt(pooled / freedom)


def spread(values: list[float]) -> str:
    """The mean, with the lowest and the highest in brackets if there are several."""
    text = f'{mean(values):.1f}'
    return text if len(values) == 1 else f'{text} ({min(values):.1f} to {max(values):.1f})'
