"""What the calibration of decide trains: plans of decide on data sets that differ.

On each data set decide sees parts of up to a quarter of the images. The truth is measured with all
of them.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from mmscratch.study import miniature
from mmscratch.study.calibration import data
from mmscratch.study.decide.arm import IMAGENET, SCRATCH, Arm, resolve
from mmscratch.study.decide.plan import Plan
from mmscratch.study.run import Run

# decide sees so large parts of the images
SHARES = (1 / 16, 1 / 4)
# 4x: most of the run has the full learning rate
LENGTH = 4
SEEDS = 2


@dataclass(frozen=True)
class Kind:
    """What data sets of one kind are trained with.

    Args:
        config: of the detector.
        arms: scratch, and what is compared with it.
        one: iterations of 1x.
        scale: of the config's image size.
    """

    config: Path
    arms: tuple[Arm, ...]
    one: int
    scale: float | None = None

    @property
    def iterations(self) -> int:
        """Of a run."""
        return LENGTH * self.one


# begins with the classifier that stands in for ImageNet in miniature
PRETRAINED = 'pretrained'
_DRAWN = Path('configs/miniature/faster_rcnn_r18_gn_muon.py')
_REAL = Path('configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py')
KINDS = {
    'drawn': Kind(_DRAWN, tuple(Arm(arm, str(_DRAWN)) for arm in (SCRATCH, PRETRAINED)), one=40),
    'real': Kind(_REAL, tuple(resolve((SCRATCH, IMAGENET), _REAL)), one=60, scale=0.75),
}


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
    how = KINDS[kind]
    made = {}
    for name, images in data.images(kind).items():
        parts = tuple(round(images * share) for share in SHARES)
        seen = Plan(how.arms, data.of(name), images, parts, (LENGTH,), how.one, SEEDS, how.scale)
        made[name] = Question(seen, replace(seen, parts=(images,)))
    return made


def runs(seed: int, part: str) -> list[Run]:
    """Those of one seed of all questions of a kind, the truth included."""
    return [
        replace(run, name=f'{name}_{run.name}', weights=_weights(run))
        for name, question in questions(part).items()
        for plan in (question.seen, question.truth)
        for run in plan.runs
        if run.seed == seed
    ]


def _weights(run: Run) -> Run | None:
    """One classifier for all."""
    return miniature.plan.pre_training(0) if f'_{PRETRAINED}_' in run.name else None


def no_runs(seed: int) -> list[Run]:
    """Of a claim that looks at the runs of other studies."""
    return []
