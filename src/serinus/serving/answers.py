"""Answers and problems: what the server sends, as values.

Errors are problem details, ``application/problem+json`` (RFC 9457), and never show a traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from serinus.contract import Violation
from serinus.serving.predictions import Observed

JSON = "application/json"
JSON_FIELD = ("content-type", JSON)
PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. ``headers`` carry lower-case names, ``content-type`` among them."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (JSON_FIELD,)


class Prediction(NamedTuple):
    """The response of a function or a model, as JSON, and what is known about it."""

    body: bytes
    values: Observed | None = None
    """The predicted values, of a response that keeps the contract of its own service by the way in which it
    was made: where that is what it is held to, nobody need read it again. Else None."""


@dataclass(slots=True, eq=False)
class Due:
    """A prediction that is answered together with others: ``await`` it.

    Each answer that is sent by itself wakes the thread that writes it to its caller, which takes longer than
    to make it; of answers that are sent in a row only the first one does. So who makes predictions together
    gives all of them to their ``deliver``, and only then lets those go on who wait.
    """

    future: asyncio.Future[Prediction]
    deliver: Callable[[Prediction], None] | None = field(default=None, init=False)
    """What is done with the prediction at once. What it raises is raised where it is waited for."""

    def __await__(self) -> Generator[Any, None, Prediction]:
        return self.future.__await__()

    def settle(self, made: Prediction | Exception) -> None:
        """Deliver what was made, and let the one who waits go on; nothing when nobody waits any more."""
        if self.future.done():
            return
        if isinstance(made, Exception):
            self.future.set_exception(made)
            return
        try:
            if self.deliver is not None:
                self.deliver(made)
        except Exception as error:  # noqa: BLE001 - a broken contract, say: the one who waits hears of it
            self.future.set_exception(error)
        else:
            self.future.set_result(made)


class Problem(Exception):
    """A request that cannot be answered as asked; raised anywhere, turned into an answer in one place.

    Args:
        status: the HTTP status.
        detail: names the fault for the caller: what was found, what was expected.
        violations: with a broken contract, each fault and its JSON Pointer.
        headers: further headers of the answer, such as ``allow`` or ``retry-after``.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        violations: Sequence[Violation] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.violations = tuple(violations)
        self.headers = tuple(headers)

    def answer(self, **members: str) -> Answer:
        """The problem as an HTTP answer; ``members`` are added to the document (an ``id``, say)."""
        document: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **members,
        }
        if self.violations:
            document["errors"] = [{"pointer": v.pointer, "detail": v.message} for v in self.violations]
        return Answer(self.status, orjson.dumps(document), (("content-type", PROBLEM_JSON), *self.headers))
