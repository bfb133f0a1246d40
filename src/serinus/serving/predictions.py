"""Predictions: the values of an answer that are worth counting, and where in it they stand (pure).

From the response itself: scalars at the top, members of objects, and elements of lists, whose indices become
``*``. Objects inside of objects and everything deeper is left alone, and so is all beyond the first
:data:`LIMIT` values of one answer, so that a long answer costs no more than a short one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import isfinite
from typing import Any

LIMIT = 64
"""As many values of one answer are looked at."""
LONGEST = 64
"""A longer string is text and no label."""
ARRAYS = 3
"""Arrays within arrays are looked into so deep."""

Scalar = bool | int | float | str
Observed = list[tuple[str, Sequence[Scalar]]]
"""Pointers, and the values at each."""


def observed(response: Any) -> Observed:
    """Pointers and the values there of a decoded response, in its order, at most :data:`LIMIT` values."""
    found: Observed = []
    _walk(found, response, "", 1, ARRAYS, LIMIT)
    return found


def _walk(  # noqa: PLR0917 - runs for every answer
    found: Observed, value: Any, pointer: str, objects: int, arrays: int, room: int
) -> int:
    """Add to what was found; how many more values there is room for."""
    kind = type(value)
    if kind is list:
        return _elements(found, value, pointer, objects, arrays, room)
    if kind is dict:
        if objects:
            for name, member in islice(value.items(), LIMIT):
                if not room:
                    break
                below = f"{pointer}/{escaped(name)}"
                if type(member) is list:  # most members of most answers
                    room = _elements(found, member, below, 0, arrays, room)
                else:
                    room = _walk(found, member, below, 0, arrays, room)
        return room
    if kind is float:
        if not isfinite(value):
            return room
    elif not (kind is bool or kind is int or (kind is str and len(value) <= LONGEST)):
        return room
    found.append((pointer, (value,)))
    return room - 1


def _elements(  # noqa: PLR0917
    found: Observed,
    value: list[Any],
    pointer: str,
    objects: int,
    arrays: int,
    room: int,
) -> int:
    """The elements of a list; numbers of one kind are taken all at once."""
    if not arrays:
        return room
    pointer = f"{pointer}/*"
    while arrays > 1 and len(value) == 1 and type(value[0]) is list:  # a batch of one
        value, pointer, arrays = value[0], f"{pointer}/*", arrays - 1
    kinds = set(map(type, value))
    if len(value) <= room and (kinds == _INT or (kinds == _FLOAT and isfinite(sum(value)))):
        found.append((pointer, value))
        return room - len(value)
    for element in islice(value, LIMIT):
        if not room:
            break
        room = _walk(found, element, pointer, objects, arrays - 1, room)
    return room


_FLOAT, _INT = {float}, {int}


def escaped(name: str) -> str:
    """A member's name as a token of a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name
