"""Bets: E-values that may be looked at after every event. Pure.

Who holds that something happens with probability ``w`` at most takes fair bets on it. Bet on a rate ratio
``r``, with ``theta = w r / (1 - w + w r)``: each time it happens the stake is multiplied by ``theta / w``,
each time it does not by ``(1 - theta) / (1 - w)``. If the holder is right, the expectation of the stake never
exceeds what was put in, so the chance that it ever reaches ``1 / alpha`` times that is at most ``alpha``,
however often one looks and however ``w`` moves between events (Lindon and Malek, "Anytime-valid inference for
multinomial count data", arXiv 2011.03567).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Prior = Mapping[float, float]
"""Rate ratio -> how much of the first unit is bet on it; they add up to 1. The ratio 1 is what is kept
back."""
WORSE: Prior = {1: 0.05, 1.5: 0.05, 3: 0.1, 10: 0.4, 100: 0.2, 1000: 0.2}
"""Two fifths on "always wrong": at a weight of a tenth, three answers of the candidate are enough. Two fifths
on ten times as often, as when 0.1 % becomes 1 %. What is a quarter more frequent is found in the end, and
slowly."""
SLOWER: Prior = {1: 0.1, 2: 0.4, 4: 0.3, 15: 0.2}
"""The base is 5 %, so 20 times is the most. Nothing below 2: a candidate that is still cold is a little
slower, and one that is slow less than 1.4 times as often is never reported for it."""
EITHER: Prior = {1: 0.1, 0.25: 0.2, 0.8: 0.25, 1.25: 0.25, 4: 0.2}
"""Both ways. A share that is off by less than a tenth of itself is never reported."""
ABOVE: Prior = {1: 0.1, 2: 0.3, 10: 0.4, 100: 0.2}
"""Against a tolerated rate; the ratios are then those of odds, and each stands for a rate above the tolerated
one."""
BAKED: Prior = {1: 0.1, 2: 0.4, 5: 0.3, 15: 0.2}
"""Against the past: nothing above 15, for a burst that stable would have had as well must not be enough."""

_SPREAD = 100


@dataclass(frozen=True, slots=True)
class Bets:
    """What is bet on each ratio. In all it is 1 at the start; what it has become is the E-value.

    After look ``k``, 1 / (k + 100) of all is dealt out anew by the prior (fixed share: Herbster and Warmuth,
    "Tracking the best expert", Machine Learning 32, 1998). The sum stays as it is, so it stays an E-value;
    but what breaks late is found a few events later than at the start, where the bets on it would else have
    been lost for good.
    """

    ratios: tuple[float, ...]
    prior: tuple[float, ...]
    logs: tuple[float, ...]
    looks: int = 0
    dealt: bool = True
    """Whether a part is dealt out anew; if not, what was won is lost again when the events turn."""

    @classmethod
    def on(cls, prior: Prior, *, dealt: bool = True) -> Bets:
        """The first bets."""
        logs = tuple(map(math.log, prior.values()))
        return cls(tuple(map(float, prior)), tuple(prior.values()), logs, dealt=dealt)

    @property
    def log_e(self) -> float:
        """The natural logarithm of the E-value."""
        return log_sum(self.logs)

    def after(self, weight: float, happened: int, failed: int) -> Bets:
        """The bets after one look.

        Args:
            weight: the probability that is claimed for each, above 0 and below 1.
            happened: how often it happened.
            failed: how often it did not.
        """
        return self.grown(_gain(ratio, weight, happened, failed) for ratio in self.ratios)

    def grown(self, gains: Iterable[float]) -> Bets:
        """The bets after one look.

        Args:
            gains: by ratio, the logarithm of what the bet on it is multiplied by.
        """
        logs = [log + gain for log, gain in zip(self.logs, gains, strict=True)]
        if not self.dealt:
            return replace(self, logs=tuple(logs), looks=self.looks + 1)
        most = max(logs)
        won = [math.exp(log - most) for log in logs]
        share = 1 / (self.looks + _SPREAD)
        given = share * math.fsum(won)
        anew = [(1 - share) * bet + given * part for bet, part in zip(won, self.prior, strict=True)]
        return replace(self, logs=tuple(most + math.log(bet) for bet in anew), looks=self.looks + 1)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Bets:
        """From its fields as JSON."""
        lists = {name: tuple(data[name]) for name in ("ratios", "prior", "logs")}
        return cls(**{**data, **lists})


def log_sum(logs: Iterable[float]) -> float:
    """The logarithm of a sum of at least one number, each given by its logarithm."""
    values = tuple(logs)
    most = max(values)
    return most + math.log(math.fsum(math.exp(value - most) for value in values))


def _gain(ratio: float, weight: float, happened: int, failed: int) -> float:
    # theta / w = r / (1 - w + w r) and (1 - theta) / (1 - w) = 1 / (1 - w + w r)
    return happened * math.log(ratio) - (happened + failed) * math.log1p(weight * (ratio - 1))
