"""Contracts as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract import UNKNOWN, Contract, Example
from serinus.contract.files import parse, read, read_examples, read_files, write, write_files
from serinus.errors import ContractError

CONTRACT = Contract(
    {"type": "array", "items": {"type": "string"}},
    {"type": "object", "properties": {"positive": {"type": "boolean"}}},
    (Example(["gut"], {"positive": True}), Example(["naïve ✓"], UNKNOWN), Example([], None)),
)
VALID = Contract(CONTRACT.request, CONTRACT.response, CONTRACT.examples[:2])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('aé~/\\"'),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text("ab"), v, max_size=3),
    max_leaves=8,
)
SCHEMA = st.sampled_from(
    [{}, {"type": "string"}, {"enum": [1, None]}, {"$ref": "#/$defs/a", "$defs": {"a": {}}}]
)


@given(SCHEMA, SCHEMA, st.lists(st.builds(Example, JSON, JSON | st.just(UNKNOWN)), max_size=4))
def test_what_was_written_is_read_back(request: Any, response: Any, examples: list[Example]) -> None:
    contract = Contract(request, response, tuple(examples))
    again = Contract.from_json(contract.to_json())
    assert again == contract
    assert again.to_json() == contract.to_json()
    assert Contract.from_json(contract.to_json().encode()) == contract


def test_files_and_the_canonical_document_say_the_same(tmp_path: Path) -> None:
    write(VALID, tmp_path / "contract.json")
    assert read(tmp_path / "contract.json") == VALID
    write_files(VALID, tmp_path / "request.json", tmp_path / "response.json", tmp_path / "examples.jsonl")
    assert read(tmp_path) == VALID
    assert (tmp_path / "examples.jsonl").read_text().splitlines()[1] == '{"request": ["naïve ✓"]}'
    (tmp_path / "examples.jsonl").unlink()
    assert read(tmp_path) == Contract(VALID.request, VALID.response)


def test_writing_leaves_nothing_else_behind_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    path.write_text("old")
    write(VALID, path)
    assert [p.name for p in tmp_path.iterdir()] == ["contract.json"]
    assert parse(path.read_text()) == VALID
    with pytest.raises(ContractError, match="cannot be written"):
        write(VALID, tmp_path / "none" / "contract.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "an empty array"),
        ('{"request": {}}', "['request']"),
        ('{"request": {}, "response": {}, "more": 1}', "more"),
        (
            '{"request": {"type": "text"}, "response": {}}',
            "the request's schema: not a valid JSON Schema: at /type",
        ),
        ('{"request": {}, "response": 3}', "the response's schema: found the number 3"),
        ('{"request": {}, "response": {}, "examples": {}}', "examples"),
        ('{"request": {}, "response": {}, "examples": [{"response": 1}]}', "example 1"),
        ('{"request": {}, "response": {}, "examples": [{"request": NaN}]}', "NaN"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_is_no_contract_is_refused_and_named(text: str | bytes, says: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_boolean_schemas_become_objects() -> None:
    contract = parse('{"request": true, "response": false}')
    assert contract == Contract({}, {"not": {}})


def test_a_fault_in_the_examples_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"request": ["a"]}\n\n{"request": \n')
    with pytest.raises(ContractError, match=r"examples\.jsonl:3: not JSON"):
        read_examples(path)
    path.write_text('{"request": ["a"]}\n\n{"request": [1]}\n')
    assert len(read_examples(path)) == 2
    write_files(CONTRACT, tmp_path / "request.json", tmp_path / "response.json")
    with pytest.raises(ContractError, match=r"examples\.jsonl:3: the request .* at /0: found the number 1"):
        read_files(tmp_path / "request.json", tmp_path / "response.json", path)
    path.write_text('{"request": [], "response": {"positive": "false"}}')
    with pytest.raises(ContractError, match=r"examples\.jsonl:1: the response .* at /positive"):
        read(tmp_path)
    path.write_text('{"request": [], "answer": 1}')
    with pytest.raises(ContractError, match=r"examples\.jsonl:1: found the members \['answer', 'request'\]"):
        read(tmp_path)


def test_a_fault_in_a_schema_is_named_by_file(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"type": 1}')
    (tmp_path / "response.json").write_text("{}")
    with pytest.raises(ContractError, match=r"request\.json: the schema: not a valid JSON Schema: at /type"):
        read(tmp_path)
    (tmp_path / "request.json").write_text("{")
    with pytest.raises(ContractError, match=r"request\.json: not JSON"):
        read(tmp_path)
    with pytest.raises(ContractError, match=r"nowhere\.json: no such file"):
        read(tmp_path / "nowhere.json")


def test_the_digest_is_that_of_the_promises_alone() -> None:
    assert Contract(VALID.request, VALID.response).digest == VALID.digest
    assert Contract(VALID.request, {}).digest != VALID.digest
    assert json.loads(VALID.to_json())["request"] == VALID.request
