"""Which job runs next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks.plan import Job, plan
from serinus.errors import ProjectError


@st.composite
def graphs(draw: st.DrawFn) -> list[Job]:
    """Jobs without a circle: each needs some of those before it."""
    jobs: list[Job] = []
    for number in range(draw(st.integers(1, 12))):
        names = [job.name for job in jobs]
        needs = draw(st.frozensets(st.sampled_from(names), max_size=3)) if names else frozenset()
        jobs.append(Job(f"job{number}", needs, draw(st.booleans()), draw(st.floats(0, 10))))
    return draw(st.permutations(jobs))


@given(graphs(), st.integers(1, 4), st.data())
def test_every_job_runs_once_after_its_needs_and_never_too_many(
    jobs: list[Job], slots: int, data: st.DataObject
) -> None:
    planned, done, running = plan(jobs), set[str](), set[str]()
    while len(done) < len(jobs):
        for job in planned.ready(done, running, slots):
            assert job.name not in running | done
            assert job.needs <= done
            running.add(job.name)
        assert running, "nothing runs, and something is left"
        assert sum(planned.jobs[name].measuring for name in running) <= 1
        assert sum(not planned.jobs[name].measuring for name in running) <= slots
        over = data.draw(st.sampled_from(sorted(running)))
        running.discard(over)
        done.add(over)


@given(graphs())
def test_what_comes_after_a_job_is_all_that_hangs_on_it(jobs: list[Job]) -> None:
    planned = plan(jobs)
    for job in jobs:
        after = planned.after(job.name)
        for other in jobs:
            hangs = job.name in other.needs or bool(other.needs & after)
            assert (other.name in after) == hangs


def test_no_slot_stays_empty_while_a_job_is_ready() -> None:
    planned = plan([Job("a"), Job("b"), Job("measure", measuring=True), Job("again", measuring=True)])
    assert {job.name for job in planned.ready((), (), 2)} == {"a", "b", "measure"}


def test_what_the_longest_chain_hangs_on_goes_first() -> None:
    jobs = [Job("short"), Job("first", seconds=0.1), Job("long", frozenset({"first"}), seconds=9)]
    assert [job.name for job in plan(jobs).ready((), (), 1)] == ["first"]


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ([Job("a", frozenset("b")), Job("b", frozenset("a"))], "need each other"),
        ([Job("a", frozenset("x"))], "a needs x"),
        ([Job("a"), Job("a")], "more than one check called a"),
    ],
)
def test_jobs_that_cannot_be_ordered_are_named(jobs: list[Job], told: str) -> None:
    with pytest.raises(ProjectError, match=told):
        plan(jobs)
