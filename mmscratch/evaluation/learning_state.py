"""Whether a run still learns, has reached a plateau, or overfits, from its validations."""

from collections.abc import Sequence
from statistics import fmean, median

from mmscratch.evaluation.metric_names import short

LEAST = 5  # validations
# A change of AP that is told, in 0..1, however smooth the curve is
CHANGE = 0.005
# sd of values around a straight line, by the median of their second differences' sizes: such a
# difference has the variance 1 + 4 + 1, and the median of |x| is 0.6745 sd
SECOND_DIFFERENCES = 0.6745 * 6**0.5


def learning_state(
    iterations: Sequence[int], ap: Sequence[float], train_ap: Sequence[float] | None = None
) -> str:
    """One line: still learning, plateau, or overfitting since which iteration.

    AP is smoothed: a mean of three validations stands at the middle one. A change counts if it is
    larger than twice the standard deviation of a single validation, which is estimated by the
    second differences of the curve, and larger than 0.5 AP. The rule, in this order:

    1. Fewer than five validations tell nothing.
    2. AP has fallen since its peak: ``overfitting`` if AP on training images has not; ``falling``
       if that has fallen too, or was not measured.
    3. AP has risen within the last third of the validations: ``still learning``.
    4. Else ``plateau``, since the first validation from which on AP stayed that close to its end.

    A plateau can end with the next drop of the learning rate, of which the rule knows nothing.

    Args:
        iterations: of the validations, ascending.
        ap: on the validation images, in 0..1.
        train_ap: on training images (:class:`mmscratch.hooks.TrainApHook`).

    Example:
        >>> learning_state([100, 200, 300, 400, 500], [0.1, 0.2, 0.3, 0.4, 0.5])
        'still learning: AP rose by 10.0 in the last 100 iterations'
    """
    if len(ap) < LEAST:
        return f'too early to tell: {len(ap)} of {LEAST} validations'
    least = max(CHANGE, 2 * _noise(ap))
    smooth, middle = _smoothed(ap), iterations[1:-1]
    peak = max(range(len(smooth)), key=smooth.__getitem__)
    fall = smooth[peak] - smooth[-1]
    if fall > least:
        begin = f'since iteration {middle[peak]:,}'
        fell = f'AP fell by {100 * fall:.1f}'
        if train_ap is None:
            return f'falling {begin}: {fell}; TrainApHook tells whether the detector overfits'
        seen = _smoothed(train_ap)
        change = seen[-1] - seen[peak]
        if change > -least:
            return (
                f'overfitting {begin}: {fell}, on training images it changed by {100 * change:+.1f}'
            )
        return f'falling {begin}, on training images too: {fell}; lower the learning rate'
    before = min(2 * len(smooth) // 3, len(smooth) - 2)
    rise = smooth[-1] - smooth[before]
    if rise > least:
        span = middle[-1] - middle[before]
        return f'still learning: AP rose by {100 * rise:.1f} in the last {span:,} iterations'
    far = [i for i, value in enumerate(smooth) if abs(value - smooth[-1]) > least]
    since = middle[far[-1] + 1 if far else 0]
    return f'plateau since iteration {since:,}: AP changes by no more than {100 * least:.1f}'


def train_name(name: str) -> str:
    """``train_bbox_mAP`` of ``coco/bbox_mAP``, ``train_voc_mAP`` of ``pascal_voc/mAP``."""
    return f'train_{short(name)}'


def _smoothed(values: Sequence[float]) -> list[float]:
    return [fmean(values[i : i + 3]) for i in range(len(values) - 2)]


def _noise(values: Sequence[float]) -> float:
    """Standard deviation of single values around a smooth curve."""
    sizes = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:])]
    return median(sizes) / SECOND_DIFFERENCES
