"""What one turn of the event loop brings: batches, and that everybody gets an answer of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.serving.answers import Due, Prediction
from serinus.serving.turns import Turns, _Waiting, batches

Rows = list[list[float]]
REQUEST = st.integers(1, 3).flatmap(
    lambda width: st.lists(
        st.lists(st.floats(-100, 100, width=32), min_size=width, max_size=width), min_size=1, max_size=4
    )
)


class Doubling:
    """A model that doubles each number, and fails on 13; says how many rows each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, arrays: Mapping[str, Any]) -> list[Any]:
        self.calls.append(len(arrays["x"]))
        if (arrays["x"] == 13).any():
            raise ValueError("thirteen")
        return [arrays["x"] * 2]


def written(values: Sequence[Any]) -> Prediction:
    if numpy.isnan(values[0]).any():
        raise ArithmeticError("not a number")
    return Prediction(orjson.dumps(values[0].tolist()))


def ask(
    requests: Sequence[Rows], limit: int, cancel: frozenset[int] = frozenset()
) -> tuple[list[Any], Doubling]:
    """What each request of one turn is answered, or the exception; and the model."""
    model = Doubling()

    async def main() -> list[Any]:
        turns = Turns(model, written, limit)
        arrays = [numpy.array(rows, numpy.float32) for rows in requests]
        asked = [turns.submit({"x": array}, array.size) for array in arrays]
        for number in cancel:
            asked[number].future.cancel()
        return await asyncio.gather(*(one.future for one in asked), return_exceptions=True)

    return asyncio.run(main()), model


@given(st.lists(REQUEST, min_size=1, max_size=12), st.integers(0, 40), st.data())
def test_everybody_is_answered_as_if_alone(requests: list[Rows], limit: int, data: st.DataObject) -> None:
    cancelled = data.draw(st.frozensets(st.integers(0, len(requests) - 1)))
    answers, model = ask(requests, limit, cancelled)
    for number, (rows, answer) in enumerate(zip(requests, answers, strict=True)):
        if number in cancelled:
            assert isinstance(answer, asyncio.CancelledError)
        elif 13 in numpy.array(rows, numpy.float32):
            assert isinstance(answer, ValueError)
        else:
            assert orjson.loads(answer.body) == (numpy.array(rows, numpy.float32) * 2).tolist()
    if not any(13 in row for rows in requests for row in rows):
        assert sum(model.calls) == sum(map(len, requests))


@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from([((1,),), ((2,),), ((2,), (3, 1))])), max_size=20),
    st.integers(0, 60),
)
def test_a_batch_has_one_form_and_at_most_so_much_work(sizes: list[Any], limit: int) -> None:
    waiting: list[Any] = [_Waiting(None, {}, amount, 1, form) for amount, form in sizes]  # type: ignore[arg-type]
    found = batches(waiting, limit)
    assert sorted(map(id, waiting)) == sorted(id(one) for batch in found for one in batch)
    for form in {one.form for one in waiting}:
        own = [one for batch in found for one in batch if one.form == form]
        assert own == [one for one in waiting if one.form == form], "in the order in which they came"
    for batch in found:
        assert len({one.form for one in batch}) == 1
        assert len(batch) == 1 or sum(one.amount for one in batch) <= limit


def test_one_call_answers_what_a_turn_brings() -> None:
    answers, model = ask([[[1.0]], [[2.0]], [[3.0], [4.0]], [[5.0, 6.0]]], 100)
    assert [answer.body for answer in answers] == [b"[[2.0]]", b"[[4.0]]", b"[[6.0],[8.0]]", b"[[10.0,12.0]]"]
    assert model.calls == [4, 1]


def test_whoever_is_at_fault_fails_alone() -> None:
    answers, _ = ask([[[1.0]], [[13.0]], [[float("nan")]], [[2.0]]], 100)
    assert [type(answer) for answer in answers] == [Prediction, ValueError, ArithmeticError, Prediction]


def test_nobody_waits_for_a_later_turn() -> None:
    model = Doubling()

    async def main() -> None:
        turns = Turns(model, written, 100)
        for number in range(3):
            assert (await turns.submit({"x": numpy.full((1, 1), number)}, 1)).body == b"[[%d]]" % (2 * number)

    asyncio.run(main())
    assert model.calls == [1, 1, 1]


def test_batches_are_observed() -> None:
    seen: list[int] = []

    async def main() -> None:
        turns = Turns(Doubling(), written, 3, seen.append)
        await asyncio.gather(*(turns.submit({"x": numpy.ones((1, 1))}, 1).future for _ in range(5)))

    asyncio.run(main())
    assert seen == [3, 2]


def test_answers_are_delivered_in_a_row_and_only_then_do_those_who_wait_go_on() -> None:
    happened: list[str] = []

    async def wait(name: str, due: Due) -> None:
        try:
            happened.append(f"{name} has {(await due).body.decode()}")
        except (ValueError, OSError, asyncio.CancelledError) as error:
            happened.append(f"{name}: {error!r}")

    def break_off(made: Prediction) -> None:
        raise OSError("too late")

    async def main() -> None:
        turns = Turns(Doubling(), written, 100)
        due = {name: turns.submit({"x": numpy.full((1, 1), at)}, 1) for at, name in enumerate("abcd")}
        for name, one in due.items():
            one.deliver = lambda made, name=name: happened.append(f"{made.body.decode()} to {name}")
        due["b"].deliver = break_off
        due["c"].future.cancel()
        await asyncio.gather(*(wait(name, one) for name, one in due.items()))

    asyncio.run(main())
    assert happened[:2] == ["[[0]] to a", "[[6]] to d"]
    assert sorted(happened[2:]) == [
        *("a has [[0]]", "b: OSError('too late')", "c: CancelledError()", "d has [[6]]"),
    ]


def test_who_fails_is_delivered_nothing() -> None:
    delivered: list[Prediction] = []

    async def main() -> None:
        turns = Turns(Doubling(), written, 100)
        due = [turns.submit({"x": numpy.full((1, 1), number)}, 1) for number in (13, 1)]
        for one in due:
            one.deliver = delivered.append
        with pytest.raises(ValueError, match="thirteen"):
            await due[0]

    asyncio.run(main())
    assert [made.body for made in delivered] == [b"[[2]]"]


@pytest.mark.parametrize("rows", [1, 2])
def test_the_answer_of_one_is_what_its_rows_give(rows: int) -> None:
    answers, _ = ask([[[0.5]] * rows], 100)
    assert orjson.loads(answers[0].body) == [[1.0]] * rows
