"""The plan: every step begins when it can, never before, never twice; against a reference that is slow."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from serinus.pipeline import Approval, Pipeline, Step
from serinus.pipeline.graph import Graph, graph
from serinus.pipeline.plan import FAILED, PASSED, Outcome, State, after, begin, outcome, startable


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 14))
    steps = []
    for number in range(count):
        before = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        files = tuple(f"o{one}" for one in before if draw(st.booleans()))
        asks = not files and draw(st.integers(0, 6)) == 0
        needs = tuple(f"s{one}" for one in before)
        approve = Approval("well?") if asks else None
        outputs = () if asks else (f"o{number}",)
        steps.append(Step(f"s{number}", () if asks else ("true",), needs, files, outputs, approve=approve))
    return graph(Pipeline("p", tuple(steps)))


def expected(found: Graph, states: Mapping[str, State]) -> set[str]:
    """The steps that can begin, found by looking at all of them anew."""
    passed: set[str] = set()
    for name in found.order:
        if states[name] in PASSED and passed.issuperset(found.needs[name]):
            passed.add(name)  # one that is left out, too, only when what is before it is over
    return {n for n, s in states.items() if s is State.PENDING and passed.issuperset(found.needs[n])}


@given(graphs(), st.integers(1, 4), st.data())
def test_a_run_is_scheduled_as_the_reference_says(found: Graph, jobs: int, data: st.DataObject) -> None:
    names = sorted(found.steps)
    chosen = data.draw(st.none() | st.sets(st.sampled_from(names)))
    skipped = data.draw(st.sets(st.sampled_from(names), max_size=3))
    progress = begin(found, chosen=chosen, skipped=sorted(skipped))
    begun: set[str] = set()
    while True:
        assert set(progress.ready) == expected(found, progress.states)
        assert list(progress.ready) == sorted(progress.ready, key=found.ranks.__getitem__)
        for name in startable(progress, jobs):
            assert name not in begun, "begun twice"
            begun.add(name)
            asks = found.steps[name].approve is not None
            progress = after(progress, name, State.ASKING if asks else State.RUNNING)
        under_way = [n for n, s in progress.states.items() if s in {State.RUNNING, State.ASKING}]
        assert progress.running == sum(s is State.RUNNING for s in progress.states.values()) <= jobs
        # No slot is idle while a step could begin.
        waiting = [name for name in progress.ready if found.steps[name].approve is None]
        assert not waiting or progress.running == jobs
        if not under_way:
            break
        name = data.draw(st.sampled_from(sorted(under_way)))
        asks = found.steps[name].approve is not None
        ends = (
            [State.DONE, State.DECLINED]
            if asks
            else [State.DONE, State.CACHED, State.FAILED, State.INTERRUPTED]
        )
        progress = after(progress, name, data.draw(st.sampled_from(ends)))
    _at_the_end(found, progress.states, chosen, skipped, begun)
    passed = all(state in PASSED for state in progress.states.values())
    assert (outcome(progress) is Outcome.DONE) is passed


def _at_the_end(
    found: Graph, states: Mapping[str, State], chosen: set[str] | None, skipped: set[str], begun: set[str]
) -> None:
    stopped = {n for n, s in states.items() if s in FAILED or s is State.INTERRUPTED}
    for name, state in states.items():
        assert state not in {State.PENDING, State.RUNNING, State.ASKING}
        if chosen is not None and name not in chosen:
            assert state is State.LEFT
            continue
        behind_stopped = bool(found.before([name]) & stopped)
        if state is State.BLOCKED:
            assert behind_stopped
        if state is State.SKIPPED:
            assert name in skipped or any(states[need] is State.SKIPPED for need in found.reads[name])
        if name in begun:
            assert all(states[need] in PASSED for need in found.before([name]))


@given(graphs(), st.data())
def test_fail_fast_starts_nothing_more(found: Graph, data: st.DataObject) -> None:
    progress = begin(found)
    names = startable(progress, 2, fail_fast=True)
    for name in names:
        progress = after(progress, name, State.RUNNING)
    if names:
        progress = after(progress, data.draw(st.sampled_from(names)), State.FAILED)
        assert startable(progress, 10, fail_fast=True) == ()


def test_a_thousand_steps_are_scheduled_in_the_order_of_the_reference() -> None:
    chance = random.Random(4)
    steps = tuple(
        Step(
            f"s{n}",
            ("true",),
            tuple(f"s{one}" for one in chance.sample(range(n), min(n, chance.randrange(4)))),
        )
        for n in range(1000)
    )
    found = graph(Pipeline("p", steps))
    progress = begin(found)
    done: list[str] = []
    while progress.ready:
        assert progress.ready[0] == min(expected(found, progress.states), key=found.ranks.__getitem__)
        [name] = startable(progress, 1)
        progress = after(after(progress, name, State.RUNNING), name, State.DONE)
        done.append(name)
    assert len(done) == 1000
    assert outcome(progress) is Outcome.DONE


def test_a_skipped_step_lets_those_go_on_that_read_nothing_of_it() -> None:
    steps = (
        Step("tune", ("true",), outputs=("tuned",)),
        Step("train", ("true",), needs=("tune",), outputs=("model",)),
        Step("compare", ("true",), inputs=("tuned",), outputs=("comparison",)),
        Step("report", ("true",), inputs=("comparison",)),
    )
    progress = begin(graph(Pipeline("p", steps)), skipped=["tune"])
    assert progress.ready == ("train",)
    assert {n for n, s in progress.states.items() if s is State.SKIPPED} == {"tune", "compare", "report"}
    assert progress.reasons["report"] == "it reads what compare makes, which was skipped"


def test_a_step_that_is_left_out_does_not_let_those_behind_it_begin_too_soon() -> None:
    steps = (
        Step("fetch", ("true",)),
        Step("clean", ("true",), needs=("fetch",)),
        Step("train", ("true",), needs=("clean",)),
    )
    for left_out in ({"skipped": ["clean"]}, {"chosen": {"fetch", "train"}}):
        progress = begin(graph(Pipeline("p", steps)), **left_out)
        assert progress.ready == ("fetch",)
        running = after(progress, "fetch", State.RUNNING)
        assert after(running, "fetch", State.DONE).ready == ("train",)
        assert after(running, "fetch", State.FAILED).states["train"] is State.BLOCKED
