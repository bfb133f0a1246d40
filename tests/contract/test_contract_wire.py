"""What JSON can carry, and how places and values are written down."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serinus.contract.references import resolve
from serinus.contract.wire import foreign, found, loads, on_wire, pointer, shallow, shorten

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(PLAIN | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
ANYTHING = st.recursive(
    PLAIN | st.text() | st.floats() | st.binary() | st.sampled_from([object, 1j, {1}, {2: 3}, "\ud800"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(JSON)
def test_all_that_json_text_can_say_is_on_the_wire(value: Any) -> None:
    assert on_wire(json.loads(json.dumps(value)))
    assert not list(foreign(value))


@given(JSON, st.integers(0, 200))
def test_what_was_parsed_from_shallow_text_is_on_the_wire(value: Any, depth: int) -> None:
    text = b"[" * depth + json.dumps(value).encode() + b"]" * depth
    assert not shallow(text) or on_wire(orjson.loads(text))


def test_ordinary_text_is_shallow() -> None:
    assert shallow(b'{"label": [0], "probabilities": [[0.9, 0.1]]}')


@given(ANYTHING)
@example([1.0, math.nan])
@example([1e308, 1e308])
@example([math.inf, -math.inf])
@example([1.0, 10**400])
@example([0.5, 1j])
def test_what_is_not_on_the_wire_is_named_with_its_place_and_nothing_else_is(value: Any) -> None:
    faults = list(foreign(value))
    assert on_wire(value) == (not faults)
    for fault in faults:
        assert fault.pointer.encode().decode() == fault.pointer
        assert "found" in fault.message


@given(st.lists(TEXT))
def test_a_pointer_leads_back_to_its_place(path: list[str]) -> None:
    document: Any = "here"
    for part in reversed(path):
        document = {part: document}
    # A URI fragment is percent-encoded; what has a % of its own would be decoded once too often.
    reference = "#" + pointer(path).replace("%", "%25")
    assert resolve(document, reference) == "here"


def test_nan_in_the_middle_of_a_long_row_is_found() -> None:
    row = [0.5] * 1000
    row[700] = math.nan
    assert [v.pointer for v in foreign({"rows": [row]})] == ["/rows/0/700"]


def test_a_document_nested_without_end_is_refused_and_does_not_end_the_program() -> None:
    value: list[Any] = []
    value.append(value)
    assert not on_wire(value)
    (fault,) = foreign(value)
    assert fault.pointer == ""
    assert "128 levels" in fault.message


@given(TEXT | st.integers(0, 10**300) | JSON)
def test_a_value_in_a_message_stays_short(value: Any) -> None:
    assert len(found(value)) < 120
    assert len(shorten(json.dumps(value), 30)) <= 30


@pytest.mark.parametrize(
    "text", ["NaN", "[-Infinity]", "1e999", '{"a":}', "", "[" * 100_000, b"\xff", b'"\xc3']
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_utf16_is_not_taken_for_json() -> None:
    with pytest.raises(ValueError, match="utf-8|Expecting"):
        loads("[1]".encode("utf-16"))
