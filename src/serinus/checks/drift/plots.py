"""Two samples side by side, as bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serinus.checks import Plot
from serinus.checks.drift.samples import histogram

MOST = 12
"""Categories that have a bar of their own; the rarer ones share one."""
LONGEST = 40
"""Characters of a category's name."""


def beside(title: str, x: str, reference: Sequence[Any], seen: Sequence[Any], numeric: bool) -> Plot:
    """The shares of both samples in each category, or between deciles of the reference.

    Args:
        title: of the plot.
        x: what the values are.
        reference: values, at least one.
        seen: likewise.
        numeric: whether they are numbers; otherwise they are categories.
    """
    bars = histogram(reference, seen, numeric)
    if len(bars) > MOST:
        shown = sorted(bars, key=lambda bar: -bar[1] / len(reference) - bar[2] / len(seen))[: MOST - 1]
        rare = [bar for bar in bars if bar not in shown]
        others = (f"{len(rare)} others", sum(bar[1] for bar in rare), sum(bar[2] for bar in rare))
        bars = [*(bar for bar in bars if bar in shown), others]
    series = (
        ("reference", tuple((name[:LONGEST], old / len(reference)) for name, old, _ in bars)),
        ("now", tuple((name[:LONGEST], new / len(seen)) for name, _, new in bars)),
    )
    return Plot(title, series, x, "share", "bars")
