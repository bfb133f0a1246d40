"""A contract drawn from examples allows what was seen."""

from __future__ import annotations

import math
from typing import Any

import pytest
from contract_instances import ANY
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract import UNKNOWN, Contract, Example, violations
from serinus.contract.examples import draw, from_examples
from serinus.errors import ContractError


@given(st.lists(st.builds(Example, ANY, ANY | st.just(UNKNOWN)), min_size=1, max_size=6))
def test_every_example_is_valid_under_the_schemas_drawn_from_it(examples: list[Example]) -> None:
    contract = from_examples(examples)
    request, response = violations.compile(contract.request), violations.compile(contract.response)
    for example in examples:
        assert request.violations(example.request) == ()
        assert example.response is UNKNOWN or response.violations(example.response) == ()
    assert contract.examples == tuple(examples)
    assert Contract.from_json(contract.to_json()) == contract
    assert from_examples(examples) == contract


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        ([True, False], {"type": "boolean"}),
        ([1, 2], {"type": "integer"}),
        ([1, 2.5], {"type": "number"}),
        ([1.0], {"type": "number"}),
        (["a", None], {"type": ["null", "string"]}),
        ([[]], {"type": "array"}),
        ([[1], ["a"], []], {"type": "array", "items": {"type": ["integer", "string"]}}),
        (
            [{"a": 1, "b": True}, {"a": 2.5}],
            {
                "type": "object",
                "properties": {"a": {"type": "number"}, "b": {"type": "boolean"}},
                "required": ["a"],
            },
        ),
        ([{"a": 1}, {}], {"type": "object", "properties": {"a": {"type": "integer"}}}),
        (
            ["x", {"a": 1}],
            {"type": ["object", "string"], "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        ),
    ],
)
def test_what_is_drawn(values: list[Any], schema: dict[str, Any]) -> None:
    assert draw(values) == schema


def test_the_flask_app_of_the_scenario() -> None:
    contract = from_examples([Example(["MLOps is critical for robustness"], {"positive": True})])
    check = violations.compile(contract.response)
    assert check.ok({"positive": False})
    assert [v.pointer for v in check.violations({"positive": "false"})] == ["/positive"]
    assert [v.pointer for v in check.violations({"positive": 1})] == ["/positive"]
    assert [v.pointer for v in violations.compile(contract.request).violations([1])] == ["/0"]


def test_without_a_response_it_may_be_anything() -> None:
    assert from_examples([Example(1, UNKNOWN)]).response == {}
    assert from_examples([Example(1, UNKNOWN), Example(1, None)]).response == {"type": "null"}


def test_without_examples_or_with_what_is_no_json_there_is_no_contract() -> None:
    with pytest.raises(ContractError, match="no examples"):
        from_examples([])
    with pytest.raises(ContractError, match="response of example 2 at /0: found NaN"):
        from_examples([Example(1, 1), Example(1, [math.nan])])
