"""What one turn of the event loop brings, answered as one batch.

Under load several requests become readable in the same turn. Running a small model once for all of them costs
little more than running it for one, and lets go of Python's lock once instead of once for each, for which the
threads that bring requests and send answers are waiting. Nobody waits for a later turn: a batch is what is
there already. And the answers of a batch are sent in a row (:class:`serinus.serving.answers.Due`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from serinus.serving.answers import Due, Prediction

if TYPE_CHECKING:
    from serinus.serving.tensors import Array

Arrays = Mapping[str, "Array"]


Form = tuple[tuple[int, ...], ...]
"""The shapes of a request's arrays but for their rows: requests of one form can stand below each other."""


@dataclass(slots=True, eq=False)
class _Waiting(Due):
    """One request: as many rows in each of its arrays."""

    arrays: Arrays
    amount: int
    rows: int
    form: Form


class Turns:
    """Gathers the requests of a turn, for a model that treats each row by itself. Belongs to one event loop.

    Args:
        run: the outputs of the model, a row for each row of the inputs.
        write: the answer to one request, from its rows of the outputs.
        limit: work (:func:`serinus.serving.reading.work`) that a batch may be at most.
        observe: told the size of each batch, in requests.
    """

    def __init__(
        self,
        run: Callable[[Arrays], Sequence[Array]],
        write: Callable[[Sequence[Any]], Prediction],
        limit: int,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._run = run
        self._write = write
        self._limit = limit
        self._observe = observe
        self._waiting: list[_Waiting] = []

    def submit(self, arrays: Arrays, amount: int) -> Due:
        """The answer to one request of at most the limit, at the end of this turn.

        Awaiting it raises what the model raised on this request, or that its answer cannot be written.
        """
        if not self._waiting:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._answer)
        shapes = [array.shape for array in arrays.values()]
        form = tuple([shape[1:] for shape in shapes])
        one = _Waiting(self._loop.create_future(), arrays, amount, shapes[0][0], form)
        self._waiting.append(one)
        return one

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for batch in batches(waiting, self._limit):
            self._observe(len(batch))
            try:
                self._answer_all(batch)
            except Exception:  # noqa: BLE001 - one of them may be at fault, and then fails alone
                for one in batch:
                    self._answer_one(one)

    def _answer_all(self, batch: Sequence[_Waiting]) -> None:
        """Run the model once, and give each request its rows.

        Raises:
            Exception: the model failed on these inputs; nobody has an answer.
        """
        if len(batch) == 1:
            return self._answer_one(batch[0])
        together = {name: numpy.concatenate([one.arrays[name] for one in batch]) for name in batch[0].arrays}
        values, begin, made = self._run(together), 0, []
        for one in batch:
            end = begin + one.rows
            made.append(self._written([value[begin:end] for value in values]))
            begin = end
        for one, answer in zip(batch, made, strict=True):
            one.settle(answer)
        return None

    def _answer_one(self, one: _Waiting) -> None:
        try:
            values = self._run(one.arrays)
        except Exception as error:  # noqa: BLE001 - whatever the model raised, the one who asked hears of it
            one.settle(error)
        else:
            one.settle(self._written(values))

    def _written(self, values: Sequence[Any]) -> Prediction | Exception:
        try:
            return self._write(values)
        except Exception as error:  # noqa: BLE001 - a broken contract, say
            return error


def batches(waiting: Sequence[_Waiting], limit: int) -> list[list[_Waiting]]:
    """The requests as batches of one form each, in their order, each of at most ``limit`` work or alone."""
    open_: dict[Form, tuple[list[_Waiting], int]] = {}
    found: list[list[_Waiting]] = []
    for one in waiting:
        batch, amount = open_.get(one.form, ([], 0))
        if not batch or amount + one.amount > limit:
            batch, amount = [], 0
            found.append(batch)
        batch.append(one)
        open_[one.form] = (batch, amount + one.amount)
    return found
