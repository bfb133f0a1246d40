"""Evidence: how sure the traffic makes us that the candidate is worse than stable. Pure.

Every observation is a question of who owns it. If the candidate is no worse, a bad event (a violation, an
error, a refusal, an answer slower than stable's 95th percentile) is the candidate's with probability ``w`` at
most, its share of the traffic at that moment, whatever the base rate does. So no rate is estimated and
nothing is waited for: each event is a bet won or lost (:mod:`serinus.rollout.bets`; Lindon and Malek, arXiv
2011.03567).

The one assumption is that the routing drew each request by itself. With sticky routing it drew users instead,
and :class:`Users` finds the first event of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from serinus.rollout import Counts, Tally
from serinus.rollout.bets import ABOVE, BAKED, EITHER, SLOWER, WORSE, Bets, Prior
from serinus.rollout.counting import METRICS, Users, p95, tally
from serinus.rollout.promise import Promise, promise, upper

__all__ = ["ABSOLUTE", "METRICS", "Base", "Evidence", "Metric", "Promise", "Users", "p95", "promise", "tally"]

ABSOLUTE = "absolute "
"""What the name of a test against a rate that a project tolerates begins with: ``absolute errors``."""

_SHARES = {"violations": 3, "errors": 3, "slow": 2, "refusals": 1, "traffic": 1}
_PASSING = ("traffic", "slow")
"""Tests that are judged by their value now, since what they see may pass."""
_ABSOLUTE_SHARE = 2
_BAKE_SHARE = 0.1
_CERTAIN = 700.0  # the log of a factor beyond every bound, of which the exponential is still a float
_SLOW = 0.05


@dataclass(frozen=True, slots=True)
class Metric:
    """One test, and what it has seen."""

    name: str
    alpha: float
    """Its share of the chance of a false alarm."""
    bets: Bets
    tolerated: float | None = None
    """The rate that is tolerated, where the test is against one; None where the candidate is held against
    stable."""
    candidate: int = 0
    """Events that were the candidate's."""
    others: int = 0
    """Events that were stable's; in a test against a rate, the candidate's answers that were not bad."""
    highest: float = 0.0
    """The highest ``log_e`` of all looks: what has crossed stays so."""
    window: int = 1
    """Events that are judged together, at the least."""
    pending: tuple[int, int] = (0, 0)
    """What the next window has so far: the candidate's and the others."""

    @property
    def bound(self) -> float:
        """The natural logarithm of the E-value at which the test is decided."""
        return -math.log(self.alpha)

    @property
    def log_e(self) -> float:
        """The natural logarithm of the E-value as it stands; 0 is no evidence."""
        return self.bets.log_e

    @property
    def crossed(self) -> bool:
        """Whether it has ever reached its bound; of ``traffic`` and ``slow``, whether it is there now.

        An attempt counts when it has ended. So while the candidate's first answers are slow to come, its part
        of the traffic looks too small, and no longer does when they have come. Slow answers come in bursts,
        which are no draws each by itself: when a process stalls, all of its requests are slow.
        """
        return (self.log_e if self.name in _PASSING else self.highest) >= self.bound

    def after(self, weight: float, candidate: int, others: int) -> Metric:
        """With further events, of which each was the candidate's with probability ``weight`` at most.

        At a weight of 0 or 1 nothing is open: such events are passed over. Where nothing is tolerated, one is
        enough.
        """
        if self.tolerated == 0 and candidate:
            bets = self.bets.grown([_CERTAIN] * len(self.bets.ratios))
        elif not 0 < weight < 1 or not candidate + others:
            return self
        else:
            return self._judged(weight, self.pending[0] + candidate, self.pending[1] + others)
        return replace(self, bets=bets, candidate=self.candidate + candidate, highest=bets.log_e)

    def _judged(self, weight: float, candidate: int, others: int) -> Metric:
        """With a window, or as much of one: if nothing that may still come can save it, why wait."""
        missing = max(0, self.window - candidate - others)
        bets = self.bets.after(weight, candidate, others + missing)
        highest = max(self.highest, bets.log_e)
        if missing:
            return replace(self, pending=(candidate, others), highest=highest)
        return replace(
            self,
            bets=bets,
            candidate=self.candidate + candidate,
            others=self.others + others,
            highest=highest,
            pending=(0, 0),
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """All tests of one candidate. It belongs to one digest: a new one starts without any."""

    metrics: tuple[Metric, ...]

    @classmethod
    def start(
        cls,
        alpha: float,
        *,
        errors: float | None = None,
        violations: float | None = None,
        metrics: Sequence[str] = METRICS,
    ) -> Evidence:
        """Evidence before the first attempt.

        Alpha is divided among the tests that there are, and the bake, which gets a tenth. Of the rest
        violations and errors have three shares each: they are what hurts, and what is always wrong is to be
        found within three answers at a weight of a tenth, though each multiplies by less than ten. Slowness
        has two, refusals and traffic one; a bound three times as high costs them an event or two. A tolerated
        rate has two.

        Args:
            alpha: the chance that any of the tests raises a false alarm before the bake is over; 0 to 1.
            errors: the rate of errors that the candidate may have, whatever stable's is; None for any.
            violations: the same of violations.
            metrics: the names of :data:`METRICS` that are tested.
        """
        bets = {"slow": SLOWER, "traffic": EITHER}
        tests: list[tuple[str, int, Prior, float | None]] = [
            (name, _SHARES[name], bets.get(name, WORSE), None) for name in metrics
        ]
        limits = {"violations": violations, "errors": errors}.items()
        tests += [
            (ABSOLUTE + n, _ABSOLUTE_SHARE, ABOVE, r) for n, r in limits if r is not None and 0 <= r < 1
        ]
        whole = sum(share for _, share, _, _ in tests) / (1 - _BAKE_SHARE)
        return cls(
            tuple(
                Metric(n, alpha * share / whole, Bets.on(prior, dealt=n != "traffic"), rate)
                for n, share, prior, rate in tests
            )
        )

    @classmethod
    def baking(cls, base: Base, margin: float, alpha: float) -> Evidence:
        """Evidence for the time after 100 %: the candidate alone, held to the worst that stable has shown.

        Without stable beside it, what would have hit both looks like a fault of the candidate. So the rates
        are those of windows as long as stable's were, in which a burst counts as little. And a rate that is
        not the version's alone may be twice stable's worst: answers are slower where one version has the
        traffic of two, and refusals are for what callers send.

        Args:
            base: stable, up to the moment when the candidate took all traffic.
            margin: how much higher than that a rate may be.
            alpha: as :meth:`start` had it; a tenth of it is for this.
        """
        names = [name for name in _SHARES if name != "traffic" and (name != "slow" or base.p95 is not None)]
        rates = {
            name: base.worst(name) * (2 if name in {"slow", "refusals"} else 1) + margin for name in names
        }
        judged = {name: rate for name, rate in rates.items() if 0 <= rate < 1}
        whole = sum(_SHARES[name] for name in judged) / _BAKE_SHARE
        return cls(
            tuple(
                Metric(name, alpha * _SHARES[name] / whole, Bets.on(BAKED), rate, window=base.window)
                for name, rate in judged.items()
            )
        )

    @property
    def crossed(self) -> tuple[str, ...]:
        """The names of the tests that are decided against it."""
        return tuple(metric.name for metric in self.metrics if metric.crossed)

    def metric(self, name: str) -> Metric:
        """The test of this name.

        Raises:
            KeyError: there is none.
        """
        return {metric.name: metric for metric in self.metrics}[name]

    def after(self, tally: Tally, repeats: Tally | None = None) -> Evidence:
        """With the attempts of one tally.

        Args:
            tally: all of them.
            repeats: those among them that count as no events, as :meth:`Users.repeats` found them.
        """
        left = repeats or Tally(tally.weight)
        return Evidence(tuple(_after(metric, tally, left) for metric in self.metrics))

    def figures(self) -> dict[str, dict[str, float]]:
        """By test, what it has seen and how far it is from its bound, for people."""
        return {
            metric.name: {
                "log_e": round(metric.log_e, 4),
                "highest": round(metric.highest, 4),
                "bound": round(metric.bound, 4),
                "candidate": metric.candidate,
                "others": metric.others,
            }
            for metric in self.metrics
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"metrics": [asdict(metric) for metric in self.metrics]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Evidence:
        """What :meth:`to_json` gave."""
        metrics = document["metrics"]
        return cls(
            tuple(
                Metric(
                    **{
                        **one,
                        "bets": Bets.from_json(one["bets"]),
                        "pending": (one["pending"][0], one["pending"][1]),
                    }
                )
                for one in metrics
            )
        )


def _after(metric: Metric, tally: Tally, repeats: Tally) -> Metric:
    name = metric.name.removeprefix(ABSOLUTE)
    candidate = _events(tally.candidate, name) - _events(repeats.candidate, name)
    if metric.tolerated is None:
        return metric.after(
            tally.weight, candidate, _events(tally.stable, name) - _events(repeats.stable, name)
        )
    answers = tally.candidate.clean if name == "slow" else tally.candidate.total
    return metric.after(metric.tolerated, candidate, answers - _events(tally.candidate, name))


def _events(counts: Counts, name: str) -> int:
    return counts.total if name == "traffic" else int(getattr(counts, name))


@dataclass(frozen=True, slots=True)
class Base:
    """What stable has shown: the measure for a candidate that has no stable beside it."""

    p95: float | None = None
    """The 95th percentile of its answers, in seconds; None while it is not known."""
    violations: float = 0.0
    """The highest share of the attempts of one window; so the next two."""
    errors: float = 0.0
    refusals: float = 0.0
    slow: float = 0.0
    """The highest share of the clean answers of one window."""
    count: int = 0
    """Attempts in whole windows."""
    pending: Counts = field(default_factory=Counts)
    """What the next window has so far."""
    window: int = 500
    """Attempts that make a window: enough that a rate of 2 % is seldom seen as 4 %."""

    def after(self, counts: Counts) -> Base:
        """With further attempts."""
        pending = self.pending + counts
        if pending.total < self.window:
            return replace(self, pending=pending)
        return replace(
            self,
            violations=max(self.violations, pending.violations / pending.total),
            errors=max(self.errors, pending.errors / pending.total),
            refusals=max(self.refusals, pending.refusals / pending.total),
            slow=max(self.slow, pending.slow / max(1, pending.clean)),
            count=self.count + pending.total,
            pending=Counts(),
        )

    def frozen(self, seconds: float | None) -> Base:
        """With this 95th percentile, if it is known."""
        return self if seconds is None else replace(self, p95=seconds)

    def worst(self, name: str) -> float:
        """The highest rate that it is known to have had.

        One in twenty is slow by definition. Before the first window is whole it is the highest rate that what
        there is would be no surprise under, at 1 %; and 1 without any attempt, which no candidate can exceed.
        """
        least = _SLOW if name == "slow" else 0.0
        if self.count:
            return max(least, float(getattr(self, name)))
        answers = self.pending.clean if name == "slow" else self.pending.total
        return max(least, upper(_events(self.pending, name), answers, 0.01))

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Base:
        """What :meth:`to_json` gave."""
        return cls(**{**document, "pending": Counts(**document["pending"])})
