"""Threads that help are kept off the core of whom they help."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import thread

from serinus.serving.helpers import Helpers, started

CORES = sorted(os.sched_getaffinity(0))


def test_the_threads_that_are_started_meanwhile_are_found() -> None:
    with ExitStack() as stack:
        stack.enter_context(thread())
        with started(2) as found:
            own = [stack.enter_context(thread()) for _ in range(2)]
            assert found == []
        assert found == sorted(own)


@given(st.sets(st.integers(1, 99)), st.sets(st.integers(100, 199)), st.integers(0, 9))
def test_none_are_found_where_others_were_started_too(before: set[int], new: set[int], count: int) -> None:
    class Tasks:
        def __init__(self) -> None:
            self.looks = [before, before | new]

        def iterdir(self) -> Iterator[Path]:
            return (Path("/proc/self/task") / str(number) for number in self.looks.pop(0))

    with started(count, Tasks()) as found:  # type: ignore[arg-type]
        pass
    assert found == (sorted(new) if len(new) == count else [])


def test_none_are_found_where_the_kernel_does_not_say(tmp_path: Path) -> None:
    with started(0, tmp_path / "task") as found:
        pass
    assert found == []


def test_helpers_are_kept_off_the_core_of_whom_they_help() -> None:
    with thread() as first, thread() as second:
        for core in (CORES[0], CORES[-1], CORES[-1], CORES[0]):
            helpers = Helpers([first, second], lambda core=core: core)  # type: ignore[misc]
            helpers.spread()
            for helper in (first, second):
                assert os.sched_getaffinity(helper) == (set(CORES) - {core} or set(CORES))
    assert os.sched_getaffinity(0) == set(CORES)


def test_the_kernel_is_told_only_when_the_core_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, set[int]]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cores: told.append((thread, set(cores))))
    on = iter([1, 1, 1, 2, 2, 1])
    helpers = Helpers([7, 8], lambda: next(on))
    for _ in range(6):
        helpers.spread()
    away = [{0, 2}, {0, 1}, {0, 2}]
    assert told == [(helper, cores) for cores in away for helper in (7, 8)]


@pytest.mark.parametrize("here", [-1, 0])
def test_a_single_core_or_an_unknown_one_changes_nothing(here: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: pytest.fail("nothing is to be told"))
    Helpers([7], lambda: here).spread()


def test_a_helper_that_is_gone_is_asked_no_more() -> None:
    with thread() as gone:
        pass
    on = iter([CORES[0], CORES[-1]])
    helpers = Helpers([gone], lambda: next(on))
    helpers.spread()
    helpers.spread()


def test_where_the_calling_thread_is_the_kernel_says() -> None:
    with thread() as helper:
        Helpers([helper]).spread()
        away = set(CORES) - os.sched_getaffinity(helper)
        assert len(away) == (1 if len(CORES) > 1 else 0)
