"""How the keys of the project file are declared: each a field of a dataclass, its rule in the metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, field, is_dataclass
from typing import Any


def key(default: Any = ..., **rule: Any) -> Any:
    """A key of the project file: its default (``...`` means it must be given) and the rule for its value."""
    return field(metadata=rule) if default is ... else field(default=default, metadata=rule)


def texts(**rule: Any) -> Any:
    """A key that stands for a table of texts under any names, empty by default."""
    return field(default_factory=dict, hash=False, metadata=rule)


def tables(kind: type, name: str, pattern: str) -> Any:
    """A key that stands for tables under names that the project chooses, empty by default.

    Args:
        kind: the class of each table.
        name: what stands for a name in the documentation: ``STEP``.
        pattern: what a name must match.
    """
    return field(default_factory=dict, hash=False, metadata={"kind": kind, "name": name, "names": pattern})


def inner(of: Field[Any]) -> type | None:
    """The class of the table that a key stands for; None for a plain key."""
    return type(of.default) if is_dataclass(of.default) else None


def named(of: Field[Any]) -> type | None:
    """The class of each of the tables under free names that a key stands for; None for any other key."""
    kind: type | None = of.metadata.get("kind")
    return kind


def default_of(of: Field[Any]) -> Any:
    """The default of a key; ``...`` if it must be given."""
    if of.default is not MISSING:
        return of.default
    make: Callable[[], Any] | Any = of.default_factory
    return ... if make is MISSING else make()
