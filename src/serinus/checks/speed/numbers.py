"""What is concluded from measurements. Pure: no noise of the machine may pass for a fault of the service."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist, median

ALPHA = 0.02
"""Chance that a bound is called broken that is not, if the rounds are independent."""


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; not-a-number without values.

    Args:
        values: in any order.
        share: 0.95 for the 95th.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def curve(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Points (percentile, value) that show a distribution and its tail."""
    shares = (*range(1, 100), 99.5, 99.9)
    ordered = sorted(values)
    if not ordered:
        return ()
    return tuple((p, ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)]) for p in shares)


def at_least(values: Sequence[float], alpha: float = ALPHA) -> float:
    """The lower confidence bound of the median, by order statistics; minus infinity with too few values.

    It supposes nothing of how the values are distributed: the k-th smallest lies above the median with the
    probability that fewer than k of n fair coins fall heads (Thompson, Ann. Math. Statist. 7, 1936). Six
    values are the fewest that give a bound at 2 %; of sixteen, three may be ruined by a disturbance.

    Args:
        values: one for each round.
        alpha: chance that the median lies below the bound.
    """
    count, tail, rank = len(values), 0.0, 0
    while rank < count:
        tail += math.comb(count, rank) / 2**count
        if tail > alpha:
            break
        rank += 1
    return sorted(values)[rank - 1] if rank else -math.inf


def slope(points: Sequence[tuple[float, float]], alpha: float = ALPHA) -> tuple[float, float]:
    """The slope through points, and its lower confidence bound.

    The median of the slopes of all pairs, and Kendall's interval around it: a few wild points change neither
    (Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", J. Am. Stat. Assoc. 63, 1968).

    Args:
        points: (x, y); pairs with the same x say nothing.
        alpha: chance that the slope lies below the bound.
    """
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if a[0] != b[0])
    if not slopes:
        return math.nan, -math.inf
    count = len(points)
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    rank = math.floor((len(slopes) - NormalDist().inv_cdf(1 - alpha) * spread) / 2)
    return median(slopes), slopes[rank - 1] if rank >= 1 else -math.inf


def seconds(value: float) -> str:
    """A time as people read it: ``0.59 ms``, ``1.20 s``."""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def size(value: float) -> str:
    """Bytes as people read them: ``63 MiB``."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(value) >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} B"
