"""Who gets in, for how long, and the threads that do the work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.serving.admission import Deadlines, Gate, Pool
from serinus.serving.answers import Problem

NAME: ContextVar[str] = ContextVar("name", default="")


@given(st.integers(1, 5), st.lists(st.booleans()))
def test_a_gate_never_holds_more_than_its_limit(limit: int, entering: list[bool]) -> None:
    gate, inside = Gate(limit), 0
    for enters in entering:
        if enters and inside == limit:
            with pytest.raises(Problem) as refused:
                gate.enter()
            assert (refused.value.status, dict(refused.value.headers)) == (503, {"retry-after": "1"})
        elif enters:
            gate.enter()
            inside += 1
        elif inside:
            gate.leave()
            inside -= 1
        assert gate.inside == inside <= limit


def within(deadlines: Deadlines, work: Callable[[], Awaitable[Any]]) -> Awaitable[str]:
    async def run() -> str:
        task = deadlines.enter()
        try:
            await work()
        except asyncio.CancelledError:
            return "late" if deadlines.leave(task) else "cancelled"
        return "late" if deadlines.leave(task) else "done"

    return run()


def test_deadlines_strike_the_slow_and_spare_the_quick() -> None:
    async def scenario() -> list[str]:
        deadlines = Deadlines(0.05)
        works = [lambda: asyncio.sleep(0), lambda: asyncio.sleep(30), lambda: asyncio.sleep(0.001)] * 3
        first = await asyncio.gather(*(within(deadlines, work) for work in works))
        return first + await asyncio.gather(*(within(deadlines, work) for work in works))

    assert asyncio.run(scenario()) == ["done", "late", "done"] * 6


def test_a_task_that_somebody_else_cancels_is_not_late() -> None:
    async def scenario() -> str:
        deadlines = Deadlines(30.0)
        task = asyncio.ensure_future(within(deadlines, lambda: asyncio.sleep(30)))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(scenario()) == "cancelled"


def test_a_task_that_was_late_once_can_go_on() -> None:
    async def scenario() -> tuple[str, int]:
        deadlines = Deadlines(0.01)
        outcome = await within(deadlines, lambda: asyncio.sleep(30))
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return outcome, task.cancelling()

    assert asyncio.run(scenario()) == ("late", 0)


def test_a_pool_runs_in_threads_in_the_context_of_the_caller() -> None:
    async def scenario() -> tuple[str, bool]:
        NAME.set("caller")
        pool = Pool(2, 8)
        name: str = await pool.run(NAME.get)
        return name, await pool.run(threading.current_thread) is not threading.main_thread()

    assert asyncio.run(scenario()) == ("caller", True)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(ValueError, ValueError), (StopIteration, RuntimeError), (SystemExit, RuntimeError)],
)
def test_what_the_function_raises_reaches_the_caller(
    raised: type[BaseException], expected: type[BaseException]
) -> None:
    def function() -> None:
        raise raised("why")

    async def scenario() -> None:
        pool = Pool(1, 8)
        with pytest.raises(expected):
            await pool.run(function)
        assert await pool.run(len, "abc") == 3

    asyncio.run(scenario())


def test_a_pool_does_not_pile_up_what_nobody_waits_for_any_more() -> None:
    async def scenario() -> None:
        pool, release = Pool(1, 2), threading.Event()
        ran: list[int] = []
        stuck = asyncio.ensure_future(pool.run(release.wait))
        queued = asyncio.ensure_future(pool.run(ran.append, 1))
        await asyncio.sleep(0)
        stuck.cancel()
        queued.cancel()
        await asyncio.sleep(0)
        assert pool.pending == 2
        with pytest.raises(Problem):
            await pool.run(ran.append, 2)
        release.set()
        while pool.pending:
            await asyncio.sleep(0.001)
        await pool.run(ran.append, 3)
        assert ran == [3]

    asyncio.run(scenario())
