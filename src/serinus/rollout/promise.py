"""The promise on which a step is left: the candidate is not worse than stable by more than a margin. Pure.

It is a claim of its own. That nothing bad was found is no evidence of quality while there are few answers:
the promise is a bound from above, and the answers must be there to show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from serinus.rollout import Counts

_MOST = 1 << 30  # answers; what needs more cannot be waited for
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Promise:
    """Whether the candidate's bad rate was shown to be higher than stable's by the margin at most."""

    shown: bool
    needed: int | None
    """About how many further answers of the candidate show it, if both keep the rates they have; None if none
    do."""
    bound: float
    """How much higher the candidate's rate may be, with the confidence asked for; 1 without any answer."""


def promise(candidate: Counts, stable: Counts, margin: float, alpha: float) -> Promise:
    """Hold what was counted against a margin.

    Bad are violations and errors; refusals count neither way, for they are the caller's. The bound is the
    upper end of the candidate's exact interval less the lower end of stable's, each one-sided at ``1 -
    alpha`` (Clopper and Pearson, "The Use of Confidence or Fiducial Limits", 1934). Without any bad answer
    that asks for ``ln(1 / alpha) / -ln(1 - margin)`` clean ones: 459 for 1 % at 1 %. Stable without an answer
    has the lower end 0, and what is then asked of the candidate is more, not less.

    Alpha is that of one look. Asked after every answer, a candidate that is worse by exactly the margin
    passes in 6 to 7 of 100 cases at 1 % and 1 %; it is the evidence beside it that sends such a one back.

    Args:
        candidate: its answers under the weights for which the promise is to hold.
        stable: the answers beside them.
        margin: a difference of rates, above 0.
        alpha: the chance at which each bound is missed, above 0 and below 1. Whatever is not a number shows
            nothing.
    """
    bad, total = _bad(candidate), _total(candidate)
    other, beside = _bad(stable), _total(stable)
    if total <= 0 or not 0 < alpha < 1:
        return Promise(False, _clean(margin, alpha), 1.0)
    bound = upper(bad, total, alpha) - lower(other, beside, alpha)
    shown = bound <= margin
    if shown or not margin > bad / total - (other / beside if beside else 0.0):
        return Promise(shown, 0 if shown else None, bound)
    if not bad and not other:
        least = _clean(margin, alpha)
        return Promise(False, None if least is None else max(1, least - total), bound)

    def enough(further: int) -> bool:
        grown = (total + further) / total
        limit = min(1.0, margin + lower(other * grown, beside * grown, alpha))
        # Whether the candidate's upper end is below the limit, without looking for it.
        return limit == 1 or (
            bad < total and beta_cdf(limit, bad * grown + 1, (total - bad) * grown) >= 1 - alpha
        )

    return Promise(False, _least(enough, max(1, total // 64)), bound)


def upper(bad: float, total: float, alpha: float) -> float:
    """The upper end of the exact one-sided interval of a rate, which is higher with chance ``alpha``."""
    return 1.0 if bad >= total else beta_quantile(1 - alpha, bad + 1, total - bad)


def lower(bad: float, total: float, alpha: float) -> float:
    """The lower end of the exact one-sided interval of a rate, which is lower with chance ``alpha``."""
    return 0.0 if bad <= 0 else beta_quantile(alpha, bad, total - bad + 1)


def beta_quantile(chance: float, a: float, b: float) -> float:
    """The value that a beta variable stays below with this chance, to ten digits or so.

    Bisection, with the steps of Newton where they stay inside.
    """
    low, high = 0.0, 1.0
    at = a / (a + b)
    for _ in range(200):
        missing = beta_cdf(at, a, b) - chance
        low, high = (low, at) if missing > 0 else (at, high)
        slope = math.exp(_log_density(at, a, b)) if 0 < at < 1 else 0.0
        step = at - missing / slope if slope > 0 else low
        if low < step < high and abs(step - at) <= 1e-7 * at:
            return step  # the error is squared at each step
        at = step if low < step < high else (low + high) / 2
        if high - low <= 1e-15 * high:
            break
    return at


def beta_cdf(x: float, a: float, b: float) -> float:
    """The chance that a beta variable is below ``x``: the regularised incomplete beta function.

    By its continued fraction (NIST Digital Library of Mathematical Functions, 8.17.22), evaluated as Lentz
    does.
    """
    if not 0 < x < 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = math.exp(_log_density(x, a, b)) * x * (1 - x) / a
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for part in (even, odd):
            d = 1 / _off_zero(1 + part * d)
            c = _off_zero(1 + part / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value


def _log_density(x: float, a: float, b: float) -> float:
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _bad(counts: Counts) -> int:
    return counts.violations + counts.errors


def _total(counts: Counts) -> int:
    return counts.clean + _bad(counts)


def _clean(margin: float, alpha: float) -> int | None:
    """How many clean answers show a margin if there is no bad one."""
    if not (0 < margin < 1 and 0 < alpha < 1):
        return None
    return math.ceil(math.log(alpha) / math.log1p(-margin) - 1e-9)


def _least(enough: Callable[[int], bool], first: int) -> int | None:
    """A number that is enough, a few per cent above the least; None if it is beyond reach."""
    low, high = 0, first
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 1 + high // 64:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
