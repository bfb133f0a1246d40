"""Answers of the control API: JSON, and errors as problems (RFC 9457). Pure.

A problem has ``title``, ``status``, ``detail``, ``todo`` (what to do next) and ``kind`` (the class of the
error, by which the client raises it again).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from serinus.environment.api.documents import plain
from serinus.errors import (
    CheckError,
    ContractError,
    ControlError,
    JournalError,
    ModelError,
    NotFound,
    PipelineError,
    RegistryError,
    RolloutError,
    RouterError,
    RuntimeUnavailable,
    SerinusError,
)

Header = tuple[str, str]
JSON = "application/json"
PROBLEM = "application/problem+json"

STATUSES: Mapping[type[SerinusError], HTTPStatus] = {
    RolloutError: HTTPStatus.CONFLICT,
    NotFound: HTTPStatus.NOT_FOUND,
    CheckError: HTTPStatus.PRECONDITION_FAILED,
    ContractError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RegistryError: HTTPStatus.BAD_GATEWAY,
    RouterError: HTTPStatus.BAD_GATEWAY,
    RuntimeUnavailable: HTTPStatus.BAD_GATEWAY,
    JournalError: HTTPStatus.SERVICE_UNAVAILABLE,
    ControlError: HTTPStatus.GATEWAY_TIMEOUT,
    ModelError: HTTPStatus.UNPROCESSABLE_ENTITY,
    PipelineError: HTTPStatus.CONFLICT,
    SerinusError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Error -> status; the first class that fits. None of a registry's is 401: that is for our own token."""
_ALWAYS: tuple[Header, ...] = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whole."""

    status: HTTPStatus
    body: bytes
    headers: tuple[Header, ...]

    @property
    def line(self) -> str:
        """Code and phrase."""
        return f"{self.status.value} {self.status.phrase}"


class Refused(Exception):
    """A request is refused before it is anything to the environment.

    Args:
        status: the status.
        detail: what was found, and what was expected.
        todo: what to do next.
        headers: of the answer.
    """

    def __init__(self, status: HTTPStatus, detail: str, todo: str = "", headers: Sequence[Header] = ()):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.todo = todo
        self.headers = tuple(headers)


def answer(document: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """A JSON document."""
    return _whole(status, document, JSON)


def raw(data: bytes, kind: str) -> Answer:
    """What is no JSON: a plot, say."""
    return Answer(HTTPStatus.OK, data, (("Content-Type", kind), ("Content-Length", str(len(data))), *_ALWAYS))


def problem(
    status: HTTPStatus, detail: str, todo: str = "", headers: Sequence[Header] = (), **more: str
) -> Answer:
    """An error."""
    document = {"title": status.phrase, "status": status.value, "detail": detail, "todo": todo}
    return _whole(status, document | more, PROBLEM, headers)


def failure(error: SerinusError) -> Answer:
    """What one of our own errors is told as."""
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    return problem(status, error.message, error.todo, kind=type(error).__name__)


def refusal(refused: Refused) -> Answer:
    """A refused request."""
    return problem(refused.status, refused.detail, refused.todo, refused.headers, kind="ControlError")


def _whole(status: HTTPStatus, document: Any, kind: str, headers: Sequence[Header] = ()) -> Answer:
    body = json.dumps(plain(document), allow_nan=False).encode()
    own = (("Content-Type", kind), ("Content-Length", str(len(body))))
    return Answer(status, body, (*own, *_ALWAYS, *headers))
