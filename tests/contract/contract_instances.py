"""Values that are valid under a JSON Schema, as a hypothesis strategy (shared by the tests beside it)."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from serinus.contract import Schema, violations
from serinus.contract.references import resolve

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-4, 12)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abcdé1-", max_size=4)
)
ANY = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text("abc", max_size=2), v, max_size=3),
    max_leaves=5,
)


def instances(schema: Schema) -> st.SearchStrategy[Any]:
    """Values valid under the schema. Near misses are thrown away, so the schema should not be a trap."""
    check = violations.compile(schema)
    return _like(schema, schema, 0).filter(check.ok)


def _like(schema: Any, root: Schema, depth: int) -> st.SearchStrategy[Any]:
    """Values that probably fit: each keyword is heeded alone."""
    if isinstance(schema, bool) or not schema or depth > 6:
        return ANY
    if "$ref" in schema:
        return st.deferred(lambda: _like(resolve(root, schema["$ref"]), root, depth + 1))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]) or [None])
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return st.one_of([_like(branch, root, depth + 1) for branch in schema[keyword]])
    if "allOf" in schema:
        merged = {k: v for part in schema["allOf"] if isinstance(part, dict) for k, v in part.items()}
        return _like({**merged, **{k: v for k, v in schema.items() if k != "allOf"}}, root, depth + 1)
    stated = schema.get("type", ["null", "boolean", "integer", "number", "string", "array", "object"])
    names = [stated] if isinstance(stated, str) else stated
    return st.one_of([_of_type(name, schema, root, depth) for name in names])


def _of_type(name: str, schema: Schema, root: Schema, depth: int) -> st.SearchStrategy[Any]:
    simple: dict[str, st.SearchStrategy[Any]] = {"null": st.none(), "boolean": st.booleans()}
    if name in simple:
        return simple[name]
    if name == "string":
        return _strings(schema)
    if name == "array":
        return _arrays(schema, root, depth)
    return _objects(schema, root, depth) if name == "object" else _numbers(schema, whole=name == "integer")


def _numbers(schema: Schema, whole: bool) -> st.SearchStrategy[Any]:
    low = max((schema[k] for k in ("minimum", "exclusiveMinimum") if k in schema), default=None)
    high = min((schema[k] for k in ("maximum", "exclusiveMaximum") if k in schema), default=None)
    if low is not None and high is not None and low > high:
        return st.integers()
    whole_low = None if low is None else math.ceil(low)
    whole_high = None if high is None else math.floor(high)
    fits = whole_low is None or whole_high is None or whole_low <= whole_high
    integers = st.integers(whole_low, whole_high) if fits else st.just(whole_low)
    near = integers | integers.map(lambda n: float(n) if abs(n) < 1 << 50 else n)  # 1.0 is an integer
    return near if whole else near | st.floats(low, high, allow_nan=False, allow_infinity=False)


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    least, most = schema.get("minLength", 0), schema.get("maxLength", 6)
    characters = st.characters(exclude_categories=["Cs"])
    return st.text(characters, min_size=min(least, most), max_size=max(least, most))


def _arrays(schema: Schema, root: Schema, depth: int) -> st.SearchStrategy[list[Any]]:
    prefix = st.tuples(*[_like(item, root, depth + 1) for item in schema.get("prefixItems", [])])
    least = max(schema.get("minItems", 0) - len(schema.get("prefixItems", [])), 0)
    most = max(schema.get("maxItems", least + 2) - len(schema.get("prefixItems", [])), 0)
    rest = st.lists(
        _like(schema.get("items", True), root, depth + 1), min_size=min(least, most), max_size=most
    )
    whole = st.tuples(prefix, rest).map(lambda pair: [*pair[0], *pair[1]])
    return whole | prefix.map(list)


def _objects(schema: Schema, root: Schema, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    properties = schema.get("properties", {})
    members = {name: _like(member, root, depth + 1) for name, member in properties.items()}
    required = schema.get("required", [])
    stated = st.fixed_dictionaries(
        {name: members.get(name, ANY) for name in required},
        optional={name: member for name, member in members.items() if name not in required and depth < 5},
    )
    if schema.get("additionalProperties") is False:
        return stated
    name_schema = schema.get("propertyNames", {})
    names = _strings(name_schema) if "enum" not in name_schema else st.sampled_from(name_schema["enum"])
    names |= st.sampled_from(["a", "b", "ab"])
    further = st.dictionaries(
        names, _like(schema.get("additionalProperties", True), root, depth + 1), max_size=2
    )
    return st.tuples(further, stated).map(lambda pair: {**pair[0], **pair[1]})
