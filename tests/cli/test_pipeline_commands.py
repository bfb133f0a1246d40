"""``serinus run``, ``runs``, ``approve`` and ``graph``; and how a run is shown."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from serinus.cli import DONE, FAILED, NO, WAITS, run
from serinus.cli.running import MARKS, Asker, Lines, Live, Seen, evidence_lines, tree
from serinus.errors import PipelineError
from serinus.pipeline.moments import Answered, Asked, Began, Ended, Hint, Moment, Opened, Said
from serinus.pipeline.plan import State

PROJECT = """
[service]
name = "tiny"
entrypoint = "service:predict"

[pipeline.train]
params.word = { default = "glad" }

[pipeline.train.steps.make]
run = "sh -c 'echo {word} > word.txt; echo made {word}'"
outputs = ["word.txt"]

[pipeline.train.steps.ask]
approve = "Good?"
show = ["word.txt"]

[pipeline.train.steps.train_and_publish]
run = "sh -c 'test {word} = glad'"
needs = ["ask"]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serinus.toml").write_text(PROJECT)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([*arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_run_waits_is_approved_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = asked(capsys, "run", "--no-wait", "-p", "word=glad")
    assert (code, document["id"], document["outcome"]) == (WAITS, "train-1", "waits for approval")
    assert [step["state"] for step in document["steps"]] == ["done", "asks", "pending"]
    code, document = asked(capsys, "approve", "train-1", "ask", "--comment", "fine")
    assert (code, document["answer"], document["comment"]) == (DONE, "yes", "fine")
    assert asked(capsys, "run", "--resume")[0] == DONE
    code, runs = asked(capsys, "runs")
    assert (code, [(one["id"], one["outcome"], one["params"]) for one in runs]) == (
        DONE,
        [("train-1", "done", {"word": "glad"})],
    )
    _, shown = asked(capsys, "runs", "show", "train-1")
    assert [(one["step"], one["answer"], one["comment"]) for one in shown["approvals"]] == [
        ("ask", "yes", "fine")
    ]
    assert asked(capsys, "runs", "logs", "train-1", "make")[1]["log"] == "made glad\n"


def test_a_decline_and_a_failure_end_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    asked(capsys, "run", "--no-wait", "-p", "word=sad")
    asked(capsys, "approve", "train-1", "ask")
    code, document = asked(capsys, "run", "--resume")
    assert (code, document["steps"][2]["state"], document["steps"][2]["code"]) == (NO, "failed", 1)
    asked(capsys, "run", "--no-wait")
    code, document = asked(capsys, "approve", "train-2", "ask", "--no")
    assert document["answer"] == "no"


def test_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "run", "--no-wait")
    assert code == WAITS
    assert "train-1 waits for approval" in out
    for told in (
        "hint: the step train_and_publish is greedy",
        "  make | made glad",
        "? Good?",
        "serinus approve train-1 ask",
    ):
        assert told in err
    assert "? ask: Good?  nobody has answered" in said(capsys, "runs", "show", "train-1")[1]
    assert said(capsys, "runs", "logs", "train-1", "make")[1] == "made glad\n"
    assert "approved by" in said(capsys, "approve", "train-1", "ask")[1]
    assert "train-1" in said(capsys, "runs")[1]
    out = said(capsys, "run", "--dry-run")[1]
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["make", "unchanged"],
        ["ask", "asks"],
        ["train_and_publish", "runs"],
    ]


def test_the_graph_as_text_and_as_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = said(capsys, "graph")
    assert (code, "greedy" in err) == (DONE, True)
    assert [line.split()[0] for line in out.splitlines()] == ["make", "ask", "train_and_publish"]
    code, document = asked(capsys, "graph", "--svg", "graph.svg")
    assert [one["needs"] for one in document["steps"]] == [[], ["make"], ["ask"]]
    assert ElementTree.parse(tmp_path / "graph.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "trian"), "did you mean train"),
        (("run", "-p", "words=x"), "did you mean word"),
        (("run", "-p", "word"), "is no NAME=VALUE"),
        (("run", "--resume"), "no run of train to go on with"),
        (("run", "--only", "mak"), "did you mean make"),
        (("runs", "show", "train-7"), "there is no run 'train-7'"),
        (("runs", "-C", "x", "show", "train-7"), "-C stands behind show"),
        (("approve", "train-7", "ask"), "there is no run 'train-7'"),
    ],
)
def test_what_cannot_be_done_ends_with_two(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    code, document = asked(capsys, *words)
    assert code == FAILED
    assert told in document["error"]["message"]


# How a run is shown

steps = st.sampled_from(["a", "b", "longer-name", "d"])
texts = st.text("ab\x1b[\n", max_size=9)
moments = st.one_of(
    st.builds(Began, steps, st.integers(1, 3), texts),
    st.builds(Said, steps, st.lists(texts, min_size=1, max_size=2).map(tuple)),
    st.builds(Ended, steps, st.sampled_from(State), st.floats(0, 100), texts),
    st.builds(
        Asked,
        st.just("r-1"),
        steps,
        texts.map(lambda t: {"question": t, "metrics": [], "files": [], "note": ""}),
    ),
    st.builds(Hint, texts),
)
OPENED = Opened("r-1", "r", ("a", "b", "longer-name", "d"), {"epochs": 3})


@given(st.lists(moments, max_size=20), st.integers(2, 8))
def test_the_tree_fits_and_steers_no_terminal(happened: list[Moment], height: int) -> None:
    seen = Seen().after(OPENED, 0.0)
    for number, moment in enumerate(happened):
        seen = seen.after(moment, float(number))
    rows = tree(seen, 30.0, 0.0, height)
    assert len(rows) <= height
    assert not any(letter in line for line, _ in rows for letter in "\x1b\n")
    if height >= 6:
        assert all(any(name in line for line, _ in rows) for name in seen.states)


def test_lines_tell_everything_that_happens() -> None:
    written: list[str] = []
    lines = Lines(written.append)
    evidence = {
        "question": "Good?",
        "against": "m@production",
        "note": "",
        "metrics": [{"name": "accuracy", "new": 0.9, "old": 0.85}],
        "files": [{"path": "plot.png", "kind": "image"}],
    }
    for moment in (
        OPENED,
        Began("a", 1, "x changed"),
        Said("a", ("one", "two")),
        Began("a", 2),
        Ended("a", State.DONE, 1.5, ""),
        Asked("r-1", "b", evidence),
        Answered("b", "yes", "ada", "fine"),
        Hint("so"),
    ):
        lines(moment)
    assert written == [
        "r-1 epochs=3",
        "▸ a: x changed",
        "  a | one",
        "  a | two",
        "▸ a: attempt 2",
        "✓ a: done  1.50 s",
        "  metric    new  m@production  difference",
        "  accuracy  0.9  0.85          +0.05",
        "  image: plot.png",
        "? Good?",
        "  waits for `serinus approve r-1 b`",
        "b: yes, by ada: fine",
        "hint: so",
    ]
    assert set(MARKS) == set(State)


def test_a_terminal_shows_the_tree_and_keeps_still_while_somebody_types(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        "rich.console.Console", lambda **rest: Console(file=screen, force_terminal=True, width=80, height=20)
    )
    shown = Live()
    try:
        shown(OPENED)
        shown(Began("a", 1, "changed"))
        time.sleep(0.3)
        shown.still(True)
        shown(Ended("a", State.DONE, 1.0))
        shown.still(False)
    finally:
        shown.close()
    text = screen.getvalue()
    assert "├─" in text
    assert "epochs=3" in text
    assert "✓ a: done" in text


# Who sits at the terminal

EVIDENCE = {"question": "Good?", "against": "", "note": "", "metrics": [], "files": []}


class Quiet:
    """A display that remembers what was said."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.moments: list[Moment] = []

    def __call__(self, moment: Moment) -> None:
        self.moments.append(moment)

    def say(self, text: str) -> None:
        self.told.append(text)

    def still(self, quiet: bool) -> None:
        self.told.append("still" if quiet else "moving")

    def close(self) -> None:
        return


def typed(*lines: str) -> Callable[[], str | None]:
    left = list(lines)

    def line() -> str | None:
        if left:
            return left.pop(0)
        time.sleep(0.01)
        return None

    return line


def answers(*lines: str) -> tuple[list[bool], list[str]]:
    """What was answered after these lines were typed, and what was said."""
    shown, answered, over = Quiet(), [], threading.Event()

    def answer(run: str, step: str, yes: bool) -> None:
        assert (run, step) == ("r-1", "ask")
        answered.append(yes)
        over.set()

    asker = Asker(shown, answer, typed(*lines))
    asker(Asked("r-1", "ask", EVIDENCE))
    over.wait(0.5)
    asker.close()
    return answered, shown.told


@pytest.mark.parametrize(
    ("lines", "answered"),
    [
        (("y\n",), [True]),
        (("YES\n",), [True]),
        (("n\n",), [False]),
        (("\n", "\n"), []),
        (("maybe\n", "n\n"), [False]),
        (("\n", "y\n"), [True]),
        (("",), []),
        ((), []),
    ],
)
def test_only_a_word_is_an_answer(lines: tuple[str, ...], answered: list[bool]) -> None:
    found, told = answers(*lines)
    assert found == answered
    assert told[:2] == ["still", "? Good?"]
    assert told[-1] == "moving"
    if lines == ("",):
        assert "nobody answers here: `serinus approve r-1 ask` does" in told


def test_an_answer_from_elsewhere_ends_the_question() -> None:
    shown, answered = Quiet(), []
    asker = Asker(shown, lambda run, step, yes: answered.append(yes), typed())
    asker(Asked("r-1", "ask", EVIDENCE))
    time.sleep(0.05)
    asker(Answered("ask", "yes", "ada"))
    time.sleep(0.1)
    assert shown.told[-1] == "moving"
    asker.close()
    assert answered == []


def test_who_was_too_late_is_told() -> None:
    shown = Quiet()

    def late(run: str, step: str, yes: bool) -> None:
        raise PipelineError("ada has answered yes to ask of r-1")

    asker = Asker(shown, late, typed("n\n"))
    asker(Asked("r-1", "ask", EVIDENCE))
    time.sleep(0.1)
    asker.close()
    assert "ada has answered yes to ask of r-1" in shown.told


def test_texts_are_shown_in_the_evidence() -> None:
    evidence = EVIDENCE | {
        "files": [{"path": "note.txt", "kind": "text", "text": "one\ntwo\x1b[2J"}],
        "note": "nothing there",
    }
    assert evidence_lines(evidence) == [
        "  nothing there",
        "  note.txt:",
        "    one",
        "    two\\x1b[2J",
        "? Good?",
    ]
