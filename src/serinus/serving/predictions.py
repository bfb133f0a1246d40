"""Predictions: the values of an answer that are worth counting, and where in it they stand (pure).

From the response itself: scalars at the top, members of objects, and elements of lists, whose indices become
``*``. Objects inside of objects and everything deeper is left alone, and so is all beyond the first
:data:`LIMIT` values of one answer, so that a long answer costs no more than a short one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any

LIMIT = 64
"""As many values of one answer are looked at."""
LONGEST = 64
"""A longer string is text and no label."""
_ARRAYS = 3

Scalar = bool | int | float | str


def observed(response: Any) -> list[tuple[str, Scalar]]:
    """The pointers and values of a decoded response to count, at most :data:`LIMIT`."""
    found: list[tuple[str, Scalar]] = []
    for item in _walk(response, "", 1, _ARRAYS):
        found.append(item)
        if len(found) == LIMIT:
            break
    return found


def _walk(value: Any, pointer: str, objects: int, arrays: int) -> Iterator[tuple[str, Scalar]]:
    kind = type(value)
    if (
        kind is bool
        or kind is int
        or (kind is float and isfinite(value))
        or (kind is str and len(value) <= LONGEST)
    ):
        yield pointer, value
    elif kind is dict and objects:
        for name, member in islice(value.items(), LIMIT):
            yield from _walk(member, f"{pointer}/{escaped(name)}", 0, arrays)
    elif kind is list and arrays:
        inside = f"{pointer}/*"
        for element in islice(value, LIMIT):
            yield from _walk(element, inside, objects, arrays - 1)


def escaped(name: str) -> str:
    """A member's name as a token of a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name
