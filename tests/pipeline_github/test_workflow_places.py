"""Written again: what people wrote in marked places stays, what they changed elsewhere is not lost unseen."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import PipelineError
from serinus.pipeline.github.emit import Place, text_of
from serinus.pipeline.github.pins import PINS, Pin, found, used, without
from serinus.pipeline.github.pins import read as read_pins
from serinus.pipeline.github.places import difference, pins_for, read, renewed, sealed

NAME = ".github/workflows/deliver.yml"
MOVED = Pin("a" * 40, "v99.0.0")


def body(jobs: dict[str, str], places: tuple[str, ...] = ("env", "jobs")) -> str:
    pinned = used("actions/checkout", PINS)
    return text_of({"jobs": {**jobs, "uses": pinned}, **{"b": 1}, **{Place(name): None for name in places}})


BODY = body({"a": "one"})
lines = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="#")), max_size=3)


@given(lines, lines, st.sampled_from(["\n", "\r\n"]))
def test_what_stands_in_places_is_kept_and_the_rest_made_anew(
    one: list[str], two: list[str], end: str
) -> None:
    mine = {"env": "".join(f"# {line}\n" for line in one), "jobs": "".join(f"# {line}\n" for line in two)}
    old = sealed(BODY, mine).replace("\n", end)
    assert read(old, NAME).places == mine
    new = renewed(old, body({"a": "two"}), NAME)
    assert new == sealed(body({"a": "two"}), mine)
    assert renewed(new, body({"a": "two"}), NAME) == new
    assert yaml.safe_load(new)["jobs"]["a"] == "two"


def test_a_new_file_holds_what_was_made() -> None:
    text = renewed(None, BODY, NAME)
    assert text.endswith(BODY)
    assert not read(text, NAME).edited
    assert renewed(text, BODY, NAME) == text


@given(st.data())
def test_any_change_outside_of_places_is_seen(data: st.DataObject) -> None:
    text = sealed(BODY)
    outside = [n for n, line in enumerate(text.splitlines()) if "serinus: " not in line and "@" not in line]
    number = data.draw(st.sampled_from(outside))
    changed = text.splitlines()
    changed[number] += data.draw(st.sampled_from([" ", "x", "# mine"]))
    old = "\n".join(changed) + "\n"
    assert read(old, NAME).edited
    with pytest.raises(PipelineError, match="changed outside of its marked places") as caught:
        renewed(old, BODY, NAME)
    assert f"-{changed[number]}" in caught.value.message
    assert renewed(old, BODY, NAME, force=True) == text


def test_a_file_that_somebody_else_wrote_is_not_touched() -> None:
    with pytest.raises(PipelineError, match="was not written by Serinus"):
        renewed("name: mine\n", BODY, NAME)
    assert renewed("name: mine\n", BODY, NAME, force=True) == sealed(BODY)


def test_lines_whose_place_is_gone_are_not_dropped() -> None:
    old = sealed(body({}, ("env", "old")), {"old": "  # mine\n"})
    with pytest.raises(PipelineError, match="lines in the place old, which there is no more"):
        renewed(old, BODY, NAME)
    assert "mine" not in renewed(old, BODY, NAME, force=True)
    assert renewed(sealed(body({}, ("env", "old"))), BODY, NAME) == sealed(BODY)


@pytest.mark.parametrize(
    "text",
    [
        "# serinus: begin a\n",
        "# serinus: end a\n",
        "# serinus: begin a\n# serinus: begin b\n# serinus: end b\n# serinus: end a\n",
        "# serinus: begin a\n# serinus: end b\n",
        "# serinus: begin a\n# serinus: end a\n# serinus: begin a\n# serinus: end a\n",
    ],
)
def test_marks_that_do_not_pair_are_an_error_with_a_line(text: str) -> None:
    with pytest.raises(PipelineError, match=rf"{NAME}:\d+: found ") as caught:
        renewed(text, BODY, NAME, force=True)
    assert "pairs" in caught.value.todo


def test_pins_that_somebody_moved_stay_and_untouched_ones_follow_the_table() -> None:
    text = sealed(BODY)
    assert pins_for(None, {}, NAME) == PINS
    assert pins_for(text, {}, NAME) == PINS
    moved = text.replace(PINS["actions/checkout"].commit, MOVED.commit).replace("v6.0.2", MOVED.version)
    assert not read(moved, NAME).edited  # Dependabot may do this
    assert pins_for(moved, {}, NAME)["actions/checkout"] == MOVED
    own = {"actions/checkout": Pin("b" * 40, "v1")}
    assert pins_for(moved, own, NAME)["actions/checkout"] == own["actions/checkout"]
    older = text.replace(PINS["actions/checkout"].commit, "c" * 40)
    sealed_then = sealed(read(older, NAME).outside.split("\n\n", 1)[1])
    assert pins_for(sealed_then, {}, NAME) == PINS  # an older Serinus wrote it, and nobody else moved it


def test_a_file_of_pins() -> None:
    text = f"# ours\n\nactions/checkout@{MOVED.commit} # {MOVED.version}\n"
    assert read_pins(text, "pins") == {"actions/checkout": MOVED}
    for wrong in (
        "actions/checkout@v6",
        f"acme/other@{MOVED.commit} # v1",
        f"actions/checkout@{MOVED.commit}",
    ):
        with pytest.raises(PipelineError, match=r"pins:2: found .*expected OWNER/ACTION@COMMIT # VERSION"):
            read_pins(f"\n{wrong}\n", "pins")


def test_every_pin_is_a_commit_with_its_version() -> None:
    for action, pin in PINS.items():
        assert re.fullmatch(r"[0-9a-f]{40}", pin.commit), action
        assert re.fullmatch(r"v\d+\.\d+\.\d+", pin.version), action
        line = f"- uses: {action}@{pin.commit} # {pin.version}\n"
        assert found(line) == {action: pin}
        assert pin.commit not in without(line)


def test_the_difference_is_a_diff() -> None:
    assert difference("a\r\nb\r\n", "a\nb\n", NAME) == ""
    assert "+c" in difference("a\n", "a\nc\n", NAME).splitlines()
