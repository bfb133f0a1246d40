"""The status document: what a controller has seen, as values and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.rollout_fakes import NEW, OLD, version
from serinus.environment.api.documents import plain, read
from serinus.environment.overview import event, overview
from serinus.environment.status import (
    DriftStatus,
    MetricStatus,
    Named,
    PromiseStatus,
    RolloutStatus,
    ShadowStatus,
    Status,
    TrafficStatus,
    VersionStatus,
    Weight,
)
from serinus.errors import ControlError
from serinus.rollout import Arm, Attempt, Backend, Counts, Found, Health, Routing, Tally
from serinus.rollout.command import Deploy, command
from serinus.rollout.compare import Answered
from serinus.rollout.drift import Interval
from serinus.rollout.evidence import Base, Evidence
from serinus.rollout.journal import Recorded
from serinus.rollout.policy import Policy, Strategy
from serinus.rollout.run import View
from serinus.rollout.state import Entry, Phase, Rollout, State
from serinus.rollout.traffic import Traffic

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/control-api.md"
POLICY = Policy(steps=(0.05, 0.5, 1.0), gates=(0.5,), minimum=30.0, bake=60.0)


def status(state: State, found: dict[str, Found] | None = None, **view: Any) -> Status:
    seen = View(
        state, view.get("routing"), found or {}, view.get("traffic", Traffic()), view.get("trouble", "")
    )
    return overview(seen, environment="mood", url="http://here", replicas=2, last=7, now=100.0)


def rolling(policy: Policy = POLICY, **changes: Any) -> State:
    idle = State(versions={OLD: version(OLD)}, stable=OLD)
    state = command(idle, Deploy(version(NEW), policy), 50.0).state
    assert state.rollout is not None
    return replace(state, rollout=replace(state.rollout, **changes))


def of(state: State) -> RolloutStatus:
    found = status(state).rollout
    assert found is not None
    return found


def test_an_environment_without_anything() -> None:
    found = status(State(), trouble="the router does not answer")
    assert (found.stable, found.previous, found.rollout, found.versions) == (None, None, None, ())
    assert found.weight == Weight(0.0, None, 0.0)
    assert (found.trouble, found.last, found.now) == ("the router does not answer", 7, 100.0)
    assert found.traffic.candidate is None


def test_versions_have_roles_and_health() -> None:
    state = replace(rolling(), previous=None)
    found = {OLD: Found(OLD, Health.READY, (("127.0.0.1", 1), ("127.0.0.1", 2)), 1)}
    stable, candidate = status(state, found).versions
    assert stable == VersionStatus(OLD, "mood:a", "stable", "ready", 2, 2, 1, "")
    assert candidate == VersionStatus(NEW, "mood:b", "candidate", "starting", 0, 2)
    broken = {NEW: Found(NEW, Health.FAILING, (), 3, "exit code 1")}
    assert status(state, broken).versions[1].why == "exit code 1"
    idle = State({OLD: version(OLD), NEW: version(NEW)}, NEW, OLD)
    assert [(one.role, one.health, one.replicas) for one in status(idle).versions] == [
        ("stable", "starting", 2),
        ("previous", "stopped", 0),
    ]


def test_the_version_before_that_comes_back_is_the_candidate() -> None:
    state = rolling(replace(POLICY, strategy=Strategy.UNDO))
    back = replace(state, previous=NEW)
    assert [one.role for one in status(back).versions] == ["stable", "candidate"]


def test_what_is_wanted_and_what_is_in_force() -> None:
    state = rolling(phase=Phase.STEPPING, step=1)
    routing = Routing(1, Backend(OLD), Backend(NEW), 0.05, mirror=0.25)
    assert status(state, routing=routing).weight == Weight(0.5, 0.05, 0.25)
    assert status(state).weight == Weight(0.5, None, 0.0)


@pytest.mark.parametrize(
    ("changes", "step", "least"),
    [
        ({}, 0, 0.0),
        ({"phase": Phase.STEPPING}, 1, 30.0),
        ({"phase": Phase.STEPPING, "step": 1}, 2, 30.0),
        ({"phase": Phase.BAKING}, 3, 60.0),
    ],
)
def test_where_a_rollout_stands(changes: dict[str, Any], step: int, least: float) -> None:
    found = of(rolling(**changes))
    assert (found.step, found.least, found.steps, found.gates) == (step, least, (0.05, 0.5, 1.0), (0.5,))
    assert (found.candidate, found.started) == (Named(NEW, "mood:b"), 50.0)


def test_blue_green_has_one_step() -> None:
    found = of(rolling(replace(POLICY, strategy=Strategy.BLUE_GREEN), phase=Phase.BAKING))
    assert (found.step, found.steps) == (1, (1.0,))


def test_evidence_is_told_as_a_share_of_the_way() -> None:
    state = rolling(phase=Phase.STEPPING)
    assert state.rollout is not None
    evidence = state.rollout.evidence
    for _ in range(2):
        evidence = evidence.after(Tally(0.05, Counts(clean=38), Counts(errors=1, clean=1)))
    found = {one.name: one for one in of(rolling(phase=Phase.STEPPING, evidence=evidence)).evidence}
    errors = found["errors"]
    assert isinstance(errors, MetricStatus)
    assert 0 < errors.share < 1
    assert errors.share == pytest.approx(errors.log_e / errors.bound, abs=1e-3)
    assert (errors.candidate, errors.others, errors.crossed) == (2, 0, False)
    assert found["violations"].share == 0
    for _ in range(5):
        evidence = evidence.after(Tally(0.05, Counts(clean=19), Counts(errors=1)))
    crossed = {one.name: one for one in of(rolling(phase=Phase.STEPPING, evidence=evidence)).evidence}[
        "errors"
    ]
    assert (crossed.share, crossed.crossed) == (1.0, True)


def test_while_it_bakes_its_answers_count_at_once() -> None:
    evidence = Evidence.baking(Base(0.01, count=500), 0.05, 0.05).after(
        Tally(1.0, Counts(), Counts(clean=100, errors=1))
    )
    found = {one.name: one for one in of(rolling(phase=Phase.BAKING, evidence=evidence)).evidence}
    assert (found["errors"].candidate, found["errors"].others) == (1, 100)
    assert found["errors"].tolerated is not None


def test_a_promise_says_what_is_needed() -> None:
    here = Tally(0.05, Counts(clean=2000), Counts(clean=100))
    promise = of(rolling(phase=Phase.STEPPING, here=here)).promise
    assert isinstance(promise, PromiseStatus)
    assert (promise.shown, promise.needed, promise.margin) == (False, 359, 0.01)
    assert of(rolling(phase=Phase.BAKING)).promise is None


def test_drift_says_which_value_differs() -> None:
    state = rolling(phase=Phase.STEPPING)
    assert state.rollout is not None
    drift = state.rollout.drift.after(
        Interval(0.5, 50, 50, {"/positive": {"true": (40, 10), "false": (10, 40)}})
    )
    found = of(rolling(phase=Phase.STEPPING, drift=drift)).drift
    assert isinstance(found, DriftStatus)
    assert (found.pointer, found.does) == ("/positive", "hold")
    assert {found.stable, found.candidate} == {0.2, 0.8}
    assert of(rolling()).drift.pointer is None


def test_a_shadow_says_what_differs() -> None:
    policy = replace(POLICY, strategy=Strategy.SHADOW)
    empty = of(rolling(policy)).shadow
    assert isinstance(empty, ShadowStatus)
    assert (empty.pairs, empty.agreement, empty.latency_ratio) == (0, None, None)
    state = rolling(policy)
    assert state.rollout is not None
    mine, theirs = Answered("r", 200, 0.1, {"positive": True}), Answered("r", 200, 0.2, {"positive": False})
    comparison = state.rollout.comparison.after(mine, theirs, 0.0).after(mine, mine, 0.0)
    found = of(rolling(policy, comparison=comparison)).shadow
    assert isinstance(found, ShadowStatus)
    assert (found.pairs, found.answers, found.agreement, found.latency_ratio) == (2, 300, 0.5, 1.4142)
    assert (found.examples[0].where, found.examples[0].stable) == ("/positive", '200 {"positive": true}')
    assert of(rolling()).shadow is None


def test_traffic_of_both_arms() -> None:
    attempts = [Attempt(Arm.STABLE, 0.5, 200, 0.01, at=99.0)] * 9 + [
        Attempt(Arm.CANDIDATE, 0.5, 500, 0.01, at=99.0)
    ]
    found = status(rolling(), traffic=Traffic().after(attempts, 100.0)).traffic
    assert (found.stable.errors, found.stable.p50) == (0.0, 0.01)
    assert found.candidate is not None
    assert (found.candidate.errors, found.candidate.p50) == (1.0, None)


def test_an_entry_as_an_event() -> None:
    told = event(Recorded(3, 9.0, Entry("step", "5 %", {"a": math.nan}, 2, NEW)), "mood:b")
    assert json.loads(json.dumps(plain(told), allow_nan=False))["numbers"] == {"a": None}
    assert (told.number, told.kind, told.name) == (3, "step", "mood:b")


counts = st.builds(Counts, *(st.integers(0, 10**6) for _ in range(4)))
rollouts = st.fixed_dictionaries(
    {
        "phase": st.sampled_from(Phase),
        "step": st.integers(0, 2),
        "elapsed": st.floats(0, 1e6),
        "here": st.builds(Tally, st.floats(0, 1), counts, counts),
        "paused": st.booleans(),
        "waits": st.text(),
        "held": st.text(),
    }
)


@given(rollouts, st.sampled_from(Strategy), st.sampled_from(Health), st.text())
def test_a_document_is_read_as_it_was(
    changes: dict[str, Any], strategy: Strategy, health: Health, trouble: str
) -> None:
    state = rolling(replace(POLICY, strategy=strategy), **changes)
    found = status(state, {NEW: Found(NEW, health)}, trouble=trouble)
    document = json.loads(json.dumps(plain(found), allow_nan=False))
    assert read(Status, document) == found


@given(st.data())
def test_whatever_is_answered_is_read_or_refused(data: st.DataObject) -> None:
    document = plain(status(rolling(phase=Phase.STEPPING)))
    place, key = document, ""
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([1]) | st.just({})
    )
    try:
        assert isinstance(read(Status, document), Status)
    except ControlError as error:
        assert "cannot read" in error.message


def test_every_member_is_documented() -> None:
    page = PAGE.read_text().partition("## Status")[2].partition("## Errors")[0]
    documented = set(re.findall(r"`(\w+)`", page))
    kinds = (
        Status,
        RolloutStatus,
        VersionStatus,
        MetricStatus,
        DriftStatus,
        ShadowStatus,
        PromiseStatus,
        Weight,
    )
    members = {
        field.name for kind in (*kinds, TrafficStatus, Named, Counts) for field in dataclasses.fields(kind)
    }
    assert members - documented == set()
    assert isinstance(of(rolling()), RolloutStatus)
    assert {field.name for field in dataclasses.fields(Rollout)} & {"here"} <= documented
