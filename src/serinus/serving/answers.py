"""Answers and problems: what the server sends, as values.

Errors are problem details, ``application/problem+json`` (RFC 9457), and never show a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

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
