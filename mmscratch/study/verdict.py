"""The words of a verdict, and the rules that decide them."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

from mmscratch.study.seed_statistics import Gap, gap

# Share of the other side's mean AP that has caught up: the paper calls 35.2 against 35.6 so
AS_GOOD = 0.98
HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'not decided'


@dataclass(frozen=True)
class Verdict:
    """``holds``, ``does not hold`` or ``not decided``, and the numbers that say so."""

    word: str
    numbers: str


def ahead(lead: Gap) -> str:
    """``holds`` if the lead is positive beyond the seeds' spread, the contrary if negative."""
    return HOLDS if lead.is_positive else FAILS if lead.is_negative else OPEN


def as_good(own: list[float], other: list[float]) -> str:
    """``holds`` if the mean is as good as the other's, the contrary if it is surely behind.

    A difference within the seeds' spread shows nothing: a wide spread would hide any.
    """
    if mean(own) >= AS_GOOD * mean(other):
        return HOLDS
    return FAILS if gap(other, own).is_positive else OPEN


def best_rate(rates: dict[float, list[float]], chosen: list[float]) -> Verdict:
    """Whether a learning rate is as good for pre-training as every other one, by AP at 2x."""
    numbers = 'box AP at 2x with pre-training: ' + ', '.join(
        f'{mean(values):.1f} at {rate}' for rate, values in rates.items()
    )
    return Verdict(all_of(as_good(chosen, values) for values in rates.values()), numbers)


def all_of(words: Iterable[str]) -> str:
    """The word on a claim of several parts, which all have to hold."""
    words = set(words)
    return FAILS if FAILS in words else OPEN if OPEN in words else HOLDS
