"""Axes: from a number to a place, and where to put the ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_DECADES = 2.0
"""A range of more than this many powers of ten is shown on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis; called with a number it gives the place."""

    low: float
    high: float
    begin: float
    """Place of ``low``."""
    end: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a number."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        # Halved before they are subtracted: the range of two large numbers may be too large for a float.
        share = (value / 2 - low / 2) / (high / 2 - low / 2)
        return self.begin + share * (self.end - self.begin)


def linear(low: float, high: float, begin: float, end: float, about: int = 6) -> Scale:
    """An axis with even ticks: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        low, high = low - (abs(low) * 0.5 or 0.5), low + (abs(low) * 0.5 or 0.5)
    step = _nice((high / about) - (low / about))
    first = math.ceil(low / step - 1e-9)
    numbers = range(first, first + 4 * about)
    ticks = tuple(number * step for number in numbers if number * step <= high + step * 1e-9)
    return Scale(low, high, begin, end, tuple(float(f"{tick:.12g}") for tick in ticks))


def logarithmic(low: float, high: float, begin: float, end: float) -> Scale:
    """An axis with a tick each power of ten, from and to one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    every = max(1, (last - first) // 6)
    return Scale(
        10.0**first, 10.0**last, begin, end, tuple(10.0**n for n in range(first, last + 1, every)), True
    )


def fitting(values: Iterable[float], begin: float, end: float, *, from_zero: bool = False) -> Scale:
    """The axis for some finite numbers: logarithmic where they span many powers of ten.

    Args:
        values: what is to be shown.
        begin: place of the least.
        end: place of the greatest.
        from_zero: whether bars stand on it: then it holds 0 and is linear.
    """
    known = [*values, *([0.0] if from_zero else [])] or [0.0, 1.0]
    low, high = min(known), max(known)
    if not from_zero and low > 1e-300 and high < 1e300 and math.log10(high) - math.log10(low) > _DECADES:
        return logarithmic(low, high, begin, end)
    if from_zero and low == high == 0:
        high = 1.0
    return linear(low, high, begin, end)


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= step * 0.999), 10 * power)
