"""Traffic: what the last seconds have brought, for those who watch (pure). No decision is made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from serinus.rollout import Arm, Attempt
from serinus.rollout.counting import quantile

WINDOW = 10
"""Seconds that are shown."""
_LATENCIES = 500
"""Latencies that are kept of a second and an arm."""


@dataclass(frozen=True, slots=True)
class _Second:
    """What one second has brought to one arm."""

    second: int
    arm: Arm
    attempts: int = 0
    errors: int = 0
    violations: int = 0
    latencies: tuple[float, ...] = ()
    """Of the answers that were no errors."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The attempts of the last seconds, counted when they were seen."""

    seconds: tuple[_Second, ...] = field(default=())
    now: float = 0.0
    began: float = 0.0
    """When the first look was made."""

    def after(self, attempts: Sequence[Attempt], now: float) -> Traffic:
        """With what a further look has brought."""
        kept = tuple(one for one in self.seconds if one.second > now - WINDOW - 1)
        fresh = tuple(
            _counted(int(now), arm, list(own))
            for arm, own in groupby(sorted(attempts, key=lambda a: a.arm), key=lambda a: a.arm)
        )
        return replace(self, seconds=(*kept, *fresh), now=now, began=self.began or now)

    def figures(self, arm: Arm) -> dict[str, Any]:
        """Of one arm: attempts a second, shares of failed ones, latencies in seconds."""
        own = [one for one in self.seconds if one.arm is arm]
        attempts = sum(one.attempts for one in own)
        latencies = sorted(seconds for one in own for seconds in one.latencies)
        window = max(1.0, min(WINDOW, self.now - self.began))
        return {
            "rate": attempts / window,
            "errors": sum(one.errors for one in own) / attempts if attempts else None,
            "violations": sum(one.violations for one in own) / attempts if attempts else None,
            "p50": quantile(latencies, 0.5),
            "p95": quantile(latencies, 0.95),
        }


def _counted(second: int, arm: Arm, own: Sequence[Attempt]) -> _Second:
    answered = [a.seconds for a in own if 200 <= a.status < 400]
    violations = sum(a.violation is not None for a in own)
    errors = sum(a.violation is None and (a.status >= 500 or a.status == 0) for a in own)
    return _Second(second, arm, len(own), errors, violations, tuple(answered[:_LATENCIES]))
