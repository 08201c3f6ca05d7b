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
        return f'{self.value:+.1f}' + ('' if math.isinf(self.error) else f' ± {self.error:.1f}')


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


def judge_overlap(results: Results) -> Verdict:
    """Scratch's lead at IoU 0.75 over its lead at IoU 0.5, both at the longest schedule."""
    last = plan.LENGTHS[-1]
    leads = {}
    for kind in ('bbox', 'segm'):
        # of each seed: AP75 less AP50, which random and pre-trained weights are compared by
        sides = []
        for name in ('scratch', 'pretrained'):
            values = [final(results, f'{name}_{last}x', f'{kind}_mAP_{iou}') for iou in (75, 50)]
            sides.append([fine - coarse for fine, coarse in zip(*values)])
        leads[kind] = gap(*sides)
    numbers = ', '.join(
        f'scratch gains {leads[kind]} more at IoU 0.75 than at 0.5 in {name} AP at {last}x'
        for kind, name in (('bbox', 'box'), ('segm', 'mask'))
    )
    if any(math.isinf(lead.error) for lead in leads.values()):
        return Verdict(OPEN, f'{numbers} (one seed)')
    return Verdict(_word(leads['bbox']), numbers)


def seen(results: Results, name: str) -> tuple[int, float]:
    """Images and pixels that a run has seen, and those of its pre-training, in one seed."""
    kinds = {name: plan.DETECTION}
    if name.startswith('pretrained'):
        kinds['classifier'] = plan.CLASSIFICATION
    images = {run: results[run][0]['images_seen'] for run in kinds}
    pixels = sum(images[run] * math.prod(data.size) for run, data in kinds.items())
    return sum(images.values()), pixels


def judge_cost(results: Results) -> Verdict:
    """The shortest schedule from scratch that is not behind 2x with pre-training: what it saw."""
    target = final(results, 'pretrained_2x')
    if len(target) < 2:
        return Verdict(OPEN, 'one seed does not tell when two schedules are equal')
    for length in plan.LENGTHS:
        if not gap(target, final(results, f'scratch_{length}x')).is_positive:
            break
    else:
        return Verdict(OPEN, f'no schedule up to {length}x reaches pre-training with 2x')
    (images, pixels), (all_images, all_pixels) = (
        seen(results, name) for name in (f'scratch_{length}x', 'pretrained_2x')
    )
    numbers = (
        f'{length}x from scratch equals 2x with pre-training, with {images / all_images:.2f} times '
        f'the images and {pixels / all_pixels:.2f} times the pixels, pre-training counted'
    )
    return Verdict(HOLDS if images < all_images else FAILS, numbers)


def judge_frozen(results: Results) -> Verdict:
    """What freezing random layers costs."""
    loss = gap(final(results, 'scratch_3x'), final(results, 'frozen_3x'))
    numbers = f'stem and first stage frozen at random cost {loss} box AP at 3x'
    return Verdict(_word(loss), numbers)


def judge_early_drop(results: Results) -> Verdict:
    """Whether the small rate for long loses AP, and whether it fits the training data better."""
    loss = gap(final(results, 'scratch_6x'), final(results, 'scratch_6x_early_drop'))
    late, early = (
        mean(mean(value for _, value in result['loss'][-3:]) for result in results[name])
        for name in ('scratch_6x', 'scratch_6x_early_drop')
    )
    numbers = (
        f'4x longer at the small rate costs {loss} box AP at 6x; the training loss ends at '
        f'{early:.2f} in place of {late:.2f}'
    )
    return Verdict(_word(loss), numbers)


def judge_proposals(results: Results) -> Verdict:
    """A proposal-based detector from scratch against its pre-trained twin and against DSOD.

    Not converging would be a small part of what pre-training reaches; the paper's VGG without it
    reaches 0.99 of it.
    """
    share = mean(final(results, 'scratch_2x')) / mean(final(results, 'pretrained_2x'))
    lead = gap(final(results, 'scratch_2x'), final(results, 'dsod'))
    numbers = (
        f'from scratch it reaches {share:.2f} of the box AP of its pre-trained twin at 2x, and is '
        f'{lead} box AP ahead of DSOD at as many images'
    )
    if len(results['scratch_2x']) < 2:
        return Verdict(OPEN, f'{numbers} (one seed)')
    return Verdict(HOLDS if share < 0.1 else FAILS, numbers)


def judge_ablation(results: Results) -> Verdict:
    """Whether each part of DSOD brings AP."""
    whole = final(results, 'dsod')
    parts = {name: gap(whole, final(results, name)) for name in plan.ABLATION if name != 'dsod'}
    numbers = ', '.join(
        f'the {name.removeprefix("dsod_without_").replace("_", " ")} brings {lead} box AP'
        for name, lead in parts.items()
    )
    words = {_word(lead) for lead in parts.values()}
    if FAILS in words:
        return Verdict(FAILS, numbers)
    return Verdict(OPEN if OPEN in words else HOLDS, numbers)


def _word(lead: Gap) -> str:
    """``holds`` where the lead is beyond the seeds' spread, the contrary where it is behind."""
    if lead.is_positive:
        return HOLDS
    return FAILS if lead.value < -lead.error else OPEN


CLAIMS = (
    Claim(
        number=1,
        title='A detector from random initialization catches up with its pre-trained twin, if it '
        'is trained long enough',
        source='Table 1, figures 1 and 3',
        runs=plan.schedules,
        judge=judge_schedules,
    ),
    Claim(
        number=3,
        title='Training from scratch gains most where boxes and masks have to be exact',
        source='Table 2',
        runs=plan.schedules,
        judge=judge_overlap,
    ),
    Claim(
        number=4,
        title='Training from scratch sees fewer images than pre-training and fine-tuning together',
        source='Figure 2',
        runs=plan.schedules,
        judge=judge_cost,
    ),
    Claim(
        number=8,
        title='Freezing the first layers at random weights costs accuracy',
        source="Detectron's FREEZE_AT, projects/GN",
        runs=plan.frozen,
        judge=judge_frozen,
    ),
    Claim(
        number=9,
        title='Training long at a small learning rate overfits, at a large one it does not',
        source='Section 4',
        runs=plan.early_drop,
        judge=judge_early_drop,
    ),
    Claim(
        number=11,
        title='Detectors with proposals do not converge from scratch, one without them does',
        source="DSOD's own claim (Shen et al., ICCV 2017), which the paper contradicts",
        runs=plan.one_stage,
        judge=judge_proposals,
    ),
    Claim(
        number=12,
        title="DSOD's stem, its blocks behind transitions without pooling, and its dense "
        'prediction layers each bring accuracy',
        source="DSOD's ablation",
        runs=plan.dsod_ablation,
        judge=judge_ablation,
    ),
)
