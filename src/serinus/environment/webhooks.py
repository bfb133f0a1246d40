"""Webhooks: other programs are told what happens in an environment.

Each URL has a thread and a queue of its own, so a receiver that is slow or gone keeps nobody waiting: not the
controller, and not the other receivers. The path of a URL is often a secret, and is never logged.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from queue import Empty, Full, Queue
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

from serinus.errors import ProjectError
from serinus.rollout.journal import Recorded

log = logging.getLogger("serinus.environment")

KINDS = frozenset(
    ("start", "step", "hold", "rescue", "abort", "promote", "switch", "supersede", "undo", "gate")
)
"""Kinds of entries that are told; the others are steps on the way to these."""
PAUSES = (1.0, 5.0)
"""Seconds between the tries."""
_QUEUE = 256
_TIMEOUT = 10.0
_SLACK, _ENV = "slack:", "env:"

Post = Callable[["Hook", bytes], int]
"""Sends a body to a hook; the status of the answer. Raises :class:`OSError` where there was none."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where to tell, and how."""

    url: str
    slack: bool = False

    @property
    def place(self) -> str:
        """What may be said of it: scheme and host."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}"

    def __repr__(self) -> str:
        return f"Hook({self.place}/...)"


def hook(text: str, environ: Mapping[str, str] = os.environ) -> Hook:
    """An entry of ``rollout.webhooks``.

    Args:
        text: a URL, or ``env:NAME`` for a variable that holds one; ``slack:`` may stand before either.
        environ: the variables.

    Raises:
        ProjectError: the variable is not set, or what it holds is no URL.
    """
    rest = text.removeprefix(_SLACK)
    url = rest
    if rest.startswith(_ENV):
        name = rest.removeprefix(_ENV)
        url = environ.get(name, "").strip()
        if not url:
            raise ProjectError(
                f"rollout.webhooks names {text}, and the variable {name} is not set",
                "Set it to the URL before `serinus up`, or take the entry out.",
            )
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or not url.isascii() or not url.isprintable() or " " in url:
        raise ProjectError(
            f"rollout.webhooks: what {rest if rest.startswith(_ENV) else 'an entry'} holds is no URL",
            "Write it like https://example.com/hook.",
        )
    return Hook(url, slack=text.startswith(_SLACK))


class Webhooks:
    """Tells entries of the history to all hooks; a call returns at once and raises nothing.

    Args:
        urls: ``rollout.webhooks``.
        environment: its name.
        name_of: what a person called the image of a digest.
        environ: the variables.
        pauses: seconds between the tries.
        post: see :data:`Post`.

    Raises:
        ProjectError: see :func:`hook`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        environment: str,
        *,
        name_of: Callable[[str], str] = lambda digest: "",
        environ: Mapping[str, str] = os.environ,
        pauses: Sequence[float] = PAUSES,
        post: Post | None = None,
    ) -> None:
        self._environment = environment
        self._name_of = name_of
        hooks = [hook(url, environ) for url in urls]
        self._senders = [_Sender(one, pauses, post or send) for one in hooks]

    def __call__(self, recorded: Recorded) -> None:
        """Take in an entry."""
        if recorded.entry.kind not in KINDS or not self._senders:
            return
        document = message(recorded, self._environment, self._name_of(recorded.entry.version))
        for sender in self._senders:
            sender.put(document)

    def close(self, timeout: float = 5.0) -> None:
        """Tell what is waiting, for so many seconds at most, and then no more."""
        end = time.monotonic() + timeout
        for sender in self._senders:
            sender.close(end)


def message(recorded: Recorded, environment: str, name: str) -> dict[str, Any]:
    """What a receiver of plain JSON is told: the entry, the environment, and the name of the image."""
    return {**recorded.to_json(), "environment": environment, "name": name}


def for_slack(document: Mapping[str, Any]) -> dict[str, str]:
    """The same in the form that Slack's incoming webhooks read."""
    of = f" {document['name']}" if document["name"] else ""
    told = f"{document['environment']}: {document['kind']}{of}: {document['message']}"
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        told = told.replace(character, entity)
    return {"text": told}


class _Sender:
    """The queue and the thread of one hook."""

    def __init__(self, target: Hook, pauses: Sequence[float], post: Post) -> None:
        self._hook = target
        self._pauses = pauses
        self._post = post
        self._queue: Queue[bytes] = Queue(_QUEUE)
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"webhook {target.place}", daemon=True)
        self._thread.start()

    def put(self, document: Mapping[str, Any]) -> None:
        told = for_slack(document) if self._hook.slack else document
        try:
            self._queue.put_nowait(json.dumps(told).encode())
        except Full:
            log.warning("%s was not told of an entry: %d wait for it already", self._hook.place, _QUEUE)

    def close(self, end: float) -> None:
        self._closing.set()
        self._thread.join(max(0.0, end - time.monotonic()))
        self._given_up.set()

    def _run(self) -> None:
        while not self._given_up.is_set():
            try:
                body = self._queue.get(timeout=0.2)
            except Empty:
                if self._closing.is_set():
                    return
                continue
            self._tell(body)

    def _tell(self, body: bytes) -> None:
        why = ""
        for pause in (*self._pauses, None):
            try:
                status = self._post(self._hook, body)
            except (OSError, HTTPException, ValueError) as error:
                why = type(getattr(error, "reason", error)).__name__  # its message might hold the URL
            else:
                if 200 <= status < 300:
                    return
                why = f"status {status}"
                if status < 500 and status not in (408, 425, 429):
                    break
            if pause is None or self._given_up.wait(pause):
                break
        log.warning("%s was not told of an entry: %s", self._hook.place, why)


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows nothing: an entry is told to whom it was meant for, or to nobody."""

    def redirect_request(self, *told: Any) -> None:
        """Nothing."""


def send(target: Hook, body: bytes) -> int:
    """Post a body to a hook.

    This is not httpx, which logs the URL of each request.

    Returns:
        The status of the answer.

    Raises:
        OSError: there was none.
    """
    parts = urlsplit(target.url)
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(  # noqa: S310  (the scheme was looked at)
        urlunsplit((parts.scheme, host, parts.path or "/", parts.query, "")),
        body,
        {"Content-Type": "application/json", "User-Agent": "serinus"},
        method="POST",
    )
    if parts.username is not None:
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(who.encode()).decode()}")
    try:
        with urllib.request.build_opener(_Straight).open(request, timeout=_TIMEOUT) as response:
            return int(response.status)
    except HTTPError as error:
        error.close()
        return error.code
