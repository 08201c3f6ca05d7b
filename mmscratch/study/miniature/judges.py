"""What the results of runs say of a claim: one function a claim, by the rule in claims.yml."""

import math
from collections.abc import Sequence
from statistics import mean

from mmscratch.study.miniature import data, plan
from mmscratch.study.seed_statistics import (
    Gap,
    Results,
    contrast,
    final,
    fine_less_coarse,
    gap,
    training_losses,
)
from mmscratch.study.verdict import FAILS, HOLDS, OPEN, Verdict, ahead, all_of, as_good, best_rate

# AP that no untrained detector reaches
MIN_AP = 5.0
# Share of the other side's training loss at which the images are fitted as well
AS_LOW = 1.05


def twins(
    results: Results, prefix: str, length: int, metric: str = 'bbox_mAP'
) -> tuple[list[float], list[float]]:
    """AP of scratch and of pre-training at the end of one schedule."""
    scratch, pretrained = (
        final(results, f'{prefix}{kind}_{length}x', metric) for kind in plan.INITIALIZATIONS
    )
    return scratch, pretrained


def pretraining_lead(results: Results, prefix: str, length: int, metric: str = 'bbox_mAP') -> Gap:
    """How far pre-training is ahead at the end of one schedule."""
    scratch, pretrained = twins(results, prefix, length, metric)
    return gap(pretrained, scratch)


def best(
    results: Results, prefix: str, kind: str, lengths: Sequence[int] = plan.COARSE_LENGTHS
) -> tuple[int, list[float]]:
    """The length with the best mean box AP, as the paper compares on small data, and its values."""
    values = {n: final(results, f'{prefix}{kind}_{n}x') for n in lengths}
    length = max(values, key=lambda n: mean(values[n]))
    return length, values[length]


def learning_rates(results: Results) -> Verdict:
    """Whether the shared rate is as good for pre-training as every other one."""
    rates = {rate: final(results, name) for rate, name in plan.LEARNING_RATES.items()}
    return best_rate(rates, final(results, 'pretrained_2x'))


def catches_up(results: Results, prefix: str = '', longest: int = plan.LONGER) -> Verdict:
    """Pre-training ahead at the shortest schedule, and scratch as good at the longest."""
    leads = {n: pretraining_lead(results, prefix, n) for n in (plan.SHORTEST, longest)}
    first = leads[plan.SHORTEST]
    numbers = "pre-training's lead in box AP is " + ' and '.join(
        f'{lead} at {length}x' for length, lead in leads.items()
    )
    if longest > plan.LONGEST:
        scratch, pretrained = (
            gap(*sides)
            for sides in zip(twins(results, prefix, longest), twins(results, prefix, plan.LONGEST))
        )
        numbers += (
            f'; from {plan.LONGEST}x to {longest}x scratch gains {scratch} and pre-training '
            f'{pretrained}'
        )
    if not first.is_positive:
        return Verdict(OPEN, numbers)
    return Verdict(as_good(*twins(results, prefix, longest)), numbers)


def batch_norm(results: Results) -> Verdict:
    """BN of a step's 8 images as GN in claim 1, and BN of 2 and of 1 image behind GN."""
    of_eight = catches_up(results, 'bn_', plan.LONGEST)
    gn = final(results, 'scratch_3x')
    losses = {n: gap(gn, final(results, f'bn{n}_scratch_3x')) for n in (2, 1)}
    numbers = ', '.join(
        f'{n} image{"s" if n > 1 else ""} at a time cost BN {loss} box AP against GN at 3x'
        for n, loss in losses.items()
    )
    word = all_of([of_eight.word, *map(ahead, losses.values())])
    return Verdict(word, f'with BN of 8 images, {of_eight.numbers}; {numbers}')


def overlap(results: Results) -> Verdict:
    """Scratch's lead at IoU 0.75 over its lead at IoU 0.5, both at the longest schedule.

    Boxes decide: the paper's own table does not show it of masks.
    """
    last = plan.LONGER
    # compared by what each side gains from IoU 0.5 to 0.75
    leads = {
        kind: gap(
            *(fine_less_coarse(results, f'{name}_{last}x', kind) for name in plan.INITIALIZATIONS)
        )
        for kind in ('bbox', 'segm')
    }
    numbers = ', '.join(
        f'scratch gains {leads[kind]} more at IoU 0.75 than at 0.5 in {name} AP at {last}x'
        for kind, name in (('bbox', 'box'), ('segm', 'mask'))
    )
    return Verdict(ahead(leads['bbox']), numbers)


def seen(results: Results, name: str) -> tuple[float, ...]:
    """Images, objects and pixels that one seed of a run and its pre-training have seen."""
    kinds = {name: data.DETECTION}
    if name.startswith('pretrained'):
        kinds['classifier'] = data.CLASSIFICATION
    rows = [
        (images, images * results[run][0]['objects_per_image'], images * math.prod(drawn.size))
        for run, drawn in kinds.items()
        for images in [results[run][0]['images_seen']]
    ]
    return tuple(sum(column) for column in zip(*rows))


def cost(results: Results) -> Verdict:
    """What the shortest schedule from scratch saw whose mean is that of 2x with pre-training."""
    target = mean(final(results, 'pretrained_2x'))
    reaching = (n for n in plan.LENGTHS if mean(final(results, f'scratch_{n}x')) >= target)
    if (length := next(reaching, None)) is None:
        return Verdict(OPEN, f'no schedule up to {plan.LONGEST}x reaches pre-training with 2x')
    scratch, together = (seen(results, name) for name in (f'scratch_{length}x', 'pretrained_2x'))
    shares = [f'{own / all_:.2f}' for own, all_ in zip(scratch, together)]
    numbers = (
        f'{length}x from scratch reaches 2x with pre-training, with {shares[0]} times the images, '
        f'{shares[1]} times the objects and {shares[2]} times the pixels, pre-training counted'
    )
    return Verdict(HOLDS if scratch[0] < together[0] else FAILS, numbers)


def less_data(results: Results) -> Verdict:
    """Best schedule against best schedule: scratch as good on a tenth, behind on a hundredth.

    Scratch whose best schedule is the longest may have been stopped too early. Being behind shows
    nothing then on a tenth, and on a hundredth only if the training images are fitted as well.
    """
    words, numbers = [], []
    for prefix, (images, lengths) in plan.SUBSETS.items():
        longest = lengths[-1]
        (at, pretrained), (scratch_at, scratch) = (
            best(results, prefix, kind, lengths) for kind in ('pretrained', 'scratch')
        )
        lead = gap(pretrained, scratch)
        loss, least = (
            mean(training_losses(results, f'{prefix}{kind}_{longest}x'))
            for kind in plan.INITIALIZATIONS
        )
        numbers.append(
            f"with {images} images pre-training's lead ({at}x) over scratch ({scratch_at}x) is "
            f'{lead} box AP, with training losses of {least:.2f} and {loss:.2f} at {longest}x'
        )
        if images == plan.TENTH:
            word = as_good(scratch, pretrained)
            words.append(OPEN if word == FAILS and scratch_at == longest else word)
        else:
            words += [ahead(lead), HOLDS if loss <= AS_LOW * least else OPEN]
    return Verdict(all_of(words), '; '.join(numbers))


def sparse(results: Results) -> Verdict:
    """Pre-training's lead with few instances and classes over its lead with many."""
    few, many = (
        [best(results, prefix, kind)[1] for kind in ('pretrained', 'scratch')]
        for prefix in ('sparse_', 'tenth_')
    )
    wider = contrast([few[0], many[1]], [few[1], many[0]])
    numbers = (
        f"with {plan.TENTH} images pre-training's lead is {gap(*few)} box AP with few objects of 2 "
        f'classes and {gap(*many)} with many of 6: a difference of {wider}'
    )
    return Verdict(ahead(wider), numbers)


def vgg(results: Results) -> Verdict:
    """MSRA beyond what an untrained detector reaches, and Gaussian at a tenth of it or less."""
    msra, gaussian = (mean(final(results, f'vgg_{name}')) for name in ('msra', 'gaussian'))
    numbers = f'box AP is {msra:.1f} with MSRA, {gaussian:.1f} with Gaussian 0.01'
    return Verdict(HOLDS if msra >= MIN_AP and gaussian < msra / 10 else FAILS, numbers)


def frozen(results: Results) -> Verdict:
    """What freezing random layers costs."""
    loss = gap(final(results, 'scratch_3x'), final(results, 'frozen_3x'))
    return Verdict(ahead(loss), f'stem and first stage frozen at random cost {loss} box AP at 3x')


def early_drop(results: Results) -> Verdict:
    """What 2x gains by the same number of iterations at the small rate, and at the large one."""
    names = ('scratch_2x', 'scratch_6x_early_drop', 'scratch_6x')
    short, small, large = (final(results, name) for name in names)
    losses = [f'{mean(training_losses(results, name)):.2f}' for name in names]
    more = (plan.LONGEST - 2) * plan.SCHEDULE.one
    numbers = (
        f'{more} iterations more than 2x bring {gap(small, short)} box AP at the small rate, '
        f'{gap(large, short)} at the large one; the training loss goes from {losses[0]} to '
        f'{losses[1]} and {losses[2]}'
    )
    return Verdict(all_of(map(ahead, (gap(short, small), gap(large, short)))), numbers)


def keypoints(results: Results) -> Verdict:
    """Where scratch is as good as pre-training in one AP, it is still behind in the other.

    A schedule decides that is long enough for one of the two alone, if both are learned by then:
    scratch is not behind where pre-training finds nothing either.
    """
    kinds = {'keypoint': ('keypoint_', 'keypoints_mAP'), 'box': ('', 'bbox_mAP')}
    leads = {
        name: {n: pretraining_lead(results, prefix, n, metric) for n in plan.COARSE_LENGTHS}
        for name, (prefix, metric) in kinds.items()
    }
    numbers = '; '.join(
        f"pre-training's lead in {name} AP is "
        + ', '.join(f'{lead} at {n}x' for n, lead in of_lengths.items())
        for name, of_lengths in leads.items()
    )
    for n in plan.COARSE_LENGTHS:
        ends = [twins(results, prefix, n, metric) for prefix, metric in kinds.values()]
        keypoint, box = (as_good(scratch, pretrained) for scratch, pretrained in ends)
        learned = min(mean(pretrained) for _, pretrained in ends) >= MIN_AP
        if learned and {keypoint, box} == {HOLDS, FAILS}:
            return Verdict(keypoint, numbers)
    return Verdict(OPEN, numbers)


def proposals(results: Results) -> Verdict:
    """A proposal-based detector from scratch against its pre-trained twin and against DSOD.

    A detector that does not converge reaches a small part of what pre-training does; the paper's
    VGG from scratch reaches 0.99 of it.
    """
    share = mean(final(results, 'scratch_4x')) / mean(final(results, 'pretrained_4x'))
    lead = gap(final(results, 'scratch_4x'), final(results, 'dsod'))
    numbers = (
        f'from scratch it reaches {share:.2f} of the box AP of its pre-trained twin at 4x; its '
        f'lead over DSOD is {lead} box AP at as many images'
    )
    if share >= 0.1:
        return Verdict(FAILS, numbers)
    return Verdict(HOLDS if mean(final(results, 'dsod')) >= MIN_AP else OPEN, numbers)


def ablation(results: Results) -> Verdict:
    """Whether each part of DSOD brings AP."""
    whole, *others = plan.ABLATION
    gains = {name: gap(final(results, whole), final(results, name)) for name in others}
    numbers = ', '.join(
        f'the {name.removeprefix("dsod_without_").replace("_", " ")} brings {gain} box AP'
        for name, gain in gains.items()
    )
    return Verdict(all_of(map(ahead, gains.values())), numbers)
