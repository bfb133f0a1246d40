"""Errors of foreign apps pass through, unless they would show a traceback."""

from __future__ import annotations

import os

from serinus.serving.answers import Answer, Problem
from serinus.serving.logs import log

CAP = 1 << 20
"""Bytes of an app's error page that are looked at, and sent, at most."""


def fault_id() -> str:
    """A new id for an exception: it stands in the answer and in the log, beside the traceback."""
    return os.urandom(8).hex()


def sealed(answer: Answer) -> Answer:
    """The answer; a 5xx that shows a traceback is replaced by a problem, and its body goes to the log."""
    if answer.status < 500 or b"Traceback" not in answer.body or b"most recent call last" not in answer.body:
        return answer
    identity = fault_id()
    text = answer.body[:CAP].decode(errors="replace")
    log.error("the app answered %d with a traceback", answer.status, extra={"id": identity, "body": text})
    return Problem(answer.status, "the app failed; its log has the reason under this id").answer(id=identity)
