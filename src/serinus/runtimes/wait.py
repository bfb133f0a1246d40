"""Waiting for a replica: until it is ready, or until it ends."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from serinus.errors import ServiceError
from serinus.runtimes import Running

UNFIT = -1
"""In place of a status: the service says that it will not become ready."""
_FIRST = 0.02
_LONGEST = 0.25
_TAIL = 20
"""Lines of its log that an error shows."""


class Unfit(ServiceError):
    """The service answered an example wrongly: it will not become ready, however long one waits."""


Fetch = Callable[[str], tuple[int, bytes]]
"""A URL -> the status and the body of a GET; OSError or HTTPException when there is no answer."""


def fetch(url: str, timeout: float = 5.0) -> tuple[int, bytes]:
    """GET by the standard library alone: waiting must not cost an import of an HTTP client."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ready(
    url: str,
    running: Running,
    *,
    timeout: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    fetch: Fetch = fetch,
) -> float:
    """Wait until a replica answers 200 on ``/readyz``.

    Args:
        url: where it answers, ``http://127.0.0.1:5000``.
        running: the replica; when it ends, so does the waiting.
        timeout: seconds.
        clock: seconds that only grow.
        sleep: waits that many seconds.
        fetch: asks.

    Returns:
        The seconds it took.

    Raises:
        Unfit: it answered an example wrongly.
        ServiceError: the replica ended (with its last log lines), or the time is over (with the reason
            that its readiness document gives).
    """
    begin = clock()
    pause = _FIRST
    while True:
        status, said = ask(url, fetch)
        if status == 200:
            return clock() - begin
        if status == UNFIT:
            raise Unfit(f"the service is {said}", "Mend the service, or correct the example.")
        code = running.wait(0)
        if code is not None:
            told = f"the service ended with exit code {code} before it was ready"
            raise ServiceError(
                f"{told}\n{tail(running.logs())}".rstrip(),
                "Mend what its log names, and start it again.",
            )
        if clock() - begin >= timeout:
            raise ServiceError(
                f"the service was not ready after {timeout:g} s: {said}\n{tail(running.logs())}".rstrip(),
                "Mend what it names, or give it more time.",
            )
        sleep(pause)
        pause = min(pause * 1.5, _LONGEST)


def follow(
    running: Running,
    write: Callable[[bytes], object],
    *,
    stop: Callable[[], bool] = lambda: False,
    every: float = 0.5,
) -> int:
    """Pass on what a replica writes until it ends, or until it is to be stopped.

    Args:
        running: the replica.
        write: takes each new piece of its log.
        stop: whether to stop it.
        every: seconds between two looks.

    Returns:
        Its exit code.
    """
    seen = 0
    while True:
        code = running.wait(every)
        if code is None and stop():
            code = running.stop()
        if new := running.logs(seen):
            write(new)
            seen += len(new)
        if code is not None:
            return code


def ask(url: str, fetch: Fetch = fetch) -> tuple[int, str]:
    """Ask once whether a service is ready: the status (0: no answer; :data:`UNFIT`), and why it is not."""
    url = url.rstrip("/") + "/readyz"
    try:
        status, body = fetch(url)
    except (OSError, http.client.HTTPException) as error:
        return 0, f"{url} does not answer ({error})"
    if status == 503 and _is_unfit(body):
        return UNFIT, _reason(body).removeprefix(": ")
    return status, f"{url} answers {status}{_reason(body)}"


def ask_stranger(url: str, fetch: Fetch = fetch) -> tuple[int, str]:
    """As :func:`ask`, of an image that Serinus did not build: it need not know the path; any answer will do.

    Any but 503, that is: an app which does know the path says by that to wait.
    """
    status, said = ask(url, fetch)
    return (status if status in (0, 503) else 200), said


def _is_unfit(body: bytes) -> bool:
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("examples") == "failed"


def _reason(body: bytes) -> str:
    """``detail`` of problem details (RFC 9457), or the beginning of whatever came."""
    try:
        document = json.loads(body)
        text = str(document["detail"])
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode("utf-8", "replace").strip()
    return f": {text}" if text else ""


def tail(log: bytes) -> str:
    """The last lines of a log, as an error shows them."""
    return "\n".join(log.decode("utf-8", "replace").splitlines()[-_TAIL:])
