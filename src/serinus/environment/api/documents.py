"""Documents: frozen values as JSON and back, by their types (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from serinus.errors import ControlError

T = TypeVar("T")


def plain(value: Any) -> Any:
    """A value as JSON has it: what is not a finite number is null."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read(kind: type[T], document: Any) -> T:
    """The value of a class that :func:`plain` told of.

    Members that the class does not have are passed over: the other side may be newer.

    Raises:
        ControlError: a member is missing or of another type.
    """
    try:
        made: T = _value(kind, document)
    except (KeyError, TypeError, ValueError) as error:
        raise ControlError(
            f"the environment answered what this version of Serinus cannot read: {error}",
            "Use the version of Serinus that runs the environment.",
        ) from None
    return made


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, found: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return None if found is None else _value(inner[0], found)
    if isinstance(kind, type) and is_dataclass(kind):
        told, hints = _of(dict, found), _hints(kind)
        return kind(**{name: _value(hint, told[name]) for name, hint in hints.items() if name in told})
    if origin is tuple:
        return tuple(_value(inner[0], one) for one in _of(list, found))
    if kind is float and type(found) is int:
        return float(found)
    return _of(dict if origin is Mapping else kind, found)


def _of(kind: type[T], found: Any) -> T:
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise TypeError(f"{found!r:.80} where {kind.__name__} was expected")
    return found
