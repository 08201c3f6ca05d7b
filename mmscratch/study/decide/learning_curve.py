"""Average precision against the number of images, fitted and carried on, with its uncertainty.

The error of a detector falls with its training images as a power of their number, towards a rest
that more images don't remove (Hestness et al. 2017, arXiv 1712.00409; Mahmood et al. 2022,
arXiv 2207.01725)::

    100 - AP = a + b * n ** -c

The same law describes AP against iterations.

Three or four numbers of images with two or three seeds don't determine three parameters an arm.
Therefore the parameters have prior distributions, and those of the arms are alike: the arms share
detector and data. Samples of the posterior are found by randomized maximum likelihood (Oliver et
al. 1996): observations and centres of the priors are moved at random within their deviations, and
each time the best fit is a sample.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

# Prior of the deviation of a seed, in AP, and of how many seeds' worth this is known
SEED_DEVIATION, SEED_FREEDOM = 1.2, 3
# Priors, each a mean and a deviation: of the logit of the error at the most images; of the logit of
# the share of that error which no images remove; of the logarithm of the exponent
ERROR, REST, EXPONENT = (0.0, 2.0), (0.5, 1.5), (np.log(0.5), 0.6)
# Deviations of an arm from what is common to the arms
REST_OF_ARM, EXPONENT_OF_ARM = 0.7, 0.4
# The law is not the truth: so many points of AP may a difference of two arms deviate from it, at
# e times as many images as were measured (or one e-th of the fewest)
MISFIT = 0.8
DRAWS = 400


@dataclass(frozen=True)
class Observation:
    """The AP of one run.

    Args:
        arm: its initialization.
        amount: its training images, or its iterations.
        ap: in percent.
    """

    arm: str
    amount: int
    ap: float


@dataclass(frozen=True)
class LearningCurves:
    """Samples of the curves of all arms.

    Args:
        arms: in the order of the samples.
        fewest: of the amounts that were measured.
        most: of these.
        error: of each draw and arm at ``most``, as a share.
        rest: of each draw and arm, the share of ``error`` that stays.
        exponent: of each draw and arm.
        misfit: of each draw and arm, in deviations.
    """

    arms: tuple[str, ...]
    fewest: int
    most: int
    error: NDArray[np.float64] = field(repr=False)
    rest: NDArray[np.float64] = field(repr=False)
    exponent: NDArray[np.float64] = field(repr=False)
    misfit: NDArray[np.float64] = field(repr=False)

    def ap(self, arm: str, amount: float) -> NDArray[np.float64]:
        """AP in percent of each draw: the mean over seeds, not the AP of one run."""
        i = self.arms.index(arm)
        curve = _curve(self.error[:, i], self.rest[:, i], self.exponent[:, i], amount / self.most)
        outside = max(np.log(amount / self.most), np.log(self.fewest / amount), 0.0)
        # two arms deviate from each other by the square root of 2 more
        return np.clip(curve + self.misfit[:, i] * outside * MISFIT / np.sqrt(2), 0, 100)

    def gap(self, ahead: str, behind: str, amount: float) -> NDArray[np.float64]:
        """How far one arm is ahead of another in each draw, in AP."""
        return self.ap(ahead, amount) - self.ap(behind, amount)

    def crossing(
        self, ahead: str, behind: str, amounts: Sequence[float], within: float = 0.0
    ) -> NDArray[np.float64]:
        """The first of ``amounts`` from which ``behind`` is not behind by more than ``within`` AP.

        Returns:
            one amount a draw; infinite where it is still behind at the last one.
        """
        near = np.stack([self.gap(ahead, behind, amount) <= within for amount in amounts])
        # from there on
        stays = np.logical_and.accumulate(near[::-1])[::-1]
        first = np.array(amounts, float)[np.argmax(stays, axis=0)]
        return np.where(stays.any(axis=0), first, np.inf)


def _curve(error, rest, exponent, ratio):  # type: ignore[no-untyped-def]
    """AP in percent at ``ratio`` times the most images measured."""
    return 100 * (1 - error * (rest + (1 - rest) * ratio**-exponent))


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def fit(observations: Iterable[Observation], draws: int = DRAWS, seed: int = 0) -> LearningCurves:
    """Sample curves that agree with the observations.

    Args:
        observations: of at least one amount and one seed for each arm; the more the narrower.
        draws: samples.
        seed: of the samples; the same observations and seed give the same ones.

    Example:
        >>> curves = fit([Observation('scratch', 60, 20.4), Observation('scratch', 1000, 39.7),
        ...               Observation('imagenet', 60, 31.6), Observation('imagenet', 1000, 51.9)])
        >>> low, high = np.quantile(curves.gap('imagenet', 'scratch', 4000), (0.1, 0.9))
    """
    observations = sorted(observations, key=lambda o: (o.arm, o.amount, o.ap))
    arms = tuple(dict.fromkeys(o.arm for o in observations))
    which = np.array([arms.index(o.arm) for o in observations])
    amounts = np.array([o.amount for o in observations], float)
    seen = np.array([o.ap for o in observations])
    most = amounts.max()
    ratio = amounts / most
    # common rest and exponent, then error, rest and exponent of each arm
    centre = np.concatenate([[REST[0], EXPONENT[0]], np.repeat([ERROR[0], 0.0, 0.0], len(arms))])
    deviation = np.concatenate(
        [[REST[1], EXPONENT[1]], np.repeat([ERROR[1], REST_OF_ARM, EXPONENT_OF_ARM], len(arms))]
    )

    def parameters(theta):  # type: ignore[no-untyped-def]
        error, rest, exponent = theta[2:].reshape(3, -1)
        return _logistic(error), _logistic(theta[0] + rest), np.exp(theta[1] + exponent)

    def residuals(theta, target, prior, sigma):  # type: ignore[no-untyped-def]
        error, rest, exponent = (values[which] for values in parameters(theta))
        fitted = _curve(error, rest, exponent, ratio)
        return np.concatenate([(fitted - target) / sigma, (theta - prior) / deviation])

    def jacobian(theta, target, prior, sigma):  # type: ignore[no-untyped-def]
        error, rest, exponent = (values[which] for values in parameters(theta))
        power = ratio**-exponent
        of_error = -error * (1 - error) * (rest + (1 - rest) * power)
        of_rest = -error * (1 - power) * rest * (1 - rest)
        of_exponent = error * (1 - rest) * power * np.log(ratio) * exponent
        rows = np.zeros((len(ratio), len(centre)))
        rows[:, 0], rows[:, 1] = of_rest, of_exponent
        every = np.arange(len(ratio))
        for k, values in enumerate((of_error, of_rest, of_exponent)):
            rows[every, 2 + k * len(arms) + which] = values
        return np.concatenate([100 * rows / sigma, np.diag(1 / deviation)])

    random = np.random.default_rng(seed)
    best = least_squares(residuals, centre, jacobian, args=(seen, centre, SEED_DEVIATION)).x
    squares, freedom = _within_groups(observations)
    samples = []
    for _ in range(draws):
        weight = random.chisquare(SEED_FREEDOM + freedom)
        sigma = np.sqrt((SEED_FREEDOM * SEED_DEVIATION**2 + squares) / weight)
        target = seen + sigma * random.standard_normal(len(seen))
        prior = centre + deviation * random.standard_normal(len(centre))
        theta = least_squares(residuals, best, jacobian, method='lm', args=(target, prior, sigma)).x
        samples.append(np.stack(parameters(theta)))
    error, rest, exponent = np.stack(samples, axis=1)
    misfit = random.standard_normal((draws, len(arms)))
    return LearningCurves(arms, int(amounts.min()), int(most), error, rest, exponent, misfit)


def _within_groups(observations: Sequence[Observation]) -> tuple[float, int]:
    """The sum of squares of seeds about their means, and its degrees of freedom."""
    groups: dict[tuple[str, int], list[float]] = {}
    for o in observations:
        groups.setdefault((o.arm, o.amount), []).append(o.ap)
    squares = sum(float(np.var(values)) * len(values) for values in groups.values())
    return squares, sum(len(values) - 1 for values in groups.values())
