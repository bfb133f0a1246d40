"""Which changes break callers: by example, and that a change called compatible never breaks one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from contract_instances import ANY, instances
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from serinus.contract import Contract, Example, Schema, violations
from serinus.contract.compare import Change, compare
from serinus.contract.infer import signature
from serinus.errors import ContractError

INT: Schema = {"type": "integer"}
STR: Schema = {"type": "string"}
BOOL: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}


def obj(required: list[str] | None = None, closed: bool = False, **properties: Any) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "required": required or []}
    return {**schema, "additionalProperties": False} if closed else schema


def arr(items: Any, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def tree(value: Schema) -> Schema:
    node = obj(["value"], value=value, children=arr({"$ref": "#/$defs/node"}))
    return {"$defs": {"node": node}, "$ref": "#/$defs/node"}


CAT = obj(["kind"], kind={"const": "cat"}, lives=INT)
DOG = obj(["kind"], kind={"const": "dog"}, tail=BOOL)
LOUD_DOG = obj(["kind"], kind={"const": "dog"}, tail=STR)

BREAKS_REQUEST = [
    (arr(STR), STR, "", "type"),
    ({"type": "number"}, INT, "", "type"),
    ({"type": ["string", "null"]}, STR, "", "type"),
    ({"anyOf": [STR, NULL]}, STR, "", "type"),
    (obj(a=INT), obj(["a"], a=INT), "/a", "required"),
    (obj(a=INT, b=STR, closed=True), obj(a=INT, closed=True), "/b", "additionalProperties"),
    (obj(a=INT), obj(a=INT, closed=True), "/*", "additionalProperties"),
    (obj(a=INT), obj(a=INT, b=STR), "/b", "type"),
    (arr(obj(**{"a/b": INT})), arr(obj(**{"a/b": STR})), "/*/a~1b", "type"),
    ({"enum": ["a", "b"]}, {"enum": ["a"]}, "", "enum"),
    (STR, {"enum": ["a"]}, "", "enum"),
    (BOOL, {"const": True}, "", "enum"),
    ({"const": 1}, {"const": True}, "", "type"),
    (INT, {"type": "integer", "minimum": 0}, "", "minimum"),
    ({"type": "number", "maximum": 1}, {"type": "number", "exclusiveMaximum": 1}, "", "maximum"),
    (STR, {"type": "string", "maxLength": 5}, "", "maxLength"),
    (arr(INT, maxItems=3), arr(INT, maxItems=2), "", "maxItems"),
    (arr(INT), arr(INT, minItems=1), "", "minItems"),
    (arr(INT), arr(INT, uniqueItems=True), "", "uniqueItems"),
    (arr(INT), {"type": "array", "prefixItems": [INT], "items": False}, "/*", "items"),
    (arr(INT), {"type": "array", "prefixItems": [STR], "items": INT}, "/0", "type"),
    ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}, "", "pattern"),
    ({"type": "string", "format": "date"}, {"type": "string", "format": "uuid"}, "", "format"),
    ({"type": "integer", "multipleOf": 2}, {"type": "integer", "multipleOf": 4}, "", "multipleOf"),
    (tree({"type": "number"}), tree(INT), "/value", "type"),
    ({"oneOf": [CAT, DOG]}, {"oneOf": [CAT, LOUD_DOG]}, "/tail", "type"),
    ({"oneOf": [CAT, DOG]}, CAT, "/kind", "enum"),
    ({}, {"not": {"type": "string"}}, "", "not"),
    ({}, False, "", "enum"),
    (obj(a=INT), {**obj(a=INT), "propertyNames": {"maxLength": 3}}, "", "propertyNames"),
    (
        obj(a=INT, closed=True),
        {**obj(a=INT, closed=True), "propertyNames": {"minLength": 2}},
        "/a",
        "propertyNames",
    ),
    (obj(), {**obj(), "dependentRequired": {"a": ["b"]}}, "/b", "dependentRequired"),
    (obj(), {**obj(), "patternProperties": {"^x": INT}}, "/*", "patternProperties"),
    (obj(), {**obj(), "minProperties": 1}, "", "minProperties"),
    (obj(), {**obj(), "maxProperties": 9}, "", "maxProperties"),
]


@pytest.mark.parametrize(("old", "new", "place", "kind"), BREAKS_REQUEST)
def test_a_request_that_was_accepted_must_go_on_being_accepted(
    old: Any, new: Any, place: str, kind: str
) -> None:
    new = {"not": {}} if new is False else new
    found = compare(Contract(old, {}), Contract(new, {}))
    breaking = [change for change in found if change.breaking]
    assert place in [change.pointer for change in breaking]
    if kind not in ("patternProperties", "enum"):
        assert (place, kind) in [(change.pointer, change.kind) for change in breaking]
    assert all(change.side == "request" and change.why for change in found)
    # The way back takes more requests, and in a response it is the other way round.
    assert (
        all(not c.breaking for c in compare(Contract(new, {}), Contract(old, {})))
        or kind in ("type", "pattern")
        or kind in ("format", "enum")
    )
    flipped = [c for c in compare(Contract({}, new), Contract({}, old)) if c.breaking]
    assert {(c.pointer, c.kind) for c in flipped} == {(c.pointer, c.kind) for c in breaking}
    assert all(c.side == "response" for c in flipped)


COMPATIBLE_REQUEST = [
    (STR, {"type": ["string", "null"]}),
    (INT, {"type": "number"}),
    (INT, {"anyOf": [STR, {"type": "number"}]}),
    ({"type": ["integer", "null"]}, {"anyOf": [INT, NULL]}),
    ({"anyOf": [INT, NULL]}, {"type": ["integer", "null"]}),
    ({"enum": ["a"]}, {"enum": ["a", "b"]}),
    ({"const": "a"}, STR),
    ({"enum": [1, None, "x"]}, {"anyOf": [INT, NULL, STR]}),
    (obj(["a"], a=INT), obj(a=INT)),
    (obj(a=INT, closed=True), obj(a=INT, b=STR, closed=True)),
    (obj(a=INT, closed=True), obj(a={"type": "number"}, b=STR)),
    (obj(["a"], a=INT), {"type": "object", "minProperties": 1}),
    (obj(a=INT, closed=True), {"type": "object", "maxProperties": 1}),
    (arr(INT, minItems=2), arr({"type": "number"}, minItems=1)),
    ({"type": "array", "prefixItems": [INT, INT], "items": False}, arr(INT, maxItems=2)),
    ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
    (
        {"type": "integer", "minimum": 1, "maximum": 3},
        {"type": "number", "exclusiveMinimum": 0.5, "maximum": 3.5},
    ),
    ({"type": "integer", "multipleOf": 6}, {"type": "integer", "multipleOf": 3}),
    ({"type": "string", "pattern": "^a", "maxLength": 3}, {"type": "string", "pattern": "^a"}),
    (tree(INT), tree({"type": "number"})),
    ({"oneOf": [CAT, DOG]}, {"oneOf": [CAT, DOG, obj(["kind"], kind={"const": "cow"})]}),
    (CAT, {"oneOf": [DOG, CAT]}),
    ({"oneOf": [CAT, DOG]}, {"type": "object"}),
    ({"allOf": [INT, {"minimum": 3}]}, {"type": "number", "minimum": 2}),
    ({"$defs": {"a": INT}, "$ref": "#/$defs/a", "minimum": 3}, {"type": "integer", "minimum": 3}),
    (STR, {"not": NULL}),
    (obj(closed=True, a=INT), {**obj(a=INT), "propertyNames": {"maxLength": 1}}),
    (obj(["b"]), {**obj(), "dependentRequired": {"a": ["b"]}}),
    ({**obj(), "patternProperties": {"^x": INT}}, {**obj(), "patternProperties": {"^x": {"type": "number"}}}),
    ({"not": {}}, INT),
    (BOOL, {"enum": [True, False]}),
]


@pytest.mark.parametrize(("old", "new"), COMPATIBLE_REQUEST)
def test_a_request_may_allow_more_and_a_response_less(old: Any, new: Any) -> None:
    assert [c for c in compare(Contract(old, {}), Contract(new, {})) if c.breaking] == []
    assert [c for c in compare(Contract({}, new), Contract({}, old)) if c.breaking] == []


def test_a_new_member_of_a_response_breaks_nobody_unless_there_were_to_be_no_others() -> None:
    old, new = obj(["positive"], positive=BOOL), obj(["positive", "score"], positive=BOOL, score=INT)
    assert all(not change.breaking for change in compare(Contract({}, old), Contract({}, new)))
    closed, more = {**old, "additionalProperties": False}, {**new, "additionalProperties": False}
    (change, *_) = compare(Contract({}, closed), Contract({}, more))
    assert (change.side, change.pointer, change.breaking) == ("response", "/score", True)


def test_the_incident_of_the_scenario() -> None:
    def before(texts: list[str]) -> dict[str, bool]:
        return {}

    def after(texts: list[str]) -> dict[str, str]:
        return {}

    found = compare(signature(before).contract, signature(after).contract)
    assert [c for c in found if c.breaking] == [
        Change(
            "response",
            "/*",
            "type",
            True,
            "callers may now get a string, which was not possible before",
        )
    ]


def test_what_callers_cannot_tell_is_no_change() -> None:
    plain = obj(["a"], a=INT)
    told = {
        **plain,
        "title": "T",
        "description": "d",
        "properties": {"a": {**INT, "title": "A", "default": 1}},
    }
    elsewhere = {"$defs": {"x": plain}, "$ref": "#/$defs/x"}
    assert compare(Contract(plain, plain), Contract(told, told, (Example({}, {}),))) == ()
    assert compare(Contract(plain, plain), Contract(elsewhere, elsewhere)) == ()
    assert compare(Contract(BOOL, {}), Contract({"enum": [False, True]}, {})) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"$dynamicRef": "#a"}, {}),
        ({"$ref": "other.json"}, INT),
        ({"$ref": "#/$defs/none"}, INT),
        ({"dependencies": {"a": ["b"]}}, {"dependencies": {"a": ["c"]}}),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, INT),
        ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}, INT),
        (
            {"$defs": {"a": obj(x=INT)}, "$ref": "#/$defs/a", "unevaluatedProperties": False},
            {"$defs": {"a": obj(y=INT)}, "$ref": "#/$defs/a", "unevaluatedProperties": False},
        ),
        (STR, {"if": {}, "then": False}),
        (arr(INT), arr(INT, contains={})),
        ({"if": INT, "then": {"minimum": 3}}, {"if": INT, "then": {"minimum": 4}}),
        (arr(INT, contains={"minimum": 3}), arr(INT, contains={"minimum": 4})),
        (INT, {"oneOf": [{"minimum": 0}, {"multipleOf": 2}]}),
    ],
)
def test_what_cannot_be_decided_is_breaking_and_says_so(old: Any, new: Any) -> None:
    first = compare(Contract(old, {}), Contract(new, {}))[0]
    assert first.breaking
    assert first.why.startswith("cannot be shown to be compatible: ")


def test_schemas_with_very_many_alternatives_or_levels_come_to_an_end() -> None:
    wide: Any = {"anyOf": [obj([f"k{i}"], **{f"k{i}": {"anyOf": [INT, STR, NULL]}}) for i in range(12)]}
    more = copy.deepcopy(wide)
    more["anyOf"][3]["properties"]["k3"] = INT
    assert any(change.breaking for change in compare(Contract(wide, {}), Contract(more, {})))
    deep, deeper = INT, STR
    for _ in range(120):
        deep, deeper = arr(deep), arr(deeper)
    assert any(change.breaking for change in compare(Contract(deep, {}), Contract(deeper, {})))


# ------------------------------------------------------------------------------- soundness

NAMES = st.sampled_from(["a", "b", "c"])
SMALL = st.integers(-2, 3)
SCALAR = st.none() | st.booleans() | SMALL | st.sampled_from([0.5, 1.0, "", "a", "ab"])


def _some(**keywords: Any) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries({}, optional=keywords)


LEAF = st.one_of(
    st.booleans(),
    st.sampled_from([{}, {"$ref": "#/$defs/x"}, {"$ref": "#"}]),
    st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"]).map(
        lambda name: {"type": name}
    ),
    st.lists(st.sampled_from(["null", "boolean", "integer", "string"]), min_size=1, unique=True).map(
        lambda names: {"type": names}
    ),
    st.lists(SCALAR, min_size=1, max_size=3, unique_by=str).map(lambda values: {"enum": values}),
    SCALAR.map(lambda value: {"const": value}),
    _some(minimum=SMALL, maximum=SMALL, exclusiveMinimum=SMALL, exclusiveMaximum=SMALL),
    _some(multipleOf=st.sampled_from([1, 2, 4, 0.5]), minimum=SMALL).map(lambda s: {"type": "integer", **s}),
    _some(minLength=st.integers(0, 2), maxLength=st.integers(0, 3), pattern=st.sampled_from(["^a", "b"])),
)


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = _some(
        type=st.just("array"),
        items=inner,
        prefixItems=st.lists(inner, min_size=1, max_size=2),
        minItems=st.integers(0, 2),
        maxItems=st.integers(0, 3),
        uniqueItems=st.booleans(),
        contains=inner,
        unevaluatedItems=st.booleans(),
    )
    objects = _some(
        type=st.just("object"),
        properties=st.dictionaries(NAMES, inner, max_size=2),
        required=st.lists(NAMES, max_size=2, unique=True),
        additionalProperties=inner,
        patternProperties=st.dictionaries(st.sampled_from(["^a", "b$"]), inner, min_size=1, max_size=1),
        propertyNames=st.sampled_from([{"maxLength": 1}, {"enum": ["a", "b"]}]),
        dependentRequired=st.dictionaries(NAMES, st.lists(NAMES, max_size=1), max_size=1),
        dependentSchemas=st.dictionaries(NAMES, inner, max_size=1),
        minProperties=st.integers(0, 2),
        maxProperties=st.integers(0, 3),
        unevaluatedProperties=st.booleans(),
    )
    several = st.one_of(
        [
            st.fixed_dictionaries({k: st.lists(inner, min_size=1, max_size=3)})
            for k in ("anyOf", "oneOf", "allOf")
        ]
    )
    other = st.fixed_dictionaries({"not": inner}) | _some(**{"if": inner, "then": inner, "else": inner})
    both = st.tuples(several, objects | arrays).map(lambda pair: {**pair[0], **pair[1]})
    return st.one_of(arrays, objects, several, other, both)


SUBSCHEMA = st.recursive(LEAF, _larger, max_leaves=6)
SCHEMA = st.tuples(SUBSCHEMA, SUBSCHEMA).map(
    lambda pair: {**(pair[0] if isinstance(pair[0], dict) else {"allOf": [pair[0]]}), "$defs": {"x": pair[1]}}
)


def _nodes(schema: Any) -> list[Schema]:
    """Every object within the schema, itself first."""
    if isinstance(schema, dict):
        return [schema, *(node for value in schema.values() for node in _nodes(value))]
    return [node for item in schema for node in _nodes(item)] if isinstance(schema, list) else []


@st.composite
def pairs(draw: Any) -> tuple[Schema, Schema]:
    """Two schemas, the second often a small change of the first: such pairs are the hard ones."""
    old = draw(SCHEMA)
    if draw(st.integers(0, 3)) == 0:
        return old, draw(SCHEMA)
    new = copy.deepcopy(old)
    node = draw(st.sampled_from(_nodes(new)))
    if node and draw(st.booleans()):
        del node[draw(st.sampled_from(sorted(node)))]
    else:
        more = draw(SUBSCHEMA)
        node.update(more if isinstance(more, dict) else {})
    return old, new


def _compiled(schema: Schema) -> violations.Check:
    try:
        return violations.compile(schema)
    except ContractError:
        assume(False)
        raise


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(pairs(), st.lists(ANY | st.dictionaries(NAMES, ANY), max_size=10), st.data())
@example(({"anyOf": [INT, STR]}, {"oneOf": [INT, STR]}), [1, "a"], None)
@example(({"oneOf": [CAT, DOG]}, {"anyOf": [CAT, DOG]}), [{"kind": "cat"}], None)
@example((tree(INT), tree({"type": "number"})), [{"value": 1, "children": [{"value": 2}]}], None)
def test_a_change_called_compatible_never_breaks_a_caller(
    pair: tuple[Schema, Schema], values: list[Any], data: st.DataObject | None
) -> None:
    """Accepted before is accepted after, for requests; possible after was possible before, for responses."""
    old, new = pair
    before, after = _compiled(old), _compiled(new)
    found = compare(Contract(old, old), Contract(new, new))
    broken = {change.side for change in found if change.breaking}
    if data is not None and broken != {"request", "response"}:
        values = [*values, *(data.draw(_tried(schema)) for schema in (old, new) for _ in range(3))]
    for value in values:
        accepted, promised = before.ok(value), after.ok(value)
        assert "request" in broken or not accepted or promised, value
        assert "response" in broken or not promised or accepted, value
    assert {c.pointer for c in compare(Contract(new, new), Contract(old, old))} or not found


def _tried(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that are likely to be valid, without insisting."""
    from contract_instances import _like

    return _like(schema, schema, 0)


@settings(suppress_health_check=list(HealthCheck))
@given(SCHEMA, SCHEMA)
def test_a_contract_equals_itself(request: Schema, response: Schema) -> None:
    one = Contract(request, response)
    again = Contract.from_json(one.to_json()) if _compiled(request) and _compiled(response) else one
    assert compare(one, again) == ()


def test_pairs_are_often_compatible_so_that_soundness_is_tested_at_all() -> None:
    seen = {True: 0, False: 0}

    @settings(max_examples=100, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(pairs())
    def count(pair: tuple[Schema, Schema]) -> None:
        found = compare(Contract(pair[0], {}), Contract(pair[1], {}))
        seen[any(change.breaking for change in found)] += 1

    count()
    assert min(seen.values()) > 15


@given(INSTANCES := st.sampled_from([old for old, *_ in BREAKS_REQUEST if old]), st.data())
def test_the_schemas_above_can_be_met(schema: Schema, data: st.DataObject) -> None:
    assert violations.compile(schema).ok(data.draw(instances(schema)))
