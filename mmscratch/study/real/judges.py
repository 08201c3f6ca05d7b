"""What the results of runs say of a claim: one function a claim, by the rule in claims.yml."""

from statistics import mean

from mmscratch.study.real import plan
from mmscratch.study.seed_statistics import Gap, Results, contrast, final, fine_less_coarse, gap
from mmscratch.study.verdict import FAILS, HOLDS, OPEN, Verdict, ahead, as_good, best_rate


def learning_rates(results: Results) -> Verdict:
    """Whether the shared rate is as good for pre-training as every other one."""
    rates = {rate: final(results, plan.at_rate(rate)) for rate in plan.LEARNING_RATES}
    return best_rate(rates, rates[plan.LEARNING_RATE])


def lead(results: Results, part: str, length: int, metric: str = 'bbox_mAP') -> Gap:
    """How far ImageNet's weights are ahead at the end of one schedule."""
    scratch, pretrained = (
        final(results, f'{part}_{arm}_{length}x', metric) for arm in plan.INITIALIZATIONS
    )
    return gap(pretrained, scratch)


def catches_up(results: Results, part: str) -> Verdict:
    """Scratch as good as ImageNet's weights at the longest schedule, and where it becomes so."""
    numbers = "ImageNet's lead in box AP is " + ', '.join(
        f'{lead(results, part, n)} at {n}x' for n in plan.LENGTHS
    )
    words = {n: _as_good_at(results, part, n) for n in plan.LENGTHS}
    late = [n for n in plan.LENGTHS if words[n] == HOLDS]
    numbers += f'; scratch is as good first at {late[0]}x' if late else '; scratch is never as good'
    before, last = plan.LENGTHS[-2:]
    return Verdict(words[last], f'{numbers}; {_rises(results, part, before, last)}')


def _as_good_at(results: Results, part: str, length: int) -> str:
    return as_good(*(final(results, f'{part}_{arm}_{length}x') for arm in plan.INITIALIZATIONS))


def _rises(results: Results, part: str, before: int, last: int) -> str:
    """What a longer schedule brings to both sides, in words."""
    rises = [
        gap(final(results, f'{part}_{arm}_{last}x'), final(results, f'{part}_{arm}_{before}x'))
        for arm in plan.INITIALIZATIONS
    ]
    return f'from {before}x to {last}x scratch gains {rises[0]} and ImageNet {rises[1]}'


def twice_as_long(results: Results, part: str) -> Verdict:
    """Scratch as good as ImageNet's weights after twice the longest schedule."""
    last = plan.LONGER
    numbers = (
        f"ImageNet's lead is {lead(results, part, last)} box AP at {last}x; "
        f'{_rises(results, part, plan.LONGEST, last)}'
    )
    return Verdict(_as_good_at(results, part, last), numbers)


def bought_back(results: Results, part: str) -> str:
    """How many iterations from scratch reach what ImageNet's weights have after the shortest."""
    target = mean(final(results, f'{part}_pretrained_{plan.SHORTEST}x'))
    reaching = [n for n in plan.LENGTHS if mean(final(results, f'{part}_scratch_{n}x')) >= target]
    start = f'{plan.PARTS[part][2]}: ImageNet at {plan.SHORTEST}x has {target:.1f} box AP'
    if not reaching:
        return f'{start}, and scratch has less up to {plan.LONGEST}x'
    return f'{start}, which scratch reaches by {reaching[0]}x'


def iterations(results: Results) -> Verdict:
    """Whether scratch reaches ImageNet's shortest schedule on every part within the longest."""
    said = [bought_back(results, part) for part in plan.PARTS]
    short = [text for text in said if 'has less' in text]
    return Verdict(FAILS if short else HOLDS, '; '.join(said))


def fewer_images(results: Results) -> Verdict:
    """ImageNet's lead with the fewest images of a data set over its lead with all of them."""
    few, many = (
        [final(results, f'{part}_{arm}_{plan.LONGEST}x') for arm in ('pretrained', 'scratch')]
        for part in ('deeppcb60', 'deeppcb')
    )
    wider = contrast([few[0], many[1]], [few[1], many[0]])
    numbers = (
        f"at {plan.LONGEST}x ImageNet's lead is {gap(*few)} box AP with 60 images and {gap(*many)} "
        f'with 1,000: a difference of {wider}'
    )
    return Verdict(ahead(wider), numbers)


def overlap(results: Results, part: str) -> Verdict:
    """ImageNet's lead in AP75 against its lead in AP50, at the longest schedule."""
    length = plan.LONGEST
    leads = [lead(results, part, length, f'bbox_mAP_{iou}') for iou in (75, 50)]
    gain = gap(*(fine_less_coarse(results, f'{part}_{a}_{length}x') for a in plan.INITIALIZATIONS))
    numbers = (
        f"at {length}x ImageNet's lead is {leads[0]} in box AP75 and {leads[1]} in box AP50: "
        f'scratch gains {gain} more at IoU 0.75'
    )
    return Verdict(ahead(gain), numbers)


def few_labels(results: Results) -> Verdict:
    """Each way without ImageNet against plain training from scratch, at as many pixels."""
    scratch = final(results, plan.arm_name('scratch'))
    gains = {arm: gap(final(results, plan.arm_name(arm)), scratch) for arm in plan.OWN_ARMS}
    numbers = ', '.join(f'{arm} brings {gain} box AP' for arm, gain in gains.items())
    words = [ahead(gain) for gain in gains.values()]
    word = HOLDS if HOLDS in words else OPEN if OPEN in words else FAILS
    return Verdict(word, f'against scratch, {numbers}')


def frozen(results: Results) -> Verdict:
    """A frozen backbone of ImageNet's weights as good as one that is trained on."""
    tuned, kept, small = (
        final(results, plan.arm_name(arm)) for arm in ('pretrained', 'frozen', 'frozen-small')
    )
    numbers = (
        f'the frozen backbone brings {gap(kept, tuned)} box AP with larger heads, '
        f'{gap(small, tuned)} with the same heads, against one that is trained'
    )
    return Verdict(as_good(kept, tuned), numbers)
