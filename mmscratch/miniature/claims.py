"""The paper's claims, and what the study's runs say of each."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, variance
from typing import Any

from scipy.stats import t

from mmscratch.miniature import data, plan
from mmscratch.miniature.run import Run

# AP that no untrained detector reaches
MIN_AP = 5.0
# Of the other side's mean, for one that has caught up: the paper calls 35.2 against 35.6 so
AS_GOOD = 0.98
# Of the other side's training loss, for one that fits its images as well
AS_LOW = 1.05
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
    """A claim, where it stands, its experiment, its judge and its table's columns.

    ``full_size`` is what the source measured, for the reader to compare; no judge uses it.
    ``rule`` is the judge's in words; ``reason`` is what was found where the claim does not hold
    or is not decided.
    """

    number: int
    title: str
    source: str
    full_size: str
    setup: str
    rule: str
    runs: Callable[[Sequence[int]], list[Run]]
    judge: Callable[[Results], Verdict]
    metrics: Sequence[str] = ('bbox_mAP', 'segm_mAP')
    reason: str = ''

    def verdict(self, results: Results) -> Verdict:
        """What the judge says; one seed of any run decides nothing."""
        verdict = self.judge(results)
        if min(len(results[run.name]) for run in self.runs([0])) < 2:
            return Verdict(OPEN, f'{verdict.numbers} (one seed)')
        return verdict


def final(results: Results, name: str, metric: str = 'bbox_mAP') -> list[float]:
    """The last value of each seed, in percent."""
    return [100 * result['history'][-1][metric] for result in results[name]]


@dataclass(frozen=True)
class Gap:
    """The difference of two means, in percent AP, and half of its 95 % confidence interval."""

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
    return contrast([ahead], [behind])


def contrast(added: Sequence[list[float]], subtracted: Sequence[list[float]]) -> Gap:
    """The sum of means less the sum of other means.

    Student's t, with one spread for all of them: three seeds are too few to tell several.
    """
    value = sum(map(mean, added)) - sum(map(mean, subtracted))
    sides = [*added, *subtracted]
    if min(len(values) for values in sides) < 2:
        return Gap(value, math.inf)
    return Gap(value, interval(sides) * math.sqrt(sum(1 / len(values) for values in sides)))


def interval(samples: Sequence[list[float]]) -> float:
    """How far a value lies from its mean at most, 95 times of 100; infinite if no sample has two.

    Student's t, with one spread for all samples.
    """
    freedom = sum(len(values) - 1 for values in samples)
    if not freedom:
        return math.inf
    pooled = sum(variance(values) * (len(values) - 1) for values in samples if len(values) > 1)
    return float(t.ppf(0.975, freedom)) * math.sqrt(pooled / freedom)


def as_good(own: list[float], other: list[float]) -> str:
    """``holds`` if the mean is as good as the other's, the contrary if it is behind for sure.

    A spread that is wide enough hides any difference, so that one within it shows nothing alone.
    """
    if mean(own) >= AS_GOOD * mean(other):
        return HOLDS
    return FAILS if gap(other, own).is_positive else OPEN


def catches_up(results: Results, prefix: str = '') -> Verdict:
    """Pre-training ahead at the shortest schedule, and scratch as good at the longest."""
    gaps = {length: twins_gap(results, prefix, length) for length in (plan.SHORTEST, plan.LONGEST)}
    numbers = ', '.join(f'at {n}x pre-training is {g} box AP ahead' for n, g in gaps.items())
    if not gaps[plan.SHORTEST].is_positive:
        return Verdict(OPEN, numbers)
    return Verdict(as_good(*twins_ends(results, prefix, plan.LONGEST)), numbers)


def twins_ends(
    results: Results, prefix: str, length: int, metric: str = 'bbox_mAP'
) -> tuple[list[float], list[float]]:
    """AP of scratch and of pre-training at one schedule."""
    scratch, pretrained = (
        final(results, f'{prefix}{kind}_{length}x', metric) for kind in plan.INITIALIZATIONS
    )
    return scratch, pretrained


def twins_gap(results: Results, prefix: str, length: int, metric: str = 'bbox_mAP') -> Gap:
    """How far pre-training is ahead at one schedule."""
    scratch, pretrained = twins_ends(results, prefix, length, metric)
    return gap(pretrained, scratch)


def best(
    results: Results, prefix: str, kind: str, lengths: Sequence[int] = plan.FEW_LENGTHS
) -> tuple[int, list[float]]:
    """The length with the best mean box AP, as the paper compares on small data, and its values."""
    values = {n: final(results, f'{prefix}{kind}_{n}x') for n in lengths}
    length = max(values, key=lambda n: mean(values[n]))
    return length, values[length]


def judge_learning_rates(results: Results) -> Verdict:
    """Whether the shared rate is as good for pre-training as every other one."""
    rates = {rate: final(results, name) for rate, name in plan.LEARNING_RATES.items()}
    chosen = final(results, 'pretrained_2x')
    numbers = 'box AP at 2x with pre-training: ' + ', '.join(
        f'{mean(values):.1f} at {rate}' for rate, values in rates.items()
    )
    return Verdict(_all(as_good(chosen, values) for values in rates.values()), numbers)


def judge_batch_norm(results: Results) -> Verdict:
    """BN of a step's 8 images as GN in claim 1, and BN of 2 and of 1 image behind GN."""
    twins = catches_up(results, 'bn_')
    gn = final(results, 'scratch_3x')
    losses = {n: gap(gn, final(results, f'bn{n}_scratch_3x')) for n in (2, 1)}
    numbers = ', '.join(
        f'{n} image{"s" if n > 1 else ""} at a time cost BN {loss} box AP against GN at 3x'
        for n, loss in losses.items()
    )
    words = [twins.word, *(_word(loss) for loss in losses.values())]
    return Verdict(_all(words), f'with BN of 8 images, {twins.numbers}; {numbers}')


def judge_overlap(results: Results) -> Verdict:
    """Scratch's lead at IoU 0.75 over its lead at IoU 0.5, both at the longest schedule.

    Boxes decide: of masks the paper's own table does not show it.
    """
    last = plan.LONGEST
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
    return Verdict(_word(leads['bbox']), numbers)


def seen(results: Results, name: str) -> tuple[float, float, float]:
    """Images, objects and pixels that a run has seen, its pre-training's among them; one seed."""
    kinds = {name: data.DETECTION}
    if name.startswith('pretrained'):
        kinds['classifier'] = data.CLASSIFICATION
    rows = [
        (images, images * results[run][0]['objects_per_image'], images * math.prod(drawn.size))
        for run, drawn in kinds.items()
        for images in [results[run][0]['images_seen']]
    ]
    images, objects, pixels = (sum(column) for column in zip(*rows))
    return images, objects, pixels


def judge_cost(results: Results) -> Verdict:
    """What the shortest schedule from scratch saw whose mean is that of 2x with pre-training."""
    target = mean(final(results, 'pretrained_2x'))
    for length in plan.LENGTHS:
        if mean(final(results, f'scratch_{length}x')) >= target:
            break
    else:
        return Verdict(OPEN, f'no schedule up to {plan.LONGEST}x reaches pre-training with 2x')
    scratch, together = (seen(results, name) for name in (f'scratch_{length}x', 'pretrained_2x'))
    shares = [f'{own / all_:.2f}' for own, all_ in zip(scratch, together)]
    numbers = (
        f'{length}x from scratch reaches 2x with pre-training, with {shares[0]} times the images, '
        f'{shares[1]} times the objects and {shares[2]} times the pixels, pre-training counted'
    )
    return Verdict(HOLDS if scratch[0] < together[0] else FAILS, numbers)


def judge_less_data(results: Results) -> Verdict:
    """Best schedule against best schedule: scratch as good on a tenth, behind on a hundredth.

    Scratch whose best schedule is the longest may have been stopped too early: being behind on a
    tenth shows nothing then, and on a hundredth only if the training images are fitted as well.
    """
    words, numbers = [], []
    for prefix, (images, lengths) in plan.SUBSETS.items():
        (at, ahead), (scratch_at, behind) = (
            best(results, prefix, kind, lengths) for kind in ('pretrained', 'scratch')
        )
        lead = gap(ahead, behind)
        longest = lengths[-1]
        loss, least = (
            mean(training_losses(results, f'{prefix}{kind}_{longest}x'))
            for kind in plan.INITIALIZATIONS
        )
        numbers.append(
            f'with {images} images pre-training ({at}x) is {lead} box AP ahead of scratch '
            f'({scratch_at}x), with training losses of {least:.2f} and {loss:.2f} at {longest}x'
        )
        if images == plan.TENTH:
            word = as_good(behind, ahead)
            words.append(OPEN if word == FAILS and scratch_at == longest else word)
        else:
            words += [_word(lead), HOLDS if loss <= AS_LOW * least else OPEN]
    return Verdict(_all(words), '; '.join(numbers))


def training_losses(results: Results, name: str) -> list[float]:
    """At the end of each seed: the mean of its last three records."""
    return [mean(value for _, value in result['loss'][-3:]) for result in results[name]]


def judge_sparse(results: Results) -> Verdict:
    """Pre-training's lead with few instances and classes over its lead with many."""
    few, many = (
        [best(results, prefix, kind)[1] for kind in ('pretrained', 'scratch')]
        for prefix in ('sparse_', 'tenth_')
    )
    wider = contrast([few[0], many[1]], [few[1], many[0]])
    numbers = (
        f'with {plan.TENTH} images pre-training is {gap(*few)} box AP ahead with few objects of 2 '
        f'classes, {gap(*many)} with many of 6: {wider} more'
    )
    return Verdict(_word(wider), numbers)


def judge_vgg(results: Results) -> Verdict:
    """MSRA beyond what an untrained detector reaches, and Gaussian at a tenth of it or less."""
    msra, gaussian = (mean(final(results, f'vgg_{name}')) for name in ('msra', 'gaussian'))
    numbers = f'box AP is {msra:.1f} with MSRA, {gaussian:.1f} with Gaussian 0.01'
    if msra < MIN_AP:
        return Verdict(FAILS, numbers)
    return Verdict(HOLDS if gaussian < msra / 10 else FAILS, numbers)


def judge_keypoints(results: Results) -> Verdict:
    """Where scratch is as good as pre-training in one AP, it is still behind in the other.

    A schedule decides that is long enough for one of the two alone, if both are learned by then:
    scratch is not behind where pre-training finds nothing either.
    """
    kinds = {'keypoint': ('keypoint_', 'keypoints_mAP'), 'box': ('', 'bbox_mAP')}
    leads = {
        name: {n: twins_gap(results, prefix, n, metric) for n in plan.FEW_LENGTHS}
        for name, (prefix, metric) in kinds.items()
    }
    numbers = '; '.join(
        f'pre-training is ahead in {name} AP by '
        + ', '.join(f'{lead} at {n}x' for n, lead in of_lengths.items())
        for name, of_lengths in leads.items()
    )
    for n in plan.FEW_LENGTHS:
        learned = (final(results, f'{k}pretrained_{n}x', metric) for k, metric in kinds.values())
        if min(map(mean, learned)) < MIN_AP:
            continue
        keypoint, box = (
            as_good(*twins_ends(results, prefix, n, metric)) for prefix, metric in kinds.values()
        )
        if (keypoint, box) == (HOLDS, FAILS):
            return Verdict(HOLDS, numbers)
        if (keypoint, box) == (FAILS, HOLDS):
            return Verdict(FAILS, numbers)
    return Verdict(OPEN, numbers)


def judge_frozen(results: Results) -> Verdict:
    """What freezing random layers costs."""
    loss = gap(final(results, 'scratch_3x'), final(results, 'frozen_3x'))
    numbers = f'stem and first stage frozen at random cost {loss} box AP at 3x'
    return Verdict(_word(loss), numbers)


def judge_early_drop(results: Results) -> Verdict:
    """What 2x gains by the same number of iterations at the small rate, and at the large one."""
    names = ('scratch_2x', 'scratch_6x_early_drop', 'scratch_6x')
    short, small, large = (final(results, name) for name in names)
    losses = [f'{mean(training_losses(results, name)):.2f}' for name in names]
    more = (plan.LONGEST - 2) * plan.ONE
    numbers = (
        f'{more} iterations more than 2x bring {gap(small, short)} box AP at the small rate, '
        f'{gap(large, short)} at the large one; the training loss goes from {losses[0]} to '
        f'{losses[1]} and {losses[2]}'
    )
    return Verdict(_all(_word(lead) for lead in (gap(short, small), gap(large, short))), numbers)


def judge_proposals(results: Results) -> Verdict:
    """A proposal-based detector from scratch against its pre-trained twin and against DSOD.

    Not converging would be a small part of what pre-training reaches; the paper's VGG without it
    reaches 0.99 of it.
    """
    share = mean(final(results, 'scratch_4x')) / mean(final(results, 'pretrained_4x'))
    lead = gap(final(results, 'scratch_4x'), final(results, 'dsod'))
    numbers = (
        f'from scratch it reaches {share:.2f} of the box AP of its pre-trained twin at 4x, and is '
        f'{lead} box AP ahead of DSOD at as many images'
    )
    if share >= 0.1:
        return Verdict(FAILS, numbers)
    return Verdict(HOLDS if mean(final(results, 'dsod')) >= MIN_AP else OPEN, numbers)


def judge_ablation(results: Results) -> Verdict:
    """Whether each part of DSOD brings AP."""
    whole = final(results, 'dsod_whole')
    parts = {
        name: gap(whole, final(results, name)) for name in plan.ABLATION if name != 'dsod_whole'
    }
    numbers = ', '.join(
        f'the {name.removeprefix("dsod_without_").replace("_", " ")} brings {lead} box AP'
        for name, lead in parts.items()
    )
    return Verdict(_all(_word(lead) for lead in parts.values()), numbers)


def _word(lead: Gap) -> str:
    """``holds`` where the lead is beyond the seeds' spread, the contrary where it is behind."""
    if lead.is_positive:
        return HOLDS
    return FAILS if lead.value < -lead.error else OPEN


def _all(words: Iterable[str]) -> str:
    """Of a claim with several parts: all have to hold."""
    words = set(words)
    if FAILS in words:
        return FAILS
    return OPEN if OPEN in words else HOLDS


CLAIMS = (
    Claim(
        number=0,
        title='No other learning rate suits pre-training better than the one that both sides share',
        source='Section 5.2 chooses hyper-parameters with pre-training',
        full_size='The paper searched with pre-training, and kept the same rates from scratch.',
        setup='2x with pre-training at four rates, of which 0.08 is the shared one.',
        rule='holds if the shared rate is as good as any other; does not hold if another is better '
        'by more than the interval.',
        runs=plan.learning_rates,
        judge=judge_learning_rates,
    ),
    Claim(
        number=1,
        title='A detector from random initialization catches up with its pre-trained twin, if it '
        'is trained long enough',
        source='Table 1, figures 1 and 3',
        full_size='COCO, R50-FPN GN, box AP: random 36.8 and pre-trained 40.3 at 2x, 41.3 and 41.1 '
        'at 6x.',
        setup='1x to 6x from random and from pre-trained weights.',
        rule='pre-training has to be ahead at 1x by more than the interval. It holds if scratch is '
        'as good at 6x, and does not hold if it is behind there by more than the interval.',
        runs=plan.schedules,
        judge=catches_up,
    ),
    Claim(
        number=2,
        title='The same holds with BN over all images of a step (SyncBN), while BN over one or two '
        'images falls behind GN',
        source='Figure 4, section 3.1; Group Normalization (Wu and He, ECCV 2018)',
        full_size='Group Normalization is for the few images that fit a GPU; figure 4 shows SyncBN '
        'as figure 1 shows GN.',
        setup='Detector and classifier with BN in place of GN, at 1x and 6x; and 3x from scratch '
        'with the 8 images of a step taken 2 and 1 at a time.',
        rule="holds if BN's twins do what claim 1 asks, and BN of 2 and of 1 image are both behind "
        'GN by more than the interval; does not hold if one part is contradicted.',
        runs=plan.batch_norm,
        judge=judge_batch_norm,
        reason='What does not hold is the part on 8 images; that on 2 and 1 does. From scratch BN '
        'learns slower here than GN, 10.1 box AP against 22.4 after 450 iterations at the constant '
        'rate. It comes closer to its pre-trained twin, from 17.3 behind after 675 iterations to '
        '7.7 after 1,199, and AP still rises; longer schedules were not run. With 2 and 1 images '
        'the training loss is about that of GN (1.91 and 1.68 at 3x, GN 1.85), which points at the '
        'running statistics that BN uses in testing.',
    ),
    Claim(
        number=3,
        title='Training from scratch gains most where boxes have to be exact',
        source='Table 2',
        full_size="Of R50's 6x and R101's, random is ahead in box AP75 by 1.0 and 0.8 and in AP50 "
        'by 0.1 and 0.3; of masks by 0.2 and 0.0, and 0.5 and 0.2.',
        setup='6x of claim 1.',
        rule='holds if AP75 less AP50 of boxes is higher from scratch by more than the interval; '
        'does not hold if it is lower by as much. Masks do not decide: of them the paper shows no '
        'such gain.',
        runs=plan.longest,
        judge=judge_overlap,
        metrics=tuple(
            f'{kind}_mAP{iou}' for kind in ('bbox', 'segm') for iou in ('', '_50', '_75')
        ),
        reason="The paper's own difference, 0.5 to 0.9 AP, is hardly larger than what four seeds "
        'can tell here.',
    ),
    Claim(
        number=4,
        title='Training from scratch sees fewer images than pre-training and fine-tuning together',
        source='Figure 2',
        full_size='Fewer images and objects by far, and about as many pixels: 1.28 million images '
        'are seen 100 times in pre-training, COCO three times as often without it.',
        setup='Runs of claim 1, and what their pre-training saw: 48,000 images of 64 x 64 pixels '
        'with one object each, whose number is a choice of this study.',
        rule='the shortest schedule from scratch whose mean reaches that of 2x with pre-training '
        'is compared with it; holds if it saw fewer images. Pixels do not decide: here they are '
        'far fewer too, since images for pre-training are small.',
        runs=plan.schedules,
        judge=judge_cost,
    ),
    Claim(
        number=5,
        title='With a tenth of the data scratch still catches up, with a hundredth it does not, '
        'although its training loss does',
        source='Figures 7 and 8, section 5.2',
        full_size='COCO, box AP with pre-training and from scratch: 26.0 and 25.9 with 10k images, '
        '16.0 and 9.3 with 3.5k, 9.9 and 3.5 with 1k.',
        setup='300 and 30 of the 3,000 images, one draw for all seeds; the settings that the paper '
        'changed for 35k images (those for fewer are not published): scale jitter, twice the '
        'learning rate, drops to 0.02 of it. On all 3,000 images this rate is worse (claim 0). '
        'The best of 1x, 3x and 6x is compared, and of 12x on the tenth, which was added when 6x '
        'had been too short to tell: in one go, on another processor, with classifiers trained '
        'again there (right on 97.1, 97.4 and 96.9 %). The paper took the best of each side too, '
        'from scratch of schedules up to 3.7 times longer.',
        rule='holds if scratch is as good on a tenth, and on a hundredth behind by more than the '
        'interval with a training loss at 6x that is higher by 5 % at most; does not hold if one '
        'part is contradicted by more than the interval. But scratch that is behind on a tenth and '
        'best at 12x, the longest, may need more, and decides nothing.',
        runs=plan.less_data,
        judge=judge_less_data,
        reason='From 6x to 12x scratch gains 13.6 with 300 images and pre-training 11.5, so that '
        'its lead shrinks, and both still rise: at 12x each of the 300 images has been seen 72 '
        'times; of COCO, each of the 10,000 was seen 96 times with pre-training and 352 times from '
        'scratch until it rose no more. With 30 images 12x was not tried.',
    ),
    Claim(
        number=6,
        title='Few objects an image and few classes widen the gap at the same number of images',
        source='Section 5.2, PASCAL VOC',
        full_size='VOC, 15k images with 2.3 objects each: mAP 82.7 with pre-training, 77.6 from '
        'scratch.',
        setup='300 images with one or two objects of 2 classes, and those of claim 5.',
        rule="holds if pre-training's lead, best schedule against best schedule, is larger with "
        'few objects than with many by more than the interval; does not hold if it is smaller by '
        'as much.',
        runs=plan.sparse,
        judge=judge_sparse,
        reason='With few objects the seeds differ by up to 8.5 box AP at one length, with many by '
        '3.8: the 300 images of the first have 468 objects. Few classes also ease the task (10.6 '
        'with pre-training at 1x, 1.6 with many), which works against the claim. And schedules may '
        'end too early here: from 3x to 6x scratch still gains 8.8 with few objects, pre-training '
        "4.4; the paper's scratch on VOC was trained until more iterations brought nothing.",
    ),
    Claim(
        number=7,
        title="Without normalization a VGG trains from MSRA's initialization and not from "
        'Gaussian 0.01',
        source='Section 5.1, VGG-16',
        full_size='COCO, Faster R-CNN on VGG-16: box AP 35.6 at 9x with pre-training, 35.2 at 11x '
        'from scratch.',
        setup='Faster R-CNN on VGG-16 at a quarter of its width, 1,200 iterations of 8 images.',
        rule='holds if MSRA reaches 5 AP, and Gaussian not a tenth of it.',
        runs=plan.vgg,
        judge=judge_vgg,
    ),
    Claim(
        number=8,
        title='Freezing the first layers at random weights costs accuracy',
        source="Detectron's FREEZE_AT, projects/GN",
        full_size="Detectron's Mask R-CNN R50 from scratch, 3x: box AP 36.2 with the stem and the "
        'first stage frozen at random by mistake, 39.5 without.',
        setup='3x of claim 1, and with the stem and the first stage left at their random weights.',
        rule='holds if freezing costs more AP than the interval; does not hold if it brings more.',
        runs=plan.frozen,
        judge=judge_frozen,
    ),
    Claim(
        number=9,
        title='Training long at a small learning rate overfits, at a large one it does not',
        source='Section 4',
        full_size='Said in words: no numbers.',
        setup='2x and 6x of claim 1, and 6x with the first drop where 2x has it: compared with 2x, '
        'the one is longer at the large rate, the other at the small one.',
        rule='holds if being longer at the small rate loses AP and at the large one gains, each by '
        'more than the interval; does not hold if one part is contradicted.',
        runs=plan.early_drop,
        judge=judge_early_drop,
        reason='2x is far from converged here, so that more iterations help at any rate: of 6x it '
        'has 0.4 of the AP, while on COCO it has 0.9.',
    ),
    Claim(
        number=10,
        title='In keypoints scratch catches up sooner than in boxes',
        source='Figure 6',
        full_size='COCO, keypoint AP at 2x: 65.6 random, 65.5 pre-trained.',
        setup='Corners as keypoints, at 1x, 3x and 6x, and the boxes of claim 1.',
        rule='a length decides at which scratch is as good in one AP, and in the other behind by '
        'more than the interval, if pre-training has 5 AP in both by then.',
        runs=plan.keypoints,
        judge=judge_keypoints,
        metrics=('bbox_mAP', 'keypoints_mAP'),
        reason='Keypoints are hardly learned in this time. The shapes of pre-training have corners '
        'too, which may help more than ImageNet helps with people; that was not tested.',
    ),
    Claim(
        number=11,
        title='Detectors with proposals do not converge from scratch, one without them does',
        source="DSOD's own claim (Shen et al., ICCV 2017), which the paper contradicts",
        full_size='COCO, Mask R-CNN R50-FPN GN from scratch, 4x: box AP 40.6, pre-trained 40.9. '
        'DSOD300: 29.3.',
        setup='DSOD for 450 iterations of 16 images, as many as 4x of claim 1 sees in twice as '
        'many steps; its learning rate was not searched.',
        rule='holds if scratch has not a tenth of the AP of its pre-trained twin, while DSOD has 5 '
        'AP; does not hold if scratch has more.',
        runs=plan.one_stage,
        judge=judge_proposals,
    ),
    Claim(
        number=12,
        title="DSOD's stem, its blocks behind transitions without pooling, and its dense "
        'prediction layers each bring accuracy',
        source="DSOD's ablation",
        full_size='VOC 2007, DS/64-192-48-1: mAP 77.3 with stem against 74.5, 77.7 with dense '
        'prediction against 77.3; transitions without pooling bring 1.7 to a smaller one.',
        setup='DSOD for 300 iterations of 16 images with 1 to 4 large objects of 3 classes: on the '
        'images of the other claims it learns too little in this time to tell its parts '
        'apart.',
        rule='holds if each part brings more AP than the interval; does not hold if one costs '
        'more.',
        runs=plan.dsod_ablation,
        judge=judge_ablation,
        reason='All parts bring something in the mean, as in the paper, but the seeds differ more.',
    ),
)
