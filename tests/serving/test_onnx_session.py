"""A model for functions: all cores for a call that is alone, one for each of several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from tiny_models import model, save

import serinus
from serinus.serving import onnx_session
from serinus.serving.onnx_session import CALM, Turn


@given(st.lists(st.booleans(), max_size=60))
def test_who_has_all_cores_works_by_itself(begins: list[bool]) -> None:
    """The calls of a service: each begins, works as soon as it need not wait, and ends."""
    turn, working, waiting = Turn(), [], 0
    for begin in begins:
        if begin:
            whole = turn.begin()
            if whole or turn.is_shared():
                working.append(whole)
            else:
                waiting += 1
        elif working:
            turn.end(working.pop(0))
        if turn.is_shared():
            working, waiting = working + [False] * waiting, 0
        assert turn.under_way == len(working) + waiting
        assert not any(working) or len(working) == 1
        assert working or not waiting, "somebody waits for nobody"


def test_who_is_alone_has_all_cores_and_so_has_the_next_one() -> None:
    turn = Turn()
    for _ in range(5):
        assert turn.begin()
        turn.end(True)


def test_when_calls_have_met_the_next_ones_have_a_core_each_for_a_while() -> None:
    turn = Turn()
    assert [turn.begin(), turn.begin()] == [True, False]
    turn.end(True)
    turn.end(False)
    calm = []
    for _ in range(CALM + 1):
        calm.append(turn.begin())
        turn.end(calm[-1])
    assert calm == [False] * CALM + [True]


def test_in_the_gap_between_two_calls_nobody_takes_all_cores() -> None:
    turn = Turn()
    turn.begin()
    turn.begin()
    turn.end(True)
    for _ in range(20):
        turn.end(False)
        assert not turn.begin()
        turn.end(False)
        assert not turn.begin()
        assert not turn.begin()
        turn.end(False)


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A model that doubles: 300 numbers in, 300 out."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    sides = [("x", "float32", [None, 300])], [("y", "float32", [None, 300])]
    return save(model(*sides, [node]), tmp_path / "model.onnx")


@pytest.mark.parametrize("cores", [1, 3, None])
def test_every_thread_gets_its_own_answer(doubling: Path, cores: int | None) -> None:
    session = serinus.OnnxSession(doubling, cores)
    begin = threading.Barrier(4)

    def call(number: int) -> bool:
        begin.wait(10)
        x = numpy.full((2, 300), number, numpy.float32)
        return all((session.run(["y"], {"x": x})[0] == 2 * x).all() for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(4)))


class Slow:
    """Stands in for a session: says that it was called, and returns when it is told to."""

    def __init__(self) -> None:
        self.called, self.told = threading.Event(), threading.Event()

    def run(self, outputs: object, inputs: object) -> list[Slow]:
        self.called.set()
        assert self.told.wait(10)
        return [self]


@pytest.mark.parametrize("patient", [30.0, 0.01])
def test_who_comes_while_another_has_all_cores_waits_for_its_end_but_not_for_long(
    doubling: Path, patient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "PATIENT", patient)
    session = serinus.OnnxSession(doubling, 2)
    alone, beside = Slow(), Slow()
    session._alone, session._beside = alone, beside  # type: ignore[assignment]
    beside.told.set()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(session.run, None, {})
        assert alone.called.wait(10)
        second = pool.submit(session.run, None, {})
        while session.under_way < 2 and not second.done():
            time.sleep(0.001)
        assert beside.called.wait(0.1 if patient > 1 else 10) == (patient < 1)
        alone.told.set()
        assert (first.result(10), second.result(10)) == ([alone], [beside])
    assert session.under_way == 0


def test_a_call_that_fails_is_under_way_no_more(doubling: Path) -> None:
    session = serinus.OnnxSession(doubling, 2)
    for _ in range(3):
        with pytest.raises(Exception, match="x"):
            session.run(["y"], {"x": numpy.zeros((1, 299), numpy.float32)})
    assert session.run(None, {"x": numpy.ones((1, 300), numpy.float32)})[0].sum() == 600
    assert session.under_way == 0


def test_a_session_has_as_many_threads_as_the_service_may_use_cores(
    doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERINUS_CORES", "3")
    assert serinus.OnnxSession(doubling).cores == 3
    assert serinus.OnnxSession(doubling, 2).cores == 2


@pytest.mark.parametrize("telemetry", ["0", "1"])
def test_its_helpers_are_known_also_where_it_is_the_first_to_use_the_runtime(
    doubling: Path, telemetry: str
) -> None:
    text = f"import serinus; print(serinus.OnnxSession({str(doubling)!r}, 3)._helpers.threads)"
    env = os.environ | {"ORT_DISABLE_TELEMETRY": telemetry}
    done = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == 2
