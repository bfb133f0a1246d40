"""What a conjunction of JSON Schemas says about values, put so that two of them can be compared. Pure.

A schema is taken apart into *parts*, schemas without ``$ref`` and ``allOf`` that all have to hold. No parts
mean that everything is allowed. The questions below are answered for all parts together; where an answer is
not exact it errs towards allowing more, and says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serinus.contract import Schema
from serinus.contract.references import IN_LIST, IN_MAP, IN_ONE, AnySchema, collect
from serinus.contract.violations import Check
from serinus.contract.violations import compile as compile_schema
from serinus.errors import ContractError

Parts = tuple[Schema, ...]
UNEVALUATED = frozenset({"unevaluatedItems", "unevaluatedProperties"})
NOTHING: Schema = {"enum": []}
"""The part that allows no value."""

TYPES = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
"""The types of JSON Schema, ``number`` split into whole numbers and the rest."""
_ASSERTIONS = (
    IN_ONE
    | IN_LIST
    | IN_MAP
    | {"$ref", "type", "enum", "const", "required", "dependentRequired", "uniqueItems"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format", "pattern"}
    | {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
    | {"minContains", "maxContains"}
) - {"contentSchema"}


def canonical(value: Any) -> str:
    """Text that is the same for the same JSON; unlike ``==`` it keeps ``1`` and ``true`` apart."""
    return json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Document:
    """A whole schema without annotations, its references all of the form ``#/$defs/NAME``."""

    root: Schema
    definitions: dict[str, AnySchema] = field(default_factory=dict)
    _checks: dict[str, Check] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, schema: Schema) -> Document:
        """Bring a schema to this form.

        Raises:
            ContractError: it refers to something outside itself, or by anchor; or a definition to itself
                without an item or a member in between, which says nothing (core, section 9.4.1).
        """
        root = collect(schema, schema, _assertions)
        definitions: dict[str, AnySchema] = root.pop("$defs", {})
        _refuse_cycles({name: _refers_to(definition) for name, definition in definitions.items()})
        return cls(root, definitions)

    def parts(self, schema: AnySchema) -> Parts:
        """The schema taken apart."""
        if isinstance(schema, bool):
            return () if schema else (NOTHING,)
        if schema.get("not") is True or schema.get("not") == {}:
            return (NOTHING,)
        rest = {k: v for k, v in schema.items() if k not in ("$ref", "allOf")}
        if not UNEVALUATED.isdisjoint(schema):
            rest = schema  # they look at what stands beside them, so that is kept beside them
        parts: Parts = (rest,) if rest else ()
        if "$ref" in schema:
            parts += self.parts(self.definitions[_name(schema)])
        for one in schema.get("allOf", ()):
            parts += self.parts(one)
        return parts

    def allows(self, parts: Iterable[Schema], value: Any) -> bool:
        """Whether the value is valid under all the parts, all keywords taken into account."""
        whole = {"allOf": [{}, *parts], "$defs": self.definitions}
        text = canonical(whole)
        if text not in self._checks:
            self._checks[text] = compile_schema(whole)
        return self._checks[text].ok(value)

    def types(self, parts: Parts, depth: int = 0) -> frozenset[str]:
        """The types a value may have; at most more than it can."""
        allowed = TYPES
        for part in parts:
            allowed &= named_types(part)
            values = fixed_values(part)
            if values is not None:
                allowed &= {type_of(value) for value in values}
            for keyword in ("anyOf", "oneOf"):
                if keyword in part and depth < 4:  # deeper down, any type
                    branches = [self.types(self.parts(b), depth + 1) for b in part[keyword]]
                    allowed &= frozenset().union(*branches)
        return allowed

    def values(self, parts: Parts) -> list[Any] | None:
        """Every value there can be, if they are few and known; else None."""
        listed = [values for part in parts if (values := fixed_values(part)) is not None]
        if listed:
            return [value for value in min(listed, key=len) if self.allows(parts, value)]
        known: dict[str, list[Any]] = {"null": [None], "boolean": [False, True]}
        types = self.types(parts)
        if not types <= set(known):
            return None
        candidates = [value for name in sorted(types) for value in known[name]]
        return [value for value in candidates if self.allows(parts, value)]

    def member(self, parts: Parts, name: str) -> Parts:
        """What the member of this name must be, in an object that has it."""
        found: Parts = ()
        for part in parts:
            stated = name in part.get("properties", {})
            if stated:
                found += self.parts(part["properties"][name])
            patterns = part.get("patternProperties", {})
            matched = [pattern for pattern in patterns if matches(pattern, name)]
            for pattern in matched:
                found += self.parts(patterns[pattern])
            if not stated and not matched:
                found += self.parts(part.get("additionalProperties", True))
        return found

    def further(self, parts: Parts, patterns: Sequence[str] = ()) -> Parts:
        """What a member must be whose name is in no ``properties`` and matches none of the patterns."""
        found: Parts = ()
        for part in parts:
            if set(part.get("patternProperties", {})) <= set(patterns):
                found += self.parts(part.get("additionalProperties", True))
        return found

    def item(self, parts: Parts, index: int) -> Parts:
        """What the item at the index must be, in an array that has it."""
        found: Parts = ()
        for part in parts:
            prefix = part.get("prefixItems", [])
            found += self.parts(prefix[index] if index < len(prefix) else part.get("items", True))
        return found

    def most_items(self, parts: Parts) -> float:
        """The length that no array exceeds."""
        lengths = [part.get("maxItems", math.inf) for part in parts]
        lengths += [len(p.get("prefixItems", [])) for p in parts if p.get("items") is False]
        return min(lengths, default=math.inf)

    def most_members(self, parts: Parts) -> float:
        """The number of members that no object exceeds."""
        counts = [part.get("maxProperties", math.inf) for part in parts]
        counts += [len(names) for part in parts if (names := closed_names(part)) is not None]
        return min(counts, default=math.inf)


def _name(schema: Schema) -> str:
    """The definition that the schema refers to."""
    return str(schema["$ref"]).removeprefix("#/$defs/")


def _refers_to(schema: AnySchema) -> set[str]:
    """The definitions that the schema holds the very same value to."""
    if isinstance(schema, bool):
        return set()
    found = {_name(schema)} if "$ref" in schema else set()
    beside = [branch for k in ("allOf", "anyOf", "oneOf") for branch in schema.get(k, ())]
    beside += [schema[k] for k in ("not", "if", "then", "else") if k in schema]
    beside += schema.get("dependentSchemas", {}).values()
    return found.union(*(_refers_to(branch) for branch in beside))


def _refuse_cycles(graph: dict[str, set[str]]) -> None:
    left = dict(graph)
    while left:  # take away what refers to nothing that is left, until nothing is left
        free = [name for name, others in left.items() if not others & left.keys()]
        if not free:
            raise ContractError(f"the definition {min(left)!r} refers to itself")
        for name in free:
            del left[name]


def _assertions(schema: Schema) -> Schema:
    """The schema without what only describes."""
    if "dependencies" in schema:  # of draft 7; validators still heed it
        raise ContractError("the schema uses dependencies, which draft 2020-12 does not have")
    return {keyword: value for keyword, value in schema.items() if keyword in _ASSERTIONS}


def matches(pattern: str, name: str) -> bool:
    """Whether the pattern is found in the name, by the very engine that validates."""
    return compile_schema({"pattern": pattern}).ok(name)


def named_types(part: Schema) -> frozenset[str]:
    """The types that the keyword ``type`` allows."""
    stated = part.get("type")
    if stated is None:
        return TYPES
    named = {stated} if isinstance(stated, str) else set(stated)
    if "number" in named:
        named = (named - {"number"}) | {"integer", "fraction"}
    return frozenset(named)


def type_of(value: Any) -> str:
    """The type of a decoded JSON value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) or value.is_integer() else "fraction"
    if value is None:
        return "null"
    return "string" if isinstance(value, str) else "object" if isinstance(value, dict) else "array"


def fixed_values(part: Schema) -> list[Any] | None:
    """The values of ``enum`` or ``const``."""
    if "const" in part:
        return [part["const"]]
    return list(part["enum"]) if "enum" in part else None


def closed_names(part: Schema) -> set[str] | None:
    """The names that members can have, if no others are allowed; else None."""
    if part.get("additionalProperties") is False and not part.get("patternProperties"):
        return set(part.get("properties", {}))
    return None


def required(parts: Parts) -> set[str]:
    """The members that every object has."""
    return {name for part in parts for name in part.get("required", ())}


def lowest(parts: Parts, whole: bool) -> tuple[float, bool]:
    """The lower bound and whether it is excluded; ``whole`` for values that are integers."""
    bounds = [(part["minimum"], False) for part in parts if "minimum" in part]
    bounds += [(part["exclusiveMinimum"], True) for part in parts if "exclusiveMinimum" in part]
    if whole:
        bounds = [(math.floor(b) + 1 if excluded else math.ceil(b), False) for b, excluded in bounds]
    return max(bounds, default=(-math.inf, False))


def highest(parts: Parts, whole: bool) -> tuple[float, bool]:
    """The upper bound, as :func:`lowest`."""
    mirrored = [
        {
            mirror: -part[keyword]
            for keyword, mirror in (("maximum", "minimum"), ("exclusiveMaximum", "exclusiveMinimum"))
            if keyword in part
        }
        for part in parts
    ]
    bound, excluded = lowest(tuple(mirrored), whole)
    return -bound, excluded
