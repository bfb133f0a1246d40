"""Examples as the first callers: what makes a service ready, and what keeps it from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract import UNKNOWN, Contract, Example
from serinus.contract.differences import TOLERANCE, differences
from serinus.contract.violations import compile as compile_schema
from serinus.serving.answers import Answer, Problem
from serinus.serving.app import Opened
from serinus.serving.examples import rehearse
from serinus.serving.service import Service

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_a_document_does_not_differ_from_itself(document: Any) -> None:
    assert list(differences(document, json.loads(json.dumps(document)))) == []


@given(JSON, JSON)
def test_a_difference_is_seen_from_both_sides(one: Any, other: Any) -> None:
    assert bool(list(differences(one, other))) == bool(list(differences(other, one)))


@given(st.floats(-1e6, 1e6), st.floats(0, 0.9))
def test_numbers_may_differ_within_the_tolerance(number: float, part: float) -> None:
    near = number + part * TOLERANCE * max(1.0, abs(number))
    assert list(differences([number], [near])) == []
    assert [v.pointer for v in differences([number], [number + 3 * TOLERANCE * max(1.0, abs(number))])] == [
        "/0"
    ]


@pytest.mark.parametrize(
    ("expected", "got", "pointer"),
    [
        (True, 1, ""),
        (0, False, ""),
        ({"a": 1}, {"b": 1}, ""),
        ({"a": [1, 2]}, {"a": [1, 3]}, "/a/1"),
        ([1], [1, 1], ""),
        ("1", 1, ""),
        (None, 0, ""),
    ],
)
def test_what_differs_is_pointed_at(expected: Any, got: Any, pointer: str) -> None:
    assert [v.pointer for v in differences(expected, got)] == [pointer]


def rehearsed(answer: Callable[[Any, bytes], Awaitable[Answer]], *examples: Example) -> str:
    schema = {"type": "object", "properties": {"positive": {"type": "boolean"}}, "required": ["positive"]}
    opened = Opened(Service(answer, Contract({}, schema)), compile_schema(schema), b"{}")
    return asyncio.run(rehearse(opened, examples, "/predict"))


@pytest.mark.parametrize(
    ("body", "example", "reason"),
    [
        (b'{"positive":true}', Example(["a"], {"positive": True}), ""),
        (b'{"positive":true}', Example(["a"], UNKNOWN), ""),
        (b'{"positive":false}', Example(["a"], {"positive": True}), "at /positive: found the boolean false"),
        (b'{"positive":"false"}', Example(["a"], UNKNOWN), "at /positive: found the string"),
        (b"{}", Example(["a"], UNKNOWN), "at /positive: the member is missing"),
    ],
)
def test_every_example_is_held_to_the_contract_and_to_its_response(
    body: bytes, example: Example, reason: str
) -> None:
    async def answer(scope: Any, request: bytes) -> Answer:
        assert json.loads(request) == example.request
        assert scope.headers.get("content-type") == "application/json"
        return Answer(200, body)

    found = rehearsed(answer, example)
    assert reason in found
    assert bool(found) == bool(reason)


def test_a_refused_example_and_an_error_of_the_app_are_told() -> None:
    async def refuse(scope: Any, request: bytes) -> Answer:
        raise Problem(503, "no database")

    async def teapot(scope: Any, request: bytes) -> Answer:
        return Answer(418)

    example = Example(["a"], UNKNOWN)
    assert "503: no database" in rehearsed(refuse, example)
    assert "418, expected 200" in rehearsed(teapot, example)
