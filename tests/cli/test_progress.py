"""Progress: whatever the threads and their order, a line for each finished step, and nothing left open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.cli.progress import Bars, Lines
from serinus.events import Event, Finished, Noted, Progress, Started

steps = st.sampled_from(["a", "b", "c"])
events = st.one_of(
    st.builds(Started, steps),
    st.builds(Progress, steps, st.integers(0, 9), st.one_of(st.none(), st.integers(0, 9))),
    st.builds(Finished, steps, st.floats(0, 9), st.just("done")),
    st.builds(Noted, st.text("xyz", max_size=5)),
)


def lines(found: list[Event]) -> int:
    return sum(isinstance(event, Finished | Noted) for event in found)


@given(st.lists(events, max_size=20))
def test_lines_tell_what_ended_and_what_to_know(found: list[Event]) -> None:
    written: list[str] = []
    observer = Lines(written.append)
    for event in found:
        observer(event)
    assert len(written) == lines(found)


@given(st.lists(events, max_size=20))
def test_bars_take_any_order(found: list[Event]) -> None:
    written: list[str] = []
    bars = Bars(written.append)
    for event in found:
        bars(event)
    bars.close()
    bars(Noted("after"))
    assert written[-1] == "after"


def test_bars_are_told_from_many_threads(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars(lambda text: None)

    def work(number: int) -> None:
        for done in range(50):
            bars(Progress(f"step {number}", done, 50))
        bars(Finished(f"step {number}", 0.5, "written"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    bars.close()
    assert capsys.readouterr().err.count("written") == 16
