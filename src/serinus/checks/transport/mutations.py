"""Requests that break a contract at one known place, and requests that keep it to the letter. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from serinus.contract import Schema
from serinus.contract.violations import compile as compile_schema
from serinus.contract.wire import pointer

_STRANGER = "serinus-check-unknown"
_KINDS: tuple[tuple[str, Any], ...] = (
    ("null", None),
    ("a boolean", True),
    ("a number", 1.5),
    ("a string", "text"),
    ("an array", []),
    ("an object", {}),
)
_EXTREMES: tuple[Any, ...] = ("", "\x00", "\U0001f426" * 3, "a " * 5000, 0, -1, 1e308, 2**63, [], {})
MOST = 24
"""Requests that are made at most."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mutation:
    """A request that breaks the contract."""

    what: str
    """For people: ``the member /text missing``."""
    value: Any
    pointer: str
    """Where it breaks it, a JSON Pointer."""


def mutations(schema: Schema, examples: Sequence[Any]) -> tuple[Mutation, ...]:
    """Requests that break a request schema, each made from an example by one change.

    Without an example only the whole request is replaced. What the schema takes after all is left out.

    Args:
        schema: of a request.
        examples: requests that keep it.
    """
    check = compile_schema(schema)
    made = [m for example in examples for m in _of(example)] if examples else list(_wrong(None, ()))
    wrong: list[Mutation] = []
    for mutation in made:
        faults = check.violations(mutation.value)
        # The same change may break the contract somewhere else: only one place is easy to hold to.
        if faults and all(_within(fault.pointer, mutation.pointer) for fault in faults):
            wrong.append(mutation)
    return tuple(_spread(wrong))


def extremes(schema: Schema, examples: Sequence[Any]) -> tuple[Any, ...]:
    """Requests that keep a schema, with values that few think of: empty, long, huge, beyond ASCII."""
    check = compile_schema(schema)
    made = [
        changed
        for example in examples[:1]
        for path, value in places(example)
        if not isinstance(value, dict | list) or not value
        for extreme in _EXTREMES
        if check.ok(changed := put(example, path, extreme))
    ]
    return tuple(made[:: max(1, -(-len(made) // 10))])


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every place of a document with what stands there, the whole first; of arrays the first item."""
    yield path, value
    if isinstance(value, dict):
        for name, member in value.items():
            yield from places(member, (*path, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def put(document: Any, path: Path, value: Any) -> Any:
    """The document with another value at a place; the document itself stays."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return changed


def _of(example: Any) -> Iterator[Mutation]:
    for path, value in places(example):
        at = pointer(path)
        for kind in _wrong(value, path):
            yield Mutation(kind.what, put(example, path, kind.value), at)
        if isinstance(value, dict):
            for name in value:
                left = {known: member for known, member in value.items() if known != name}
                yield Mutation(
                    f"the member {pointer((*path, name))} missing",
                    put(example, path, left),
                    pointer((*path, name)),
                )
            yield Mutation(
                f"a further member at {at or 'its root'}",
                put(example, path, {**value, _STRANGER: 1}),
                pointer((*path, _STRANGER)),
            )


def _wrong(value: Any, path: Path) -> Iterator[Mutation]:
    at = pointer(path)
    for name, other in _KINDS:
        if type(other) is not type(value):
            yield Mutation(f"{name} at {at or 'its root'}", other, at)


def _within(fault: str, place: str) -> bool:
    return fault == place or fault.startswith(f"{place}/") or place.startswith(f"{fault}/")


def _spread(found: list[Mutation]) -> list[Mutation]:
    """At most :data:`MOST`, from all over."""
    return found[:: max(1, -(-len(found) // MOST))]
