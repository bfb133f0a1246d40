"""Counting: attempts -> tallies, and which of their events tell something new. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from serinus.rollout import Arm, Attempt, Counts, Tally

METRICS = ("violations", "errors", "refusals", "slow", "traffic")
"""The tests of one version against the other. ``traffic`` asks whether the router splits as it was told: it
is an alarm on the router, not on the candidate."""

_FEWEST = 100


def tally(attempts: Iterable[Attempt], threshold: float | None) -> tuple[Tally, ...]:
    """Count attempts, by the weight under which they were assigned and in the order in which weights appear.

    Those whose caller chose the version are left out.

    Args:
        attempts: all, or predictions alone where only these are to count.
        threshold: seconds beyond which a clean answer is slow; None: none is.
    """
    return _grouped((attempt, _kinds(attempt, threshold)) for attempt in attempts if not attempt.forced)


def _kinds(attempt: Attempt, threshold: float | None) -> tuple[str, ...]:
    if attempt.violation is not None:
        return ("violations",)
    if attempt.status >= 500 or attempt.status <= 0:
        return ("errors",)
    if attempt.status >= 400:
        return ("refusals",)
    return ("clean", "slow") if threshold is not None and attempt.seconds > threshold else ("clean",)


def _grouped(attempts: Iterable[tuple[Attempt, tuple[str, ...]]]) -> tuple[Tally, ...]:
    found: dict[float, dict[Arm, Counter[str]]] = {}
    for attempt, kinds in attempts:
        if attempt.weight not in found:
            found[attempt.weight] = {arm: Counter() for arm in Arm}
        found[attempt.weight][attempt.arm].update(kinds)
    return tuple(
        Tally(weight, Counts(**arms[Arm.STABLE]), Counts(**arms[Arm.CANDIDATE]))
        for weight, arms in found.items()
    )


@dataclass(frozen=True, slots=True)
class Users:
    """The users of whom an event was counted, for sticky routing.

    There it is not the request that falls to the candidate with probability ``w`` but the user: the second
    error of one user tells nothing that the first did not. So of each user the first attempt, the first
    error, the first violation and so on is an event, and every later one a repeat, in whichever version.
    Users are kept as hashes, and at most ``limit`` a metric; after that those not yet seen are repeats too.
    That takes evidence away and cannot make any, for who is among the first depends on no version.
    """

    seen: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    """By metric."""
    limit: int = 4096

    def repeats(
        self, attempts: Iterable[Attempt], threshold: float | None
    ) -> tuple[tuple[Tally, ...], Users]:
        """What is no event in the :func:`tally` of the same attempts, group by group; the users after them.

        Attempts without a user are all events.
        """
        seen = {metric: set(self.seen.get(metric, ())) for metric in METRICS}
        left = [
            (attempt, self._left(seen, attempt, _kinds(attempt, threshold)))
            for attempt in attempts
            if not attempt.forced
        ]
        return _grouped(left), replace(self, seen={name: frozenset(users) for name, users in seen.items()})

    def _left(
        self, seen: Mapping[str, set[str]], attempt: Attempt, kinds: tuple[str, ...]
    ) -> tuple[str, ...]:
        if not attempt.user:
            return ()
        user = blake2b(attempt.user.encode(), digest_size=6).hexdigest()
        if not self._repeated(seen["traffic"], user):
            for kind in set(kinds) & seen.keys():
                self._repeated(seen[kind], user)
            return ()
        # It has to be in the total of what is left out; what happened may be a first all the same.
        again = tuple(kind for kind in kinds if kind in seen and self._repeated(seen[kind], user))
        return again if again and again != ("slow",) else ("clean", *again)

    def _repeated(self, users: set[str], user: str) -> bool:
        if user in users or len(users) >= self.limit:
            return True
        users.add(user)
        return False

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"seen": {metric: sorted(users) for metric, users in self.seen.items()}, "limit": self.limit}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Users:
        """What :meth:`to_json` gave."""
        return cls({name: frozenset(users) for name, users in document["seen"].items()}, document["limit"])


def p95(seconds: Sequence[float]) -> float | None:
    """The 95th percentile of latencies; None of fewer than 100 that are numbers."""
    known = sorted(value for value in seconds if math.isfinite(value))
    return quantile(known, 0.95) if len(known) >= _FEWEST else None


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank quantile of values in ascending order; None without any."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
