"""Drift: whether the predictions of both versions come from one distribution. Pure.

For each value that is predicted: is the candidate's part of these predictions its part of all predictions of
the same place? It is held against what was answered, not against the weight: an overload that takes answers
from one version alone takes them from every value alike. If the predictions are alike, who of the answers of
an interval were the candidate's was drawn without regard to what they say. Of ``N`` answers that hold the
value ``M`` times, ``n`` are the candidate's, and it has drawn ``x`` of the ``M``: a hypergeometric number. A
bet on the ratio of odds ``r`` multiplies by ``r^x / E(r^x)``, of which the expectation is 1; since sums of
draws without replacement are less spread than those with it (Hoeffding, "Probability inequalities for sums of
bounded random variables", J. Am. Stat. Assoc. 58, 1963, theorem 4), the denominator is at most each of ``(1 -
n/N + r n/N)^M`` and ``(1 - M/N + r M/N)^n``, and the smaller is taken.

An answer that is a list holds ``m`` predictions, which depend on each other as they may: the factor is taken
to the power ``1 / m``, whose expectation is at most 1 too (Hölder). ``m`` is the mean, so that is exact where
all answers hold equally many; where they do not, ``1 / length`` can be counted for each prediction, and it is
exact again. The E-values of all values are averaged, and an average of E-values is one.

With sticky routing it was users that were drawn, and what one of them likes to ask can look like drift. That
is one more reason why drift holds a rollout and does not abort it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from serinus.rollout.bets import Bets, Prior, log_sum

DIFFERENT: Prior = {1: 0.1, 0.2: 0.15, 0.5: 0.15, 0.67: 0.15, 1.5: 0.15, 2: 0.15, 5: 0.15}
"""Both ways, and nothing near 1: a model that was trained anew is allowed to be a little different. Odds that
are off by less than a fifth are never reported."""
MOST = 64
"""Values that are told apart, over all places; those that come later are passed over."""

Predictions = Mapping[str, Mapping[str, tuple[float, float]]]
"""JSON Pointer -> value -> how often stable predicted it, and how often the candidate."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What both versions have predicted in some time under one weight."""

    weight: float
    """The candidate's share of the traffic; of mirrored requests its share of the answers."""
    stable: int = 0
    """Answers of stable that were predictions."""
    candidate: int = 0
    """Those of the candidate."""
    predictions: Predictions = field(default_factory=dict, hash=False)

    def __add__(self, other: Interval) -> Interval:
        places = {
            pointer: _sum(self.predictions.get(pointer, {}), other.predictions.get(pointer, {}))
            for pointer in {**self.predictions, **other.predictions}
        }
        return Interval(other.weight, self.stable + other.stable, self.candidate + other.candidate, places)


def _sum(
    one: Mapping[str, tuple[float, float]], other: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    found = dict(one)
    for value, (stable, candidate) in other.items():
        before = found.get(value, (0, 0))
        found[value] = (before[0] + stable, before[1] + candidate)
    return found


@dataclass(frozen=True, slots=True)
class Category:
    """One value at one place."""

    pointer: str
    value: str
    bets: Bets
    counts: tuple[float, float] = (0, 0)
    """How often stable predicted it, and how often the candidate."""
    among: tuple[float, float] = (0, 0)
    """Of how many predictions at this place each."""

    @property
    def shares(self) -> tuple[float, float]:
        """Its share of stable's predictions and of the candidate's; not a number where there are none."""
        stable, candidate = zip(self.counts, self.among, strict=True)
        return _share(*stable), _share(*candidate)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


@dataclass(frozen=True, slots=True)
class Drift:
    """One test over all values, with an alpha of its own: by default it holds a rollout, and no more."""

    alpha: float
    categories: tuple[Category, ...] = ()
    """In the order in which they appeared, which is that of their part in the average: 1/2, 1/6, 1/12 and so
    on."""
    highest: float = 0.0
    """The highest ``log_e`` of all looks: what has crossed stays crossed."""
    pending: Interval | None = None
    """Not judged yet: there are too few answers of one version."""
    enough: int = 10
    """Answers of each version, by the weight, that are looked at together: one alone has nothing beside it.
    Not asked is whose they were, for what is looked at must not depend on that."""

    @classmethod
    def start(cls, alpha: float) -> Drift:
        """Before the first answer.

        Args:
            alpha: the chance that alike predictions are ever found to differ.
        """
        return cls(alpha)

    @property
    def bound(self) -> float:
        """The natural logarithm of the E-value at which the test is decided."""
        return -math.log(self.alpha)

    @property
    def log_e(self) -> float:
        """The natural logarithm of the E-value as it stands; 0 is no evidence."""
        parts = [math.log(_part(rank)) + one.bets.log_e for rank, one in enumerate(self.categories, 1)]
        # What is left of the average is for values that have not appeared: their E-values are 1.
        return log_sum([*parts, -math.log(len(self.categories) + 1)])

    @property
    def crossed(self) -> bool:
        """Whether it has ever reached its bound."""
        return self.highest >= self.bound

    @property
    def leading(self) -> Category | None:
        """The value whose share differs most surely."""
        return max(self.categories, key=lambda one: one.bets.log_e, default=None)

    def after(self, interval: Interval) -> Drift:
        """With the predictions of a further interval, which is judged when there are enough answers."""
        drift = self
        if self.pending is not None and self.pending.weight != interval.weight:
            drift = self._judged(self.pending)
        pending = interval if drift.pending is None else drift.pending + interval
        answers = pending.stable + pending.candidate
        if answers * min(pending.weight, 1 - pending.weight) < drift.enough:
            return replace(drift, pending=pending)
        return drift._judged(pending)

    def _judged(self, interval: Interval) -> Drift:
        categories = tuple(_after(one, interval) for one in (*self.categories, *self._new(interval)))
        drift = replace(self, categories=categories, pending=None)
        return replace(drift, highest=max(self.highest, drift.log_e))

    def _new(self, interval: Interval) -> list[Category]:
        """Values not seen before, the most frequent first: an order that knows of no version."""
        known = {(one.pointer, one.value) for one in self.categories}
        found = [
            (-(stable + candidate), pointer, value)
            for pointer, values in interval.predictions.items()
            for value, (stable, candidate) in values.items()
            if (pointer, value) not in known and stable + candidate
        ]
        free = max(0, MOST - len(self.categories))
        return [Category(pointer, value, Bets.on(DIFFERENT)) for _, pointer, value in sorted(found)[:free]]

    def figures(self) -> dict[str, dict[str, Any]]:
        """What it has seen and how far it is from its bound, for people."""
        told: dict[str, Any] = {
            "log_e": round(self.log_e, 4),
            "highest": round(self.highest, 4),
            "bound": round(self.bound, 4),
        }
        if (one := self.leading) is not None:
            told |= {"pointer": one.pointer, "value": one.value}
            told |= {
                arm: round(share, 4) for arm, share in zip(("stable", "candidate"), one.shares, strict=True)
            }
        return {"drift": told}

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Drift:
        """What :meth:`to_json` gave."""
        pairs = ("counts", "among")
        categories = tuple(
            Category(
                **{**one, "bets": Bets.from_json(one["bets"]), **{key: tuple(one[key]) for key in pairs}}
            )
            for one in document["categories"]
        )
        pending = document["pending"] and Interval(**document["pending"])
        if pending:
            pending = replace(pending, predictions=_tuples(pending.predictions))
        return cls(**{**document, "categories": categories, "pending": pending})


def _tuples(predictions: Predictions) -> Predictions:
    return {
        pointer: {value: (counts[0], counts[1]) for value, counts in values.items()}
        for pointer, values in predictions.items()
    }


def _part(rank: int) -> float:
    return 1 / (rank * (rank + 1))


def _after(one: Category, interval: Interval) -> Category:
    values = interval.predictions.get(one.pointer, {})
    counts = values.get(one.value, (0, 0))
    stable = sum(pair[0] for pair in values.values())
    candidate = sum(pair[1] for pair in values.values())
    if not (stable and candidate):
        return one
    per_answer = max(1.0, (stable + candidate) / max(1, interval.stable + interval.candidate))
    drawn, whole = candidate / per_answer, (stable + candidate) / per_answer
    held, owned = sum(counts) / per_answer, counts[1] / per_answer
    gains = [_gain(ratio, owned, held, drawn, whole) for ratio in one.bets.ratios]
    return replace(
        one,
        bets=one.bets.grown(gains),
        counts=(one.counts[0] + counts[0], one.counts[1] + counts[1]),
        among=(one.among[0] + stable, one.among[1] + candidate),
    )


def _gain(ratio: float, owned: float, held: float, drawn: float, whole: float) -> float:
    """The logarithm of ``r^x / E(r^x)`` or less, of ``held`` among ``whole`` answers, ``drawn`` taken."""
    by_value = held * math.log1p(drawn / whole * (ratio - 1))
    by_version = drawn * math.log1p(held / whole * (ratio - 1))
    return owned * math.log(ratio) - min(by_value, by_version)
