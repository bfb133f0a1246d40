"""What a JSON document can hold, and how its places and values are written down for a person.

Places are JSON Pointers (RFC 6901). A value is *on the wire* when RFC 8259 JSON text in UTF-8 can carry it:
no NaN, no infinity, no lone surrogate, no member name that is not a string.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from serinus.contract import Violation

LONGEST_VALUE: Final = 60
"""Characters of a caller's value that a message shows at most."""
_DEEPEST: Final = 128
"""Levels of nesting; deeper documents are refused, before a recursion, ours or a validator's, ends badly."""


def pointer(parts: Iterable[str | int]) -> str:
    """The JSON Pointer of a path, ``~`` and ``/`` escaped (RFC 6901, section 3)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def on_wire(value: Any, depth: int = 0) -> bool:  # noqa: PLR0911 - runs for every answer
    """Whether JSON text can carry the value. About 0.1 µs for each member."""
    kind = type(value)
    if kind is str:
        return value.isascii() or _is_text(value)
    if kind is float:
        return math.isfinite(value)
    if kind is list or kind is tuple:
        if value and type(value[0]) is float and _sums_up(value):
            return True
        if depth >= _DEEPEST:
            return False
        for item in value:  # noqa: SIM110 - all() would take twice the stack
            if not on_wire(item, depth + 1):
                return False
        return True
    if kind is dict:
        if depth >= _DEEPEST:
            return False
        for name, member in value.items():
            if not (type(name) is str and (name.isascii() or _is_text(name)) and on_wire(member, depth + 1)):
                return False
        return True
    return kind is bool or kind is int or value is None


def shallow(text: bytes) -> bool:
    """Whether JSON text has so few brackets that it cannot be nested too deep, without parsing it.

    What was parsed from such text is on the wire: JSON text carries it already.
    """
    return text.count(b"[") + text.count(b"{") <= _DEEPEST


def _sums_up(numbers: list[Any] | tuple[Any, ...]) -> bool:
    # A sum is finite only when every number in it is: one pass in C for long rows of numbers.
    # Only exact numbers may take this way, and a subclass of float among them is not worth a second look.
    try:
        return math.isfinite(sum(numbers)) and {type(n) for n in numbers} <= {float, int, bool}
    except (TypeError, OverflowError):
        return False


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def foreign(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Violation]:
    """Every place that JSON text cannot carry; empty exactly when :func:`on_wire` is true."""
    if isinstance(value, (dict, list, tuple)) and len(path) >= _DEEPEST:
        # Of the whole document: a pointer that long would help nobody, and may have to fit in a header.
        yield Violation("", f"found more than {_DEEPEST} levels of nesting, expected fewer")
    elif type(value) is dict:
        for name, member in value.items():
            if type(name) is not str or not _is_text(name):
                yield Violation(
                    pointer((*path, str(name).encode(errors="replace").decode())),
                    f"found a member name that is {_foreign_name(name)}, expected text",
                )
            else:
                yield from foreign(member, (*path, name))
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield from foreign(item, (*path, index))
    elif not on_wire(value):
        yield Violation(pointer(path), f"found {_foreign_name(value)}, which is not JSON")


def _foreign_name(value: Any) -> str:
    if type(value) is float:
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if type(value) is str:
        return "a string that is not Unicode text (a lone surrogate)"
    return f"a value of type {type(value).__module__}.{type(value).__qualname__}"


def shorten(text: str, longest: int = LONGEST_VALUE) -> str:
    """At most ``longest`` characters of the text."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def found(value: Any) -> str:  # noqa: PLR0911 - one line for each type of JSON
    """A decoded JSON value in a few words, its content cut to :data:`LONGEST_VALUE` characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {json.dumps(value)}"
    if isinstance(value, (int, float)):
        return shorten(f"the number {value}")
    if isinstance(value, str):
        return f"the string {shorten(json.dumps(value[:LONGEST_VALUE], ensure_ascii=False))}" + (
            f" of {len(value)} characters" if len(value) >= LONGEST_VALUE else ""
        )
    if isinstance(value, dict):
        return "an empty object" if not value else f"an object of {len(value)} member{'s' * (len(value) > 1)}"
    if isinstance(value, (list, tuple)):
        return "an empty array" if not value else f"an array of {len(value)} item{'s' * (len(value) > 1)}"
    return shorten(str(value))


def loads(text: str | bytes) -> Any:
    """Decode JSON as RFC 8259 has it.

    Raises:
        ValueError: not JSON, ``NaN`` and ``Infinity`` and numbers beyond a double's range among it.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()  # UTF-8 alone (section 8.1); json.loads would guess UTF-16 and UTF-32
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("the document is nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {shorten(digits)} is too large for a double")
    return number
