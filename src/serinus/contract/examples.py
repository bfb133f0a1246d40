"""Draw a contract from examples: what has been seen is allowed, and nothing is guessed beyond it.

The schemas say the types seen, the members every object had, and what arrays held. They leave objects open
for members not seen, and never take a few values for the only ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from serinus.contract import UNKNOWN, Contract, Example, Schema
from serinus.contract.wire import foreign, on_wire
from serinus.errors import ContractError


def from_examples(examples: Iterable[Example]) -> Contract:
    """The contract that the examples show; they become its examples.

    Without a response in any of them the response may be anything.

    Raises:
        ContractError: there is no example, or one holds what JSON cannot carry.
    """
    examples = tuple(examples)
    if not examples:
        raise ContractError(
            "there are no examples to draw a contract from", 'Write one {"request": ...} a line.'
        )
    for number, example in enumerate(examples, 1):
        for side, value in (("request", example.request), ("response", example.response)):
            if value is not UNKNOWN and not on_wire(value):
                fault = next(foreign(value))
                raise ContractError(
                    f"the {side} of example {number} at {fault.pointer or 'its root'}: {fault.message}"
                )
    responses = [e.response for e in examples if e.response is not UNKNOWN]
    return Contract(draw([e.request for e in examples]), draw(responses) if responses else {}, examples)


def draw(values: Sequence[Any]) -> Schema:
    """A schema under which each of these decoded JSON values is valid.

    Keywords of one type say nothing about values of another, so a union of types is one schema. ``1.0`` is a
    number here, though JSON Schema would let it pass as an integer: who writes it so means a number.
    """
    types = {_type_of(value) for value in values}
    if "number" in types:
        types.discard("integer")
    schema: Schema = {"type": min(types) if len(types) == 1 else sorted(types)}
    items = [item for value in values if isinstance(value, (list, tuple)) for item in value]
    if items:
        schema["items"] = draw(items)
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        schema |= _members(objects)
    return schema


def _members(objects: Sequence[dict[str, Any]]) -> Schema:
    names = dict.fromkeys(name for value in objects for name in value)
    properties = {name: draw([value[name] for value in objects if name in value]) for name in names}
    required = [name for name in names if all(name in value for value in objects)]
    return {"properties": properties} | ({"required": required} if required else {})


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    for type_, name in ((str, "string"), (int, "integer"), (float, "number"), (dict, "object")):
        if isinstance(value, type_):
            return name
    return "null" if value is None else "array"
