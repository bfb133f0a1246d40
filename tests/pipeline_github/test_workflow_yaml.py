"""The emitter: what it writes is read back as the same values, by a reader of YAML 1.1."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serinus.pipeline.github.emit import Comment, Noted, Place, Space, scalar, text_of

TRAPS = ["on", "No", "~", "1e3", "0x1f", "=", "<<", "1:30", "2001-01-01", "a: b", "- a", "a #b", "null", "y"]
TRAPS += [
    "",
    " ",
    "\n",
    "a\n\nb\n",
    "x:\n y\n",
    "a\nb",
    "a\nb\n\n",
    ".inf",
    "${{ a }}",
    "@",
    "a:",
    " a",
    "\ta\nb",
]

texts = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.text("ab\n :#'\"-{}[]$&*!|>%@`,?\t\r\u2028\x85\ufeff", max_size=20)
    | st.sampled_from(TRAPS)
)
values = st.recursive(
    texts | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    assert (yaml.safe_load(text_of(document)) or {}) == document


@given(st.dictionaries(texts, texts, max_size=3), texts)
def test_comments_and_places_change_nothing(document: dict[str, str], note: str) -> None:
    told = " ".join(note.split())
    with_more: dict[Any, Any] = {Comment(told if told.isprintable() else "a comment"): None, **document}
    with_more |= {Space(1): None, Place("here"): None}
    assert (yaml.safe_load(text_of({"a": with_more, "b": [Place("there"), document]})))["b"] == [document]
    assert (yaml.safe_load(text_of({"a": with_more}))["a"] or {}) == document


def test_it_reads_well() -> None:
    document = {
        "on": {"push": {"branches": ["main"]}},
        "jobs": {
            "a": {
                "steps": [
                    {"uses": Noted("x/y@0", "v1"), "with": {"deep": True}},
                    Place("after"),
                    {"run": "one\n\n  two\n", "if": "a == 'b'"},
                    {},
                ]
            }
        },
    }
    assert text_of(document) == (
        '"on":\n  push:\n    branches:\n      - main\n\njobs:\n  a:\n    steps:\n'
        "      - uses: x/y@0 # v1\n        with:\n          deep: true\n"
        "      # serinus: begin after\n      # serinus: end after\n"
        "      - run: |\n          one\n\n            two\n        if: a == 'b'\n"
        "      - {}\n"
    )


@pytest.mark.parametrize("text", [*TRAPS[:14], "1", "-", "é", "a\x07"])
def test_what_could_be_read_as_something_else_is_quoted(text: str) -> None:
    assert scalar(text).startswith('"')
    assert yaml.safe_load(scalar(text)) == text
