"""A compiled schema names the place of every fault."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract import DIALECT, Schema
from serinus.contract.violations import BrokenContract, compile, explain  # noqa: A004
from serinus.errors import ContractError

LABEL: Schema = {
    "type": "object",
    "properties": {"positive": {"type": "boolean"}, "score": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["positive"],
    "additionalProperties": False,
}
CAT: Schema = {"properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]}
DOG: Schema = {
    "properties": {"kind": {"const": "dog"}, "tail": {"type": "boolean"}},
    "required": ["kind", "tail"],
}


def faults(schema: Schema, value: Any) -> list[str]:
    """``pointer: message`` of every fault."""
    return [f"{v.pointer}: {v.message}" for v in compile(schema).violations(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"positive": "false"}, ['/positive: found the string "false", expected a boolean']),
        ({"positive": 1}, ["/positive: found the number 1, expected a boolean"]),
        ({}, ["/positive: the member is missing, expected one"]),
        ({"positive": True, "a/b~": 0}, ["/a~1b~0: found a member that the contract does not know"]),
        ({"positive": True, "score": math.nan}, ["/score: found NaN, which is not JSON"]),
        ({"positive": True, "score": -1}, ["/score: found the number -1, expected at least 0"]),
        ([], [": found an empty array, expected an object"]),
        (
            {"score": 2, "x": 1},
            [
                "/positive: the member is missing, expected one",
                "/score: found the number 2, expected at most 1",
                "/x: found a member that the contract does not know",
            ],
        ),
    ],
)
def test_each_fault_is_named_with_its_place(value: Any, expected: list[str]) -> None:
    assert sorted(faults(LABEL, value)) == sorted(expected)


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "x",
            [("", 'the string "x"', "an integer or null")],
        ),
        ({"oneOf": [CAT, DOG]}, {"kind": "cat", "lives": "nine"}, [("/lives", '"nine"', "an integer")]),
        ({"oneOf": [CAT, DOG]}, {"kind": "dog"}, [("/tail", "missing", "expected one")]),
        ({"oneOf": [{}, {}]}, 1, [("", "2 alternatives", "exactly one")]),
        (
            {"items": {"type": "integer"}},
            [1, "a", 2, None],
            [("/1", '"a"', "an integer"), ("/3", "null", "integer")],
        ),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, [("/ab", '"ab"', "at most 1 characters")]),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, [("/b", "missing", "expected one")]),
        ({"unevaluatedProperties": False}, {"a": 1}, [("/a", "does not know", "")]),
        ({"prefixItems": [{}], "unevaluatedItems": False}, [1, 2], [("/1", "does not know", "")]),
        ({"format": "date-time"}, "yesterday", [("", '"yesterday"', "the format date-time")]),
        ({"pattern": "^a+$"}, "b", [("", '"b"', "matching ^a+$")]),
        ({"enum": ["red", 1]}, "blue", [("", '"blue"', 'one of "red", 1')]),
        ({"const": True}, 1, [("", "the number 1", "true")]),
        ({"multipleOf": 3}, 4, [("", "4", "a multiple of 3")]),
        ({"contains": {"type": "null"}}, [1], [("", "an array of 1 item", "asks for")]),
        ({"uniqueItems": True}, [1, 1.0], [("", "an array of 2 items", "different items")]),
        ({"not": {"type": "null"}}, None, [("", "null", "excludes")]),
        ({"prefixItems": [{}], "items": False}, [1, 2], [("/1", "the number 2", "nothing here")]),
        (
            {},
            {"a": [b"x", {1: 2}]},
            [("/a/0", "builtins.bytes", "not JSON"), ("/a/1/1", "int", "expected text")],
        ),
        ({}, ["\ud800"], [("/0", "lone surrogate", "not JSON")]),
    ],
)
def test_keywords(schema: Schema, value: Any, expected: list[tuple[str, str, str]]) -> None:
    found = compile(schema).violations(value)
    assert [v.pointer for v in found] == [place for place, _, _ in expected]
    for violation, (_, shown, wanted) in zip(found, expected, strict=True):
        assert shown in violation.message
        assert wanted in violation.message


def test_a_recursive_schema_finds_faults_at_any_depth() -> None:
    tree: Schema = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}
    assert faults(tree, [[], [[1]]]) == ["/1/0/0: found the number 1, expected an array"]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "text"}, "at /type"),
        ({"properties": {"a": {"minimum": "1"}}}, "at /properties/a/minimum"),
        ({"$ref": "#/$defs/none"}, "/$defs/none"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "outside the schema"),
        ({"pattern": "("}, "regex"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, f"expected {DIALECT}"),
        ([], "an empty array"),
    ],
)
def test_a_schema_that_cannot_be_used_is_an_error_that_says_why(schema: Any, says: str) -> None:
    with pytest.raises(ContractError) as caught:
        compile(schema)
    assert says in str(caught.value)


def test_no_value_leaks_into_a_message() -> None:
    secret = "s3cret" * 100
    schema: Schema = {"type": "object", "additionalProperties": {"maxLength": 3, "enum": ["x" * 500]}}
    for violation in compile(schema).violations({"k": secret}):
        assert len(violation.message) < 220
        assert violation.message.count("s3cret") <= 11


def test_a_broken_contract_says_the_first_fault_and_how_many_more() -> None:
    broken = BrokenContract(compile(LABEL).violations({"positive": 0, "more": 1}))
    assert str(broken) == "at /positive: found the number 0, expected a boolean, and 1 more"
    assert len(broken.violations) == 2


SCHEMAS = st.sampled_from(
    [
        LABEL,
        {"oneOf": [CAT, DOG]},
        {"anyOf": [{"type": "array", "items": LABEL}, {"type": "null"}]},
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"enum": [1, "a", None]}},
        {"if": {"type": "object"}, "then": LABEL, "else": {"type": "number", "exclusiveMinimum": 0}},
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["cat", "dog", "a"]),
    lambda v: (
        st.lists(v, max_size=3)
        | st.dictionaries(st.sampled_from(["positive", "score", "kind", "lives", "tail"]), v, max_size=4)
    ),
    max_leaves=8,
)


@given(SCHEMAS, VALUES)
def test_ok_and_violations_agree_with_each_other_and_with_another_validator(
    schema: Schema, value: Any
) -> None:
    check = compile(schema)
    other = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert check.ok(value) == (not check.violations(value)) == other
    assert json.dumps([v._asdict() for v in check.violations(value)])


def test_every_fault_of_the_validator_becomes_at_least_one_violation() -> None:
    import jsonschema_rs

    schema: Schema = {"allOf": [LABEL, {"minProperties": 3}], "type": "object"}
    errors = list(jsonschema_rs.Draft202012Validator(schema).iter_errors({"z": 1}))
    assert len(errors) == 3
    assert all(list(explain(error)) for error in errors)
