"""The runner: what becomes of checks and of what they take."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from serinus.checks import (
    Check,
    Failed,
    Finding,
    Measure,
    NotApplicable,
    Plot,
    Result,
    Status,
    Verdict,
    check,
)
from serinus.checks.fixtures import Fixture
from serinus.checks.report import Report, Span
from serinus.checks.run import Began, Ended, Moment, Planned, run
from serinus.checks.subjects import Given
from serinus.errors import CheckError, ProjectError, RuntimeUnavailable, ServiceError
from serinus.project import Checks, Project, Service
from serinus.registry.layout import Layout
from serinus.runtimes import Replica, Running


class NoRuntime:
    """A runtime that nobody should ask."""

    name = "none"

    def start(self, replica: Replica) -> Running:
        raise AssertionError(replica)


@pytest.fixture
def given(tmp_path: Path) -> Given:
    project = Project(root=tmp_path, service=Service(name="mood"))
    return Given(Layout(tmp_path / "layout"), NoRuntime(), project)


def named(name: str, function: Callable[..., Any], **told: Any) -> Check:
    return check(name, **told)(function)


def fixture(name: str, make: Callable[..., Any], owner: str = "") -> Fixture:
    return Fixture(name, make, f"make {name}", owner=owner)


def of(report: Report) -> dict[str, str]:
    return {verdict.check: verdict.status.value for verdict in report.verdicts}


def test_a_check_is_judged_by_what_it_returns_and_raises(given: Given) -> None:
    def raises(error: Exception) -> Callable[[], None]:
        def function() -> None:
            raise error

        return function

    outcomes: dict[str, Callable[..., Any]] = {
        "own.none": lambda: None,
        "own.true": lambda: True,
        "own.said": lambda: "fine",
        "own.false": lambda: False,
        "own.number": lambda: 3,
        "own.finding": lambda: Finding("wrong"),
        "own.findings": lambda: [Finding("wrong"), Finding("worse")],
        "own.no-findings": lambda: (),
        "own.soft": lambda: False,
        "own.warning": lambda: Result("odd", (Finding("odd"),), warning=True),
        "own.assert": raises(AssertionError("1 is not 2")),
        "own.error": raises(KeyError("positive")),
        "code.error": raises(KeyError("ours")),
        "code.told": raises(ServiceError("it is down", "Start it.")),
        "code.runtime": raises(RuntimeUnavailable("no sandbox")),
        "code.failed": raises(Failed(Finding("deep within"))),
        "code.nothing": raises(NotApplicable("no data", "Add some.")),
    }
    assert given.project is not None
    given = replace(given, project=replace(given.project, checks=Checks(warn=("own.soft",))))
    report = run([named(name, function) for name, function in outcomes.items()], given, fixtures=())
    assert of(report) == {
        "own.none": "passed",
        "own.true": "passed",
        "own.said": "passed",
        "own.false": "failed",
        "own.number": "failed",
        "own.finding": "failed",
        "own.findings": "failed",
        "own.no-findings": "passed",
        "own.soft": "warned",
        "own.warning": "warned",
        "own.assert": "failed",
        "own.error": "failed",
        "code.error": "blocked",
        "code.told": "failed",
        "code.runtime": "blocked",
        "code.failed": "failed",
        "code.nothing": "not applicable",
    }
    told = {verdict.check: verdict for verdict in report.verdicts}
    assert told["own.findings"].summary == "wrong (and 1 more)"
    assert told["code.told"].findings[0].todo == "Start it."
    assert told["code.nothing"].summary == "no data. Add some."
    assert "int" in told["own.number"].summary
    assert report.status == Status.FAILED


def test_a_fixture_is_made_once_and_finished_when_its_last_user_is_done(given: Given) -> None:
    events: list[str] = []

    def room() -> Iterator[str]:
        events.append("open")
        yield "room"
        events.append("closed")

    def table(room: str) -> str:
        assert "closed" not in events
        return f"table in {room}"

    def sit(table: str, other: str = "") -> None:
        assert table == "table in room"
        assert "closed" not in events, "the room was closed while its table was in use"
        events.append("sat")

    checks = [named("own.one", sit), named("own.two", lambda table, room: sit(table))]
    report = run(checks, given, fixtures=(fixture("room", room), fixture("table", table)))
    assert of(report) == {"own.one": "passed", "own.two": "passed"}, report.verdicts
    assert events == ["open", "sat", "sat", "closed"]


def test_what_cannot_be_made_fails_its_owner_and_blocks_the_others(given: Given) -> None:
    def broken() -> None:
        raise ServiceError("it does not start", "Mend it.")

    def on_top(broken: None) -> None: ...

    made = (fixture("broken", broken, "own.owner"), fixture("on_top", on_top))
    checks = [
        named("own.owner", lambda broken: None),
        named("own.other", lambda on_top: None),
        named("own.free", lambda: None),
    ]
    report = run(checks, given, fixtures=made)
    assert of(report) == {"own.owner": "failed", "own.other": "blocked", "own.free": "passed"}
    assert report.verdicts[1].summary == "could not make broken: it does not start"
    assert report.verdicts[0].findings[0].todo == "Mend it."


def test_a_machine_that_cannot_run_anything_is_nobodys_failure(given: Given) -> None:
    def broken() -> None:
        raise RuntimeUnavailable("no sandbox can be made here")

    report = run(
        [named("own.owner", lambda broken: None)], given, fixtures=(fixture("broken", broken, "own.owner"),)
    )
    assert of(report) == {"own.owner": "blocked"}
    assert report.status == Status.BLOCKED


def test_nothing_to_look_at_is_never_a_pass(given: Given) -> None:
    def data() -> None:
        raise NotApplicable("there is no data", "Write some.")

    report = run([named("own.data", lambda data: None)], given, fixtures=(fixture("data", data, "own.data"),))
    assert of(report) == {"own.data": "not applicable"}
    assert report.status == Status.NOT_APPLICABLE


def test_checks_are_chosen_by_id_layer_and_pattern_and_a_skip_is_recorded(given: Given) -> None:
    checks = [named(name, lambda: None) for name in ("code.a", "code.b", "speed.a", "own.c")]
    report = run(checks, given, only=["code", "own.*"], skip=["code.b"], fixtures=())
    assert of(report) == {"code.a": "passed", "code.b": "skipped", "own.c": "passed"}
    assert report.verdicts[1].summary == "asked for by --skip"
    assert not report.complete
    with pytest.raises(ProjectError, match="no check 'code.aa'; did you mean code.a"):
        run(checks, given, only=["code.aa"], fixtures=())


def test_a_parameter_that_names_nothing_is_an_error_before_anything_runs(given: Given) -> None:
    ran: list[int] = []
    checks = [named("own.a", lambda: ran.append(1)), named("own.b", lambda servise: None)]
    with pytest.raises(ProjectError, match=r"own.b takes 'servise'.*there are service"):
        run(checks, given, fixtures=(fixture("service", lambda: None),))
    assert not ran


def test_fail_fast_starts_nothing_more(given: Given) -> None:
    ran: list[str] = []
    checks = [named(f"own.{n}", lambda n=n: ran.append(n) or n != "0") for n in "0123456789"]
    report = run(checks, given, fixtures=(), jobs=1, fail_fast=True)
    assert of(report)["own.0"] == "failed"
    assert ran == ["0"]
    assert sum(status == "skipped" for status in of(report).values()) == 9


def test_checks_run_in_parallel_and_measurements_one_by_one_with_right_of_way(given: Given) -> None:
    together = threading.Barrier(3, timeout=20)
    nice: dict[str, int] = {}
    measuring: list[str] = []

    def meet(name: str) -> Callable[[], None]:
        def function() -> None:
            together.wait()
            nice[name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        return function

    def measure(name: str) -> Callable[[], None]:
        def function() -> None:
            assert not measuring
            measuring.append(name)
            time.sleep(0.01)
            measuring.clear()
            nice[name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        return function

    checks = [named(f"own.{n}", meet(n)) for n in "abc"]
    checks += [named(f"own.{n}", measure(n), measuring=True) for n in "xy"]
    report = run(checks, given, fixtures=(), jobs=3)
    assert set(of(report).values()) == {"passed"}, report.verdicts
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert {nice["x"], nice["y"]} == {own}
    assert all(nice[n] > own for n in "abc")
    lanes = {span.name: span.lane for span in report.spans}
    assert lanes["own.x"] == lanes["own.y"] == 0
    assert len({lanes[f"own.{n}"] for n in "abc"}) == 3


def test_the_observer_is_told_of_every_job(given: Given) -> None:
    moments: list[Moment] = []
    checks = [named("own.a", lambda thing: None), named("own.b", lambda: False)]
    run(checks, given, fixtures=(fixture("thing", lambda: 1),), tell=moments.append)
    assert isinstance(moments[0], Planned)
    assert {name for name, _ in moments[0].jobs} == {"own.a", "own.b", "thing"}
    began = [moment.name for moment in moments if isinstance(moment, Began)]
    ended = [moment.name for moment in moments if isinstance(moment, Ended)]
    assert sorted(began) == sorted(ended) == ["own.a", "own.b", "thing"]


texts = st.text(max_size=8)
numbers = st.floats(allow_nan=False)
verdicts = st.builds(
    Verdict,
    texts,
    st.sampled_from(Status),
    texts,
    st.tuples(st.builds(Finding, texts, texts, texts, st.none() | st.integers(), st.none() | texts)),
    st.tuples(st.builds(Measure, texts, numbers, texts, st.none() | numbers)),
    st.tuples(
        st.builds(Plot, texts, st.tuples(st.tuples(texts, st.tuples(st.tuples(numbers | texts, numbers)))))
    ),
)
spans = st.builds(Span, texts, texts, numbers, numbers, st.integers(), st.tuples(texts))


@drawn(st.builds(Report, texts, st.none() | texts, st.tuples(verdicts), numbers, spans=st.tuples(spans)))
def test_a_report_survives_its_json(report: Report) -> None:

    assert Report.from_json(json.loads(report.text())) == report


def test_a_chain_is_what_a_job_takes_with_all_that_is_made_for_it() -> None:
    spans = (
        Span("image", "", 0, 2, 1),
        Span("served", "", 2, 3, 1, ("image",)),
        Span("a.b", "", 5, 1, 1, ("image", "served")),
        Span("a.c", "", 2, 4, 2, ("image",)),
        Span("a.d", "", 0, 0.5, 2, ("given",)),
    )
    chains = Report("mood", None, (), 7, spans=spans).chains()
    assert chains == {"image": 2, "served": 5, "a.b": 6, "a.c": 6, "a.d": 0.5}


@pytest.mark.parametrize("document", [None, {}, {"verdicts": 3}, [], {"name": "x", "verdicts": [{}]}])
def test_what_is_no_report_is_refused(document: object) -> None:
    with pytest.raises(CheckError, match="no report"):
        Report.from_json(document)


def test_the_log_says_why_an_answer_failed() -> None:
    from serinus.checks.logs import reason

    frames = '  File "/opt/x.py", line 1, in a\n  File "/srv/service.py", line 17, in predict\n'
    trace = f"Traceback\n{frames}ValueError: boo"
    log = (
        b"not JSON\n[1]\n"
        + "\n".join(
            [json.dumps({"id": "a", "exception": trace}), json.dumps({"id": "b", "exception": "KeyError: 3"})]
        ).encode()
    )
    assert reason(log, "a") == "ValueError: boo, at service.py:17"
    assert reason(log, "b") == "KeyError: 3"
    assert reason(log, "c") == ""
