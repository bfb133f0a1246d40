"""Tests and intervals. Pure: numbers in, numbers out; what is drawn at random is drawn from a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from serinus.checks import NotApplicable

SEED = 20_240
"""Of everything drawn at random: the same answers, the same verdict."""
DRAWS = 2_000
"""Resamples of a bootstrap, and the fewest permutations of a test."""
CONFIDENCE = 0.95
"""Of the intervals that are shown; no verdict hangs on them."""

Statistic = Callable[[Any], float]
"""Row numbers, an array of integers -> a number."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, and how it was made."""

    low: float
    high: float
    method: str

    def __str__(self) -> str:
        return f"{CONFIDENCE:.0%} interval {self.low:.3f} to {self.high:.3f}, {self.method}"


def needed(name: str) -> Any:
    """A library of the extra ``checks``, imported.

    Raises:
        NotApplicable: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotApplicable(f"this needs {name.partition('.')[0]}", "pip install 'serinus[checks]'") from None


def share(right: int, rows: int) -> Interval:
    """The interval of a share: exact (Clopper and Pearson, "The Use of Confidence or Fiducial Limits", 1934).

    Args:
        right: how many are.
        rows: of how many, at least 1.
    """
    found = needed("scipy.stats").binomtest(right, rows).proportion_ci(CONFIDENCE, "exact")
    return Interval(float(found.low), float(found.high), "exact")


def mcnemar(lost: int, won: int) -> float:
    """One-sided exact test of McNemar ("Note on the sampling error ...", Psychometrika 12, 1947).

    Args:
        lost: rows that the old version had right and the new one has wrong.
        won: the other way round.

    Returns:
        The chance of at least so many losses among the rows that differ, if either was equally likely.
    """
    if lost + won == 0:
        return 1.0
    return float(needed("scipy.stats").binomtest(lost, lost + won, 0.5, "greater").pvalue)


def paired_share(lost: int, won: int, rows: int) -> Interval:
    """The interval of the difference of two shares on the same rows (Agresti and Min, Biostatistics 6, 2005).

    Args:
        lost: rows that count for the old version alone.
        won: rows that count for the new version alone.
        rows: all of them.
    """
    total = rows + 2.0
    difference = (won - lost) / total
    error = math.sqrt(max(0.0, (lost + won + 1.0) - (won - lost) ** 2 / total)) / total
    reach = 1.959964 * error
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach), "Agresti-Min")


def bootstrap(statistic: Statistic, rows: int, draws: int = DRAWS) -> Interval:
    """The percentile interval of a bootstrap over rows (Efron, "Bootstrap Methods", Ann. Statist. 7, 1979).

    Args:
        statistic: of the rows with these numbers, each as often as it is named; not-a-number is passed over.
        rows: how many there are.
        draws: resamples.
    """
    numpy = needed("numpy")
    random = numpy.random.default_rng(SEED)
    found = [statistic(random.integers(0, rows, rows)) for _ in range(draws)]
    known = [value for value in found if not math.isnan(value)]
    if not known:
        return Interval(math.nan, math.nan, "bootstrap")
    # Of infinities there is no mean: the next value of the sample is taken.
    low, high = numpy.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return Interval(float(low), float(high), "bootstrap")


def permutations(alpha: float, tests: int = 1) -> int:
    """How many permutations a test needs so that its smallest p-value is far below the level."""
    return min(20_000, max(DRAWS, math.ceil(20 * tests / alpha))) - 1


def swapped(gain: Statistic, different: Sequence[bool], draws: int) -> float:
    """One-sided permutation test of two versions on the same rows (Good, "Permutation Tests", 2000).

    If neither is worse, either answer to a row could have been either version's: they are swapped at random.

    Args:
        gain: how much better the new version is, the answers of the rows with 1 swapped; an array of 0 and 1.
        different: whether the two answers to each row differ; swapping others changes nothing.
        draws: permutations.

    Returns:
        The chance of a gain as low as the one found, if neither was worse; at least 1 / (draws + 1).
    """
    numpy = needed("numpy")
    mask = numpy.asarray(different, dtype=numpy.int64)
    if not mask.any():
        return 1.0
    random = numpy.random.default_rng(SEED)
    seen = gain(numpy.zeros_like(mask))
    if math.isnan(seen):
        return 0.0  # the new version has no value: no answer of it can be called as good
    low = sum(not gain(random.integers(0, 2, len(mask)) * mask) > seen + 1e-12 for _ in range(draws))
    return (1 + low) / (draws + 1)


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted so that the level holds over all of them together (Holm, Scand. J. Statist. 6, 1979).

    Args:
        values: p-values of the single tests.

    Returns:
        The adjusted ones in the same order: reject where one is at most the level.
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    adjusted = [1.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return tuple(adjusted)
