"""Predictions: the values of an answer that are worth counting, and where in it they stand (pure).

From the response itself: scalars at the top, members of objects, and elements of lists, whose indices become
``*``. Objects inside of objects and everything deeper is left alone, and so is all beyond the first
:data:`LIMIT` values of one answer, so that a long answer costs no more than a short one.
"""

from __future__ import annotations

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
    _walk(found, response, "", 1, _ARRAYS)
    return found


def _walk(found: list[tuple[str, Scalar]], value: Any, pointer: str, objects: int, arrays: int) -> None:
    """Add to what was found until that is enough. A list and no generator: it runs for every answer."""
    kind = type(value)
    if kind is list:
        if arrays:
            inside = f"{pointer}/*"
            for element in islice(value, LIMIT):
                if len(found) == LIMIT:
                    return
                _walk(found, element, inside, objects, arrays - 1)
    elif kind is dict:
        if objects:
            for name, member in islice(value.items(), LIMIT):
                if len(found) == LIMIT:
                    return
                _walk(found, member, f"{pointer}/{escaped(name)}", 0, arrays)
    elif kind is float:
        if isfinite(value):
            found.append((pointer, value))
    elif kind is bool or kind is int or (kind is str and len(value) <= LONGEST):
        found.append((pointer, value))


def escaped(name: str) -> str:
    """A member's name as a token of a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name
