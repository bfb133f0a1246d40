"""The version under check and the version in charge on the same rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serinus.checks.quality.metrics import Metric
from serinus.checks.quality.scores import Row
from serinus.checks.quality.statistics import (
    DRAWS,
    Interval,
    bootstrap,
    mcnemar,
    paired_share,
    permutations,
    share,
    swapped,
)


@dataclass(frozen=True, slots=True)
class Paired:
    """How two versions did on the same rows."""

    rows: int
    now: float
    """The metric of the version under check."""
    before: float
    """That of the version in charge."""
    difference: Interval
    """Of ``now - before``."""
    lost: tuple[int, ...]
    """Lines that the version in charge alone has right."""
    won: int
    """How many rows the version under check alone has right."""
    p: float
    """One-sided: the chance of a value so much worse, if it is no worse."""
    test: str

    def __str__(self) -> str:
        return (
            f"{self.now:.3f} against {self.before:.3f} over {self.rows:,} rows, difference "
            f"{self.now - self.before:+.3f} ({self.difference}), {len(self.lost)} rows lost and "
            f"{self.won} won, {self.test} p = {self.p:.2g}"
        )


def interval(metric: Metric, rows: Sequence[Row]) -> Interval:
    """How sure the value of a metric over these rows is."""
    if metric.name == "accuracy":
        return share(sum(row.right for row in rows), len(rows))
    labels, predictions = metric.encode(rows)
    return bootstrap(lambda drawn: metric.compute(labels[drawn], predictions[drawn]), len(rows))


def paired(metric: Metric, now: Sequence[Row], before: Sequence[Row], alpha: float, tests: int = 1) -> Paired:
    """Compare two versions on the same rows: by McNemar's test for accuracy, else by permutation.

    Args:
        metric: what is compared.
        now: the rows as the version under check answered them.
        before: as the version in charge did, in the same order.
        alpha: the level at which p is to be judged, over all the tests together.
        tests: how many.
    """
    pairs = list(zip(now, before, strict=True))
    lost = tuple(new.line for new, old in pairs if old.right and not new.right)
    won = sum(new.right and not old.right for new, old in pairs)
    if metric.name == "accuracy":
        found = paired_share(len(lost), won, len(pairs))
        p, test = mcnemar(len(lost), won), "exact McNemar test"
    else:
        found, p = _permuted(metric, now, before, permutations(alpha, tests))
        test = "permutation test"
    return Paired(len(pairs), metric.of(now), metric.of(before), found, lost, won, p, test)


def _permuted(
    metric: Metric, now: Sequence[Row], before: Sequence[Row], draws: int
) -> tuple[Interval, float]:
    labels, new = metric.encode(now)
    _, old = metric.encode(before)
    sign = 1.0 if metric.higher else -1.0

    def difference(first: object, second: object, truth: object = labels) -> float:
        return metric.compute(truth, first) - metric.compute(truth, second)

    def gain(swap: object) -> float:
        mask = swap == 1
        first, second = new.copy(), old.copy()
        first[mask], second[mask] = old[mask], new[mask]
        return sign * difference(first, second)

    p = swapped(gain, [a.key != b.key for a, b in zip(now, before, strict=True)], draws)
    found = bootstrap(lambda drawn: difference(new[drawn], old[drawn], labels[drawn]), len(now), DRAWS // 2)
    return found, p
