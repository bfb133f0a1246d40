"""What a controller sees beside attempts: predictions, pairs of answers, probes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract import Contract, Example
from serinus.environment.probe import Answer, probe
from serinus.environment.scrape import Counted, grown, interval, parse, total
from serinus.environment.senses import Environs, answered
from serinus.rollout import Backend, Found, Health, Routing
from serinus.rollout.command import Deploy, command
from serinus.rollout.policy import Policy, Strategy
from serinus.rollout.state import Phase, State, Version
from serinus.serving.metrics import Metrics

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
CONTRACT = Contract(
    {"type": "string"},
    {"type": "object", "properties": {"positive": {"type": "boolean"}}, "required": ["positive"]},
    (Example("good", {"positive": True}),),
)
VERSION = Version(NEW, "mood:new", "/nowhere", CONTRACT.to_json())
_values = st.one_of(st.booleans(), st.floats(0, 1), st.sampled_from(["a", 'b"c', "d\\e"]))


@given(st.lists(st.tuples(st.sampled_from(["/x", '/y"z', ""]), _values), max_size=30))
def test_what_the_server_exposes_is_read_back(predicted: list[tuple[str, Any]]) -> None:
    metrics = Metrics()
    for pointer, value in predicted:
        metrics.predicted(pointer, value)
        metrics.request("/predict", 200, 0.01)
    metrics.request("/predict", 422, 0.01)
    metrics.request("/readyz", 200, 0.01)
    counted = parse(metrics.text(), "/predict")
    assert counted.answers == len(predicted)
    assert sum(counted.predictions.values()) == len(predicted)


_counted = st.builds(
    Counted,
    st.integers(0, 50),
    st.dictionaries(st.tuples(st.just("/x"), st.sampled_from("abc")), st.integers(1, 9)),
)


@given(_counted, _counted)
def test_counters_only_grow_and_begin_anew_with_their_process(before: Counted, more: Counted) -> None:
    after = total([before, more])
    gained = grown(before, after)
    assert gained.answers == more.answers
    assert dict(gained.predictions) == dict(more.predictions)
    if more.answers < before.answers:
        assert grown(before, more) == more


def test_an_interval_pairs_the_counts_of_both_versions() -> None:
    made = interval(0.1, Counted(9, {("/p", "true"): 9}), Counted(1, {("/p", "false"): 1}))
    assert made.predictions == {"/p": {"true": (9, 0), "false": (0, 1)}}
    assert (made.stable, made.candidate, made.weight) == (9, 1, 0.1)


def promising(version: Version) -> Contract | None:
    return Contract.from_json(version.contract) if version.contract else None


def answering(body: Any, status: int = 200, version: str = NEW) -> Callable[[bytes], Answer]:
    return lambda _: Answer(status, version, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (answering({"positive": "true"}), "at /positive"),
        (answering({"positive": False}), "found"),
        (answering({"positive": True}, status=500), "answered 500"),
        (answering(b"{"), "no JSON"),
        (answering({"positive": True}, version=OLD), "answered in its place"),
    ],
)
def test_a_fault_of_an_example_is_named(ask: Callable[[bytes], Answer], says: str) -> None:
    probed = probe(VERSION, None, ask, 1e-4, promising)
    assert probed.asked == 1
    assert says in probed.faults[0]


def test_right_answers_have_no_fault_and_stables_examples_are_asked_too() -> None:
    stable = replace(VERSION, digest=OLD)
    assert probe(VERSION, stable, answering({"positive": True}), 1e-4, promising).faults == ()
    assert probe(VERSION, stable, answering({"positive": True}), 1e-4, promising).asked == 2

    def silent(body: bytes) -> Answer:
        raise ConnectionRefusedError("nobody")

    assert "no answer" in probe(VERSION, None, silent, 1e-4, promising).faults[0]


def test_an_answer_in_a_log_is_read_and_every_other_line_is_none() -> None:
    line = {"request_id": "r1", "route": "/predict", "status": 200, "seconds": 0.1, "answer": {"x": 1}}
    found = answered(json.dumps(line).encode(), "/predict")
    assert found is not None
    assert (found.request_id, found.answer) == ("r1", {"x": 1})
    for other in (b"", b"{", b'{"answer": 1}', json.dumps({**line, "route": "/other"}).encode()):
        assert answered(other, "/predict") is None


class Logs:
    """A fleet of which only the logs are asked for."""

    def __init__(self) -> None:
        self.written = {OLD: b"", NEW: b""}

    def logs(self, version: str, since: int = 0) -> bytes:
        return self.written[version][since:]

    def keep(self, wanted: Any) -> None:
        raise AssertionError(wanted)

    def look(self) -> dict[str, Found]:
        return {}

    def note(self, version: str, number: int, answer: Any) -> None:
        line = {
            "request_id": f"r{number}",
            "route": "/predict",
            "status": 200,
            "seconds": 0.1,
            "answer": answer,
        }
        self.written[version] += json.dumps(line).encode() + b"\n"


def _state(strategy: Strategy, phase: Phase) -> State:
    stable = replace(VERSION, digest=OLD)
    state = State({OLD: stable}, OLD)
    made = command(state, Deploy(VERSION, Policy(strategy=strategy)), 0.0).state
    assert made.rollout is not None
    return replace(made, rollout=replace(made.rollout, phase=phase))


ROUTING = Routing(1, Backend(OLD, (("h", 1),)), Backend(NEW, (("h", 2),)), 0.1)
FOUND = {
    OLD: Found(OLD, Health.READY, (("h", 1),)),
    NEW: Found(NEW, Health.READY, (("h", 2),)),
}


def test_a_shadows_answers_are_joined_by_request_also_across_half_lines() -> None:
    fleet = Logs()
    fleet.note(OLD, 0, "before the shadow")
    senses = Environs(fleet, answering({}))
    state = _state(Strategy.SHADOW, Phase.SHADOWING)
    assert senses.look(state, FOUND, ROUTING)[1] == ()
    fleet.note(OLD, 1, "x")
    fleet.note(NEW, 1, "y")
    whole = fleet.written[NEW]
    fleet.written[NEW] = whole[:20]
    assert senses.look(state, FOUND, ROUTING)[1] == ()
    fleet.written[NEW] = whole
    ((mine, theirs),) = senses.look(state, FOUND, ROUTING)[1]
    assert (mine.answer, theirs.answer) == ("x", "y")


def test_predictions_are_read_beside_and_only_under_one_weight() -> None:
    counts = {("h", 1): 0, ("h", 2): 0}

    def fetch(address: tuple[str, int]) -> str:
        metrics = Metrics()
        for _ in range(counts[address]):
            metrics.predicted("/p", True)
            metrics.request("/predict", 200, 0.1)
        return metrics.text()

    now = [0.0]
    senses = Environs(Logs(), answering({}), fetch=fetch, spawn=lambda job: job(), clock=lambda: now[0])
    state = _state(Strategy.CANARY, Phase.STEPPING)

    def look(routing: Routing) -> list[Any]:
        now[0] += 2.0
        return list(senses.look(state, FOUND, routing)[0])

    assert look(ROUTING) == []
    counts[("h", 1)], counts[("h", 2)] = 9, 1
    (first,) = look(ROUTING)
    assert first.predictions == {"/p": {"true": (9, 1)}}
    counts[("h", 1)] = 20
    assert look(replace(ROUTING, weight=0.5)) == []  # partly under another weight
    counts[("h", 1)] = 30
    (second,) = look(replace(ROUTING, weight=0.5))
    assert (second.weight, second.stable) == (0.5, 10)


def test_the_examples_are_asked_once_for_a_rollout() -> None:
    asked = []

    def ask(body: bytes) -> Answer:
        asked.append(body)
        return Answer(200, NEW, b'{"positive": true}')

    senses = Environs(Logs(), ask, promises=promising)
    state = _state(Strategy.BLUE_GREEN, Phase.PROBING)
    for _ in range(100):
        if probed := senses.look(state, FOUND, ROUTING)[2]:
            break
        time.sleep(0.02)
    else:
        pytest.fail("no probe")
    assert probed.faults == ()
    assert len(asked) == 2
    assert senses.look(state, FOUND, ROUTING)[2] is probed
