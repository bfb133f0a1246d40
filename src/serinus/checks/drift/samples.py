"""Whether two samples have one distribution. Pure."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from serinus.checks.quality.statistics import SEED, holm, mcnemar, needed, permutations

FEWEST = 30
"""Values of each sample that can be compared."""
EXPECTED = 5.0
"""Fewest expected in a cell of chi-squared (Cochran, Biometrics 10, 1954); rarer values go together."""


def different(reference: Sequence[Any], seen: Sequence[Any], numeric: bool) -> float:
    """P-value of independent samples: Kolmogorov and Smirnov for numbers, else as ``categories``."""
    if numeric:
        return float(needed("scipy.stats").ks_2samp(reference, seen, method="asymp").pvalue)
    return categories(reference, seen)


def categories(reference: Sequence[Hashable], seen: Sequence[Hashable]) -> float:
    """P-value of categories: Fisher's exact test for two, Pearson's chi-squared for more."""
    stats = needed("scipy.stats")
    old, new = Counter(reference), Counter(seen)
    smaller = min(len(reference), len(seen)) / (len(reference) + len(seen))
    cells, rare = [], [0, 0]
    for value in sorted({*old, *new}, key=repr):
        if (old[value] + new[value]) * smaller >= EXPECTED:
            cells.append([old[value], new[value]])
        else:
            rare = [rare[0] + old[value], rare[1] + new[value]]
    if sum(rare) and len(cells) > 1 and sum(rare) * smaller < EXPECTED:
        least = min(range(len(cells)), key=lambda place: sum(cells[place]))
        cells[least] = [cells[least][0] + rare[0], cells[least][1] + rare[1]]
    elif sum(rare):
        cells.append(rare)
    if len(cells) < 2:
        return 1.0
    if len(cells) == 2:
        return float(stats.fisher_exact(cells).pvalue)
    return float(stats.chi2_contingency(cells, correction=False).pvalue)


def moved(before: Sequence[Any], now: Sequence[Any], numeric: bool, alpha: float) -> float:
    """P-value of two versions' predictions for the same requests.

    Categories: for each, McNemar's exact test of both sides, corrected by Holm. Numbers: the largest distance
    of the two distribution functions, pairs swapped at random.
    """
    if numeric:
        return _swapped_distance(before, now, permutations(alpha))
    tests = []
    for value in {*before, *now}:
        left = sum(a == value != b for a, b in zip(before, now, strict=True))
        came = sum(b == value != a for a, b in zip(before, now, strict=True))
        tests.append(min(1.0, 2 * mcnemar(max(left, came), min(left, came))))
    if len(tests) == 2:  # what one loses the other gains: it is one test
        return min(tests)
    return min(holm(tests), default=1.0)


def _swapped_distance(before: Sequence[float], now: Sequence[float], draws: int) -> float:
    numpy = needed("numpy")
    pooled = numpy.array([*before, *now], dtype=float)
    order = numpy.argsort(pooled, kind="stable")
    last = numpy.append(numpy.diff(pooled[order]) > 0, True)
    random = numpy.random.default_rng(SEED)

    def distance(signs: Any) -> float:
        both = numpy.concatenate([signs, -signs])[order]
        return float(numpy.abs(numpy.cumsum(both))[last].max())

    ones = numpy.ones(len(before), dtype=numpy.int64)
    found = distance(ones)
    if found == 0:
        return 1.0
    far = sum(distance(random.choice((-1, 1), len(before))) >= found for _ in range(draws))
    return (1 + far) / (draws + 1)


def psi(reference: Sequence[Any], seen: Sequence[Any], numeric: bool) -> float:
    """Population stability index: the sum of (q - p) ln(q / p) over categories, or deciles of the reference.

    Siddiqi, "Credit Risk Scorecards", 2006; half a value is added to each cell, so that none is empty. It is
    no test: it depends on how many values there are.
    """
    shares = histogram(reference, seen, numeric)
    total = 0.0
    for _, old, new in shares:
        p = (old + 0.5) / (len(reference) + 0.5 * len(shares))
        q = (new + 0.5) / (len(seen) + 0.5 * len(shares))
        total += (q - p) * math.log(q / p)
    return total


def histogram(reference: Sequence[Any], seen: Sequence[Any], numeric: bool) -> list[tuple[str, int, int]]:
    """How many of each sample are in each category, or between two deciles of the reference."""
    if not numeric:
        old, new = Counter(reference), Counter(seen)
        return [(str(value), old[value], new[value]) for value in sorted({*old, *new}, key=repr)]
    numpy = needed("numpy")
    edges = numpy.unique(numpy.quantile(numpy.array(reference, dtype=float), numpy.arange(0.1, 1, 0.1)))
    counts = [
        numpy.bincount(numpy.searchsorted(edges, numpy.array(values, dtype=float)), minlength=len(edges) + 1)
        for values in (reference, seen)
    ]
    between = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)]
    names = [f"up to {edges[0]:.4g}", *between, f"above {edges[-1]:.4g}"]
    return [(name, int(a), int(b)) for name, a, b in zip(names, *counts, strict=True)]
