"""Average precision against images or iterations, fitted and carried on, with its uncertainty.

Three or four numbers of images with two or three seeds don't determine the three parameters of a
law for each arm. Therefore the parameters have prior distributions. Those of the arms are alike,
since the arms share detector and data. Samples of the posterior are found by randomized maximum
likelihood (Oliver et al. 1996): observations and centres of the priors are moved at random within
their deviations, and each time the best fit is a sample.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

# Prior of the deviation of a seed, in AP, and of how many seeds' worth this is known
SEED_DEVIATION, SEED_FREEDOM = 1.2, 3
# The law is not the truth: so many points of AP may a difference of two arms deviate from it, at
# e times as much as the most that was measured (or one e-th of the least)
MISFIT = 0.8
DRAWS = 400

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Law(ABC):
    """A law with three parameters, and their priors: each a mean and a deviation.

    Args:
        level: prior of the logit of the law's first share, of each arm.
        bound: prior of the logit of its second share, common to the arms.
        exponent: prior of the logarithm of its exponent, common to the arms.
        bound_of_arm: deviation of an arm from the common ``bound``.
        exponent_of_arm: deviation of an arm from the common ``exponent``.
    """

    level: tuple[float, float]
    bound: tuple[float, float]
    exponent: tuple[float, float]
    bound_of_arm: float
    exponent_of_arm: float

    @abstractmethod
    def ap(self, level: Values, bound: Values, exponent: Values, ratio: Values | float) -> Values:
        """AP in percent at ``ratio`` times the largest amount that was measured."""

    @abstractmethod
    def gradient(self, level: Values, bound: Values, exponent: Values, ratio: Values) -> Values:
        """Derivatives of :meth:`ap` by level, bound and exponent, one row each."""


class PowerLaw(Law):
    """The error falls as a power of the images, towards a rest that more images don't remove.

    See Hestness et al. 2017 (arXiv 1712.00409) and Mahmood et al. 2022 (arXiv 2207.01725)::

        100 - AP = a + b * n ** -c

    ``level`` is the AP at the most images, ``bound`` the share of the error there that stays.
    """

    def ap(self, level: Values, bound: Values, exponent: Values, ratio: Values | float) -> Values:
        """AP in percent at ``ratio`` times the most images."""
        rest = _share(bound)
        return 100 * (1 - _share(-level) * (rest + (1 - rest) * ratio ** -np.exp(exponent)))

    def gradient(self, level: Values, bound: Values, exponent: Values, ratio: Values) -> Values:
        """Derivatives of :meth:`ap` by level, bound and exponent, one row each."""
        error, rest, power = 100 * _share(-level), _share(bound), np.exp(exponent)
        fallen = ratio**-power
        return np.stack(
            [
                error * _share(level) * (rest + (1 - rest) * fallen),
                -error * rest * (1 - rest) * (1 - fallen),
                error * (1 - rest) * fallen * power * np.log(ratio),
            ]
        )


class LogLogistic(Law):
    """AP against iterations begins slowly, rises, and approaches a ceiling::

        AP = ceiling / (1 + (h / n) ** k)

    This is the law of Alabdulmohsin et al. 2022 (arXiv 2209.06640) with their exponent alpha = 1:
    the power law holds near the ceiling, and a detector that has hardly begun to learn is far from
    it. ``level`` is the share of the ceiling that the longest schedule reaches, ``bound`` the
    ceiling.
    """

    def ap(self, level: Values, bound: Values, exponent: Values, ratio: Values | float) -> Values:
        """AP in percent at ``ratio`` times the longest schedule."""
        return 100 * _share(bound) / (1 + np.exp(-level) * ratio ** -np.exp(exponent))

    def gradient(self, level: Values, bound: Values, exponent: Values, ratio: Values) -> Values:
        """Derivatives of :meth:`ap` by level, bound and exponent, one row each."""
        ceiling, power = 100 * _share(bound), np.exp(exponent)
        missing = np.exp(-level) * ratio**-power
        rise = ceiling * missing / (1 + missing) ** 2
        return np.stack(
            [rise, ceiling * _share(-bound) / (1 + missing), rise * power * np.log(ratio)]
        )


def _share(logit: Values) -> Values:
    return 1 / (1 + np.exp(-logit))


# The priors of ITERATIONS are wide enough for the runs of this project's studies: see
# results/calibration/README.md.
IMAGES = PowerLaw((0.0, 2.0), (0.5, 1.5), (np.log(0.5), 0.6), 0.7, 0.4)
ITERATIONS = LogLogistic((1.0, 2.0), (0.0, 1.0), (np.log(2.0), 0.6), 0.5, 0.4)


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
        law: that the curves follow.
        measured: of each arm the least and the largest amount; in the order of the samples.
        parameters: level, bound and exponent of each draw and arm.
        misfit: of each draw and arm, in deviations.
    """

    law: Law
    measured: dict[str, tuple[int, int]]
    parameters: Values = field(repr=False)
    misfit: Values = field(repr=False)

    @property
    def arms(self) -> tuple[str, ...]:
        """In the order of the samples."""
        return tuple(self.measured)

    @property
    def most(self) -> int:
        """The largest amount that was measured, of any arm."""
        return max(most for _, most in self.measured.values())

    def ap(self, arm: str, amount: float) -> NDArray[np.float64]:
        """AP in percent of each draw: the mean over seeds, not the AP of one run."""
        i = self.arms.index(arm)
        fewest, most = self.measured[arm]
        level, bound, exponent = self.parameters[..., i]
        curve = self.law.ap(level, bound, exponent, amount / self.most)
        outside = max(np.log(amount / most), np.log(fewest / amount), 0.0)
        # two arms deviate from each other by the square root of 2 more
        return np.clip(curve + self.misfit[:, i] * outside * MISFIT / np.sqrt(2), 0, 100)

    def gap(self, ahead: str, behind: str, amount: float) -> NDArray[np.float64]:
        """How far one arm is ahead of another in each draw, in AP."""
        return self.ap(ahead, amount) - self.ap(behind, amount)

    def crossing(self, ahead: str, behind: str, amounts: Sequence[float]) -> NDArray[np.float64]:
        """The first of ``amounts`` from which ``behind`` is not behind.

        Returns:
            one amount a draw; infinite where it is still behind at the last one.
        """
        near = np.stack([self.gap(ahead, behind, amount) <= 0 for amount in amounts])
        # from there on
        stays = np.logical_and.accumulate(near[::-1])[::-1]
        first = np.array(amounts, float)[np.argmax(stays, axis=0)]
        return np.where(stays.any(axis=0), first, np.inf)


def fit(
    observations: Iterable[Observation], law: Law = IMAGES, draws: int = DRAWS, seed: int = 0
) -> LearningCurves:
    """Sample curves that agree with the observations.

    Args:
        observations: of at least one amount and one seed for each arm; the more the narrower.
        law: that the curves follow.
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
    ratio = amounts / amounts.max()
    # common bound and exponent, then level, bound and exponent of each arm
    each = len(arms)
    centre = np.array([law.bound[0], law.exponent[0], *[law.level[0]] * each, *[0.0] * 2 * each])
    deviation = np.repeat(
        [law.bound[1], law.exponent[1], law.level[1], law.bound_of_arm, law.exponent_of_arm],
        [1, 1, each, each, each],
    )

    def parameters(theta: Values) -> Values:
        level, bound, exponent = theta[2:].reshape(3, -1)
        return np.stack([level, theta[0] + bound, theta[1] + exponent])

    def residuals(theta: Values, target: Values, prior: Values, sigma: float) -> Values:
        level, bound, exponent = parameters(theta)[:, which]
        fitted = law.ap(level, bound, exponent, ratio)
        return np.concatenate([(fitted - target) / sigma, (theta - prior) / deviation])

    columns = 2 + which + each * np.arange(3)[:, None]
    rows = np.arange(len(seen))

    def jacobian(theta: Values, target: Values, prior: Values, sigma: float) -> Values:
        level, bound, exponent = parameters(theta)[:, which]
        gradient = law.gradient(level, bound, exponent, ratio) / sigma
        fitted = np.zeros((len(seen), len(theta)))
        # what the arms have in common, and what is an arm's own
        fitted[:, :2] = gradient[1:].T
        fitted[rows, columns] = gradient
        return np.concatenate([fitted, np.diag(1 / deviation)])

    random = np.random.default_rng(seed)
    # with numerical derivatives a fit takes more than three times as long
    best = least_squares(residuals, centre, jacobian, args=(seen, centre, SEED_DEVIATION)).x
    squares, freedom = _within_groups(observations)
    samples = []
    for _ in range(draws):
        weight = random.chisquare(SEED_FREEDOM + freedom)
        sigma = np.sqrt((SEED_FREEDOM * SEED_DEVIATION**2 + squares) / weight)
        target = seen + sigma * random.standard_normal(len(seen))
        prior = centre + deviation * random.standard_normal(len(centre))
        theta = least_squares(residuals, best, jacobian, method='lm', args=(target, prior, sigma)).x
        samples.append(parameters(theta))
    misfit = random.standard_normal((draws, len(arms)))
    of_arms = {arm: [o.amount for o in observations if o.arm == arm] for arm in arms}
    measured = {arm: (min(own), max(own)) for arm, own in of_arms.items()}
    return LearningCurves(law, measured, np.stack(samples, axis=1), misfit)


def _within_groups(observations: Sequence[Observation]) -> tuple[float, int]:
    """The sum of squares of seeds about their means, and its degrees of freedom."""
    groups: dict[tuple[str, int], list[float]] = {}
    for o in observations:
        groups.setdefault((o.arm, o.amount), []).append(o.ap)
    squares = sum(float(np.var(values)) * len(values) for values in groups.values())
    return squares, sum(len(values) - 1 for values in groups.values())
