"""Where two documents differ. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from serinus.contract import Violation
from serinus.contract.wire import found, pointer

TOLERANCE = 1e-4
"""Numbers are equal within this, relative or absolute: runtimes differ in the last digits from CPU to CPU."""


def differences(
    expected: Any, got: Any, path: tuple[str | int, ...] = (), tolerance: float = TOLERANCE
) -> Iterator[Violation]:
    """Where a response differs from the expected one, numbers by more than the tolerance (pure)."""
    if isinstance(expected, dict) and isinstance(got, dict) and expected.keys() == got.keys():
        for name, member in expected.items():
            yield from differences(member, got[name], (*path, name), tolerance)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, item in enumerate(expected):
            yield from differences(item, got[index], (*path, index), tolerance)
    elif not same(expected, got, tolerance):
        yield Violation(pointer(path), f"found {found(got)}, expected {found(expected)}")


def same(expected: Any, got: Any, tolerance: float) -> bool:
    """Whether two values are: numbers within the tolerance, all others in type and value."""
    numbers = (int, float)
    booleans = isinstance(expected, bool) or isinstance(got, bool)
    if isinstance(expected, numbers) and isinstance(got, numbers) and not booleans:
        return math.isclose(expected, got, rel_tol=tolerance, abs_tol=tolerance)
    return type(expected) is type(got) and bool(expected == got)
