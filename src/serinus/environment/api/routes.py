"""The control API: a WSGI app over :class:`.Control`. ``docs/reference/control-api.md`` describes it.

A request is held to, in this order: where it was sent and by whom (``Host``, ``Origin``), the token, path,
method, size, content type, body. :mod:`.server` serves it on loopback.
"""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from serinus.environment.api import requests
from serinus.environment.api.answers import Answer, Refused, answer, failure, problem, refusal
from serinus.environment.api.requests import Headers, Members, flag, seconds, text, whole, word
from serinus.environment.control import MOST, Control
from serinus.errors import SerinusError
from serinus.rollout.policy import Strategy

log = logging.getLogger("serinus.environment")

WATCHERS = 8
"""Requests for events that may wait at a time; one more is answered at once. So commands find a thread."""
LONGEST_WAIT = 60.0
"""Seconds that a request for events may wait."""
_MOST_BYTES = 10**15 - 1
_STRATEGIES = tuple(one.value for one in Strategy if one is not Strategy.UNDO)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let in."""

    values: Mapping[str, Any]
    """Of its body or query, by name."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """What stands in the path for the parts that vary, by name."""


@dataclass(frozen=True, slots=True)
class Route:
    """What one method does at one path."""

    method: str
    path: str
    """``{run}`` stands for a part that varies, ``{version:path}`` for one that may have slashes in it."""
    call: Callable[[Api, Asked], Answer]
    members: Members = field(default_factory=dict)
    """Of the body of a POST, of the query of a GET."""
    open: bool = False
    """Whether it needs no token."""


class Api:
    """The WSGI app.

    Args:
        control: answers.
        token: the token in force; None lets nobody in.
        port: at which the API is served, for ``Host`` and ``Origin``.
        more: routes beside those of an environment's own.
    """

    def __init__(
        self, control: Control, token: Callable[[], str | None], port: int, more: Sequence[Route] = ()
    ) -> None:
        self.control = control
        self._token = token
        self._port = port
        self._routes = (*ROUTES, *more)
        self._watchers = threading.BoundedSemaphore(WATCHERS)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        try:
            made = self._answer(environ)
        except Refused as refused:
            made = refusal(refused)
        except SerinusError as error:
            made = failure(error)
        except Exception:
            number = uuid.uuid4().hex
            log.exception("a request of the control API failed: %s", number)
            made = problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "a fault of Serinus",
                f"The log of the environment has it under {number}: please report it.",
                kind="Fault",
            )
        start(made.line, list(made.headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [made.body]

    def _answer(self, environ: Mapping[str, Any]) -> Answer:
        headers = _headers(environ)
        requests.check_place(headers, self._port)
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        found = [(route, parts) for route in self._routes if (parts := _match(route.path, path)) is not None]
        if not (found and found[0][0].open):
            requests.check_token(headers, self._token())
        if not found:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is nothing at {path!r:.200}")
        route, parts = _by_method(found, environ["REQUEST_METHOD"])
        if route.method == "GET":
            values = requests.query(environ.get("QUERY_STRING", ""), route.members)
        else:
            length = requests.check_body(headers)
            data = environ["wsgi.input"].read(length) if length else b""
            values = requests.body(data, route.members)
        return route.call(self, Asked(values, parts))

    def events(self, after: int, wait: float) -> Answer:
        """Entries after a number, and the status."""
        free = self._watchers.acquire(blocking=False)
        try:
            entries, status = self.control.events(after, wait if free else 0.0)
        finally:
            if free:
                self._watchers.release()
        return answer({"entries": entries, "status": status})


def _headers(environ: Mapping[str, Any]) -> Headers:
    return Headers(
        host=environ.get("HTTP_HOST", ""),
        origin=environ.get("HTTP_ORIGIN"),
        authorization=environ.get("HTTP_AUTHORIZATION", ""),
        content_type=environ.get("CONTENT_TYPE", ""),
        content_length=environ.get("CONTENT_LENGTH", ""),
    )


def _match(pattern: str, path: str) -> Mapping[str, str] | None:
    """What stands for each part that varies; None where the path is another."""
    literal = re.escape(pattern)
    whole = re.sub(r"\\{(\w+):path\\}", r"(?P<\1>.+)", literal)
    match = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", whole), path)
    return match.groupdict() if match else None


def _by_method(
    found: Sequence[tuple[Route, Mapping[str, str]]], method: str
) -> tuple[Route, Mapping[str, str]]:
    wanted = "GET" if method == "HEAD" else method
    for route, parts in found:
        if route.method == wanted:
            return route, parts
    allowed = [route.method for route, _ in found]
    raise Refused(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"{method!r:.50} is not possible here; possible: {', '.join(allowed)}",
        headers=[("Allow", ", ".join([*allowed, "HEAD"] if "GET" in allowed else allowed))],
    )


# What each route does


def _healthz(api: Api, asked: Asked) -> Answer:
    return answer({"status": "ok"})


def _status(api: Api, asked: Asked) -> Answer:
    return answer(api.control.status())


def _deploy(api: Api, asked: Asked) -> Answer:
    done = api.control.deploy(asked.values["image"], asked.values["strategy"])
    return answer(done, HTTPStatus.CREATED if done.new else HTTPStatus.OK)


def _promote(api: Api, asked: Asked) -> Answer:
    return answer(api.control.promote(asked.values["full"]))


def _abort(api: Api, asked: Asked) -> Answer:
    return answer(api.control.abort(asked.values["why"]))


def _pause(api: Api, asked: Asked) -> Answer:
    return answer(api.control.pause())


def _resume(api: Api, asked: Asked) -> Answer:
    return answer(api.control.resume())


def _undo(api: Api, asked: Asked) -> Answer:
    return answer(api.control.undo())


def _history(api: Api, asked: Asked) -> Answer:
    asked_for = asked.values["after"], asked.values["limit"], asked.values["rollout"] or None
    return answer({"entries": api.control.history(*asked_for)})


def _events(api: Api, asked: Asked) -> Answer:
    return api.events(asked.values["after"], asked.values["wait"])


def _logs(api: Api, asked: Asked) -> Answer:
    since = asked.values["since"]
    version, data = api.control.logs(asked.parts["version"], since)
    found = {"version": version, "text": data.decode("utf-8", "replace"), "next": since + len(data)}
    return answer(found)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/healthz", _healthz, open=True),
    Route("GET", "/v1/status", _status),
    Route("POST", "/v1/rollouts", _deploy, {"image": (text, ...), "strategy": (word(*_STRATEGIES), None)}),
    Route("POST", "/v1/rollout/promote", _promote, {"full": (flag, False)}),
    Route("POST", "/v1/rollout/abort", _abort, {"why": (text, "")}),
    Route("POST", "/v1/rollout/pause", _pause),
    Route("POST", "/v1/rollout/resume", _resume),
    Route("POST", "/v1/undo", _undo),
    Route(
        "GET",
        "/v1/history",
        _history,
        {"after": (whole(0, 10**15), 0), "limit": (whole(1, MOST), 100), "rollout": (whole(0, 10**15), 0)},
    ),
    Route(
        "GET",
        "/v1/events",
        _events,
        {"after": (whole(0, 10**15), 0), "wait": (seconds(LONGEST_WAIT), 20.0)},
    ),
    Route("GET", "/v1/versions/{version:path}/logs", _logs, {"since": (whole(0, _MOST_BYTES), 0)}),
)
"""Every route of an environment's own; ``docs/reference/control-api.md`` tells of each."""
