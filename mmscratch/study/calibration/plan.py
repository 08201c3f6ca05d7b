"""What the calibration of decide trains: plans of decide on data sets that differ.

On each data set decide sees parts of up to a quarter of the images. The truth is measured with all
of them.
"""

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmscratch.study import miniature
from mmscratch.study.calibration import data
from mmscratch.study.decide.arm import IMAGENET, SCRATCH, Arm, resolve
from mmscratch.study.decide.plan import Plan
from mmscratch.study.run import Data, Run

# decide sees so large parts of the images
SHARES = (1 / 16, 1 / 4)
# 4x: most of the run has the full learning rate
LENGTH = 4
SEEDS = 2
# the decide.json of whole decisions, each by the name of its data set
DECISIONS = Path('results/calibration/decisions')


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


@dataclass(frozen=True)
class Decided:
    """What decide said in a budget, and what tells whether it was right.

    Args:
        said: its decide.json.
        truth: the plan of all images, with the longest schedule alone.
    """

    said: dict[str, Any]
    truth: Plan


@functools.cache
def decided() -> dict[str, Decided]:
    """By the name of the data set."""
    found = {}
    for file in sorted(DECISIONS.glob('*.json')):
        said = json.loads(file.read_text())
        asked = said['question']
        arms = [Arm(**each | dict(arguments=tuple(each['arguments']))) for each in asked['arms']]
        data = Data(file.stem, asked['data'], Path(said['folders']['data']))
        kept = Plan.of_file(said, arms, data)
        truth = replace(kept, parts=(kept.images,), lengths=kept.lengths[-1:])
        found[file.stem] = Decided(said, truth)
    return found


def runs_of_decisions(seed: int) -> list[Run]:
    """Those of one seed that tell whether the whole decisions were right."""
    return [
        replace(run, name=f'{name}_{run.name}')
        for name, each in decided().items()
        for run in each.truth.runs
        if run.seed == seed
    ]


def no_runs(seed: int) -> list[Run]:
    """Of a claim that looks at the runs of other studies."""
    return []
