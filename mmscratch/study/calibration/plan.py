"""What the calibration of decide trains: plans of decide on data sets that differ.

On each data set decide sees parts of up to a quarter of the images. The truth is measured with all
of them.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from mmscratch.study.calibration import data
from mmscratch.study.decide.arm import IMAGENET, SCRATCH, resolve
from mmscratch.study.decide.plan import Plan
from mmscratch.study.run import Run

CONFIG = Path('configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py')
# decide sees so large parts of the images
SHARES = (1 / 16, 1 / 4)
# 4x of 60 iterations: most of the run has the full learning rate, so that scratch learns something
ONE, LENGTH = 60, 4
ITERATIONS = LENGTH * ONE
SEEDS = 2
ARMS = (SCRATCH, IMAGENET)
SCALE = {'drawn': None, 'real': 0.75}


@dataclass(frozen=True)
class Question:
    """What decide sees of a data set, and what tells whether it was right.

    Args:
        seen: the plan of the parts.
        truth: the plan of all images.
    """

    seen: Plan
    truth: Plan


@functools.cache
def questions(kind: str) -> dict[str, Question]:
    """By the name of the data set; ``kind`` is drawn or real."""
    arms = tuple(resolve(ARMS, CONFIG))
    made = {}
    for name, images in data.images(kind).items():
        parts = tuple(round(images * share) for share in SHARES)
        seen = Plan(arms, data.of(name), images, parts, (LENGTH,), ONE, SEEDS, SCALE[kind])
        made[name] = Question(seen, replace(seen, parts=(images,)))
    return made


def runs(seed: int, part: str) -> list[Run]:
    """Those of one seed of all questions of a kind, the truth included."""
    return [
        replace(run, name=f'{name}_{run.name}')
        for name, question in questions(part).items()
        for plan in (question.seen, question.truth)
        for run in plan.runs()
        if run.seed == seed
    ]


def no_runs(seed: int) -> list[Run]:
    """Of a claim that looks at the runs of other studies."""
    return []
