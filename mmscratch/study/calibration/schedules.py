"""What decide's law of iterations says of the other studies' longer schedules from shorter ones.

This takes no run of its own.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from mmscratch.study import miniature, real
from mmscratch.study.decide import answer, learning_curve
from mmscratch.study.decide.answer import FURTHEST_ITERATIONS, Interval
from mmscratch.study.decide.learning_curve import ITERATIONS, Law, Observation
from mmscratch.study.page import collect
from mmscratch.study.seed_statistics import Results, final

# Of the names of runs: which data, which initialization, N of Nx
NAME = re.compile(r'(?:(.+)_)?(scratch|pretrained)_(\d+)x')
STUDIES = (miniature.STUDY, real.STUDY)
# What the miniature study calls by no name
ALL_IMAGES = 'all'


@dataclass(frozen=True)
class SchedulePrediction:
    """The gap of pre-training to scratch after a schedule, told from shorter ones.

    Args:
        study: whose runs these are.
        data: what they were trained on.
        seen: N of Nx of the shorter schedules.
        length: N of the longer one.
        gap: predicted, in AP.
        scratch: predicted AP from scratch.
        measured: the gap of the means of the seeds.
        measured_scratch: the mean of the seeds.
    """

    study: str
    data: str
    seen: tuple[int, ...]
    length: int
    gap: Interval
    scratch: Interval
    measured: float
    measured_scratch: float


@functools.cache
def predictions(law: Law = ITERATIONS) -> list[SchedulePrediction]:
    """Of all schedules up to twice as long as the longest of two or more that are seen."""
    return [
        prediction
        for study in STUDIES
        for data, arms in _by_data(collect(study.claims, Path('results') / study.name)).items()
        for prediction in _of_data(study.name, data, arms, law)
    ]


def _by_data(results: Results) -> dict[str, dict[str, dict[int, list[float]]]]:
    """Of each data set, arm and N of Nx, the AP of the seeds."""
    found: dict[str, Any] = defaultdict(lambda: defaultdict(dict))
    for name in results:
        if match := NAME.fullmatch(name):
            data, arm, n = match.groups()
            found[data or ALL_IMAGES][arm][int(n)] = final(results, name)
    return {data: arms for data, arms in found.items() if len(arms) == 2}


def _of_data(
    study: str, data: str, arms: dict[str, dict[int, list[float]]], law: Law
) -> Iterator[SchedulePrediction]:
    lengths = sorted(set.intersection(*map(set, arms.values())))
    for number in range(2, len(lengths)):
        seen = tuple(lengths[:number])
        curves = learning_curve.fit(
            (Observation(arm, n, ap) for arm in arms for n in seen for ap in arms[arm][n]),
            law,
        )
        for n in lengths[number:]:
            if n <= FURTHEST_ITERATIONS * seen[-1]:
                yield SchedulePrediction(
                    study,
                    data,
                    seen,
                    n,
                    answer.interval(curves.gap('pretrained', 'scratch', n)),
                    answer.interval(curves.ap('scratch', n)),
                    mean(arms['pretrained'][n]) - mean(arms['scratch'][n]),
                    mean(arms['scratch'][n]),
                )
