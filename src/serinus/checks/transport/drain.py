"""Stopping: a rollout ends a replica while callers are talking to it, and nobody is to notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from serinus.checks import Finding, Result, check
from serinus.checks.starting import Start
from serinus.checks.subjects import Given, Served
from serinus.checks.transport import wire
from serinus.checks.transport.endpoint import Endpoint, ask

_CALLERS = 6
_LONGEST = 20.0
"""Seconds that stopping may take where the grace is longer: these requests are short."""
_LOAD = 0.3
"""Seconds of load before the stop."""
_ROUNDS = 3
_RELAYED = ("docker", "podman")
"""Runtimes between which and a caller stands a relay, which reads requests that the service never sees."""
_STOPPED = (0, 143)
"""Exit codes: by itself, or by a SIGTERM (128 + 15) that it does not catch."""
_TODO = "On SIGTERM finish what is in flight; do not end the process, or take the signal from the server."


@dataclass
class _Seen:
    """What the callers saw; each list is appended to by many threads."""

    answered: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Requests that the service had, and did not answer: one is one too many."""
    crossed: list[str] = field(default_factory=list)
    """Requests that the service never read, since it was just closing their connection."""


@check(
    "transport.drain",
    why="With every new version some requests were cut off, those that the old one was just answering.",
    seconds=4.0,
)
def drain(given: Given, endpoint: Endpoint, start: Start) -> Result:
    """A replica stopped under load answers all that it has accepted, and ends with 0 in `service.grace`."""
    direct = given.runtime.name not in _RELAYED
    crossed: list[str] = []
    for number in range(1, _ROUNDS + 1):
        with start(f"drain-{number}") as served:
            seen, code, seconds = _round(endpoint.at(served), served, direct)
        crossed += seen.crossed
        found = tuple(_judged(endpoint, seen, code, seconds))
        # A request can cross the closing of its connection: RFC 9112, section 9.3.1, has clients send it
        # again. It is rare where `Connection: close` is said first, and happens always where it is not.
        # A relay takes connections that the service turns away, and breaks them: no fault of the service.
        if found or not seen.crossed or endpoint.settings is None or not direct:
            return Result(_summary(len(seen.answered), seconds, crossed, number), found)
    return Result(
        findings=(
            Finding(
                f"each of {_ROUNDS} stops closed connections while requests came on them, {len(crossed)} in "
                f"all: {crossed[0]}",
                "Say `Connection: close` for a moment before connections are closed.",
            ),
        ),
        warning=True,  # callers send such a request again; a busy machine brings it about too
    )


def _summary(answered: int, seconds: float, crossed: list[str], stops: int) -> str:
    text = f"{answered} answers, none lost, stopped in {seconds:.1f} s"
    if not crossed:
        return text
    stopped = f"{stops} stops" if stops > 1 else "one stop"
    return f"{text}; {stopped} closed connections just as {len(crossed)} requests came, to be sent again"


def _judged(endpoint: Endpoint, seen: _Seen, code: int | None, seconds: float) -> Iterator[Finding]:
    if seen.lost:
        yield Finding(f"{len(seen.lost)} requests in flight were lost at the stop: {seen.lost[0]}", _TODO)
    grace = _grace(endpoint)
    if code is None or code == 137:
        yield Finding(f"the service did not stop within {grace:g} s after SIGTERM", _TODO)
    elif code != 0 and not (endpoint.settings is None and code in _STOPPED):
        yield Finding(
            f"the service ended with exit code {code} {seconds:.1f} s after SIGTERM; expected 0", _TODO
        )


def _grace(endpoint: Endpoint) -> float:
    return min(endpoint.settings.grace, _LONGEST) if endpoint.settings else _LONGEST


def _round(endpoint: Endpoint, served: Served, direct: bool) -> tuple[_Seen, int | None, float]:
    """One replica under load, and its end: what callers saw, the exit code, the seconds it took."""
    request = endpoint.well() if endpoint.known else wire.Request("GET", _steady(endpoint))
    expected = ask(endpoint, request).status
    seen, over, told = _Seen(), threading.Event(), threading.Event()
    callers = [
        threading.Thread(
            target=_Caller(endpoint, request, expected, seen, number % 3 > 0, direct).call,
            args=(over, told),
            daemon=True,
        )
        for number in range(_CALLERS)
    ]
    begun = [_Half(endpoint) for _ in range(2)]
    for caller in callers:
        caller.start()
    time.sleep(_LOAD)
    stopped: list[int] = []
    told.set()
    begin = time.monotonic()
    # Time beyond the grace: a process that ends has to be seen to end.
    patience = _grace(endpoint) + 5.0
    stopper = threading.Thread(
        target=lambda: stopped.append(served.running.stop(patience) if served.running else 0), daemon=True
    )
    stopper.start()
    time.sleep(0.1)
    for half in begun:
        half.finish(seen)
    stopper.join(patience + 30.0)
    seconds = time.monotonic() - begin
    over.set()
    for caller in callers:
        caller.join(wire.PATIENCE + 5.0)
    return seen, stopped[0] if stopped else None, seconds


def _steady(endpoint: Endpoint) -> str:
    """A route that answers while the service stops: ``/readyz`` says that it does."""
    return "/healthz" if endpoint.settings else "/readyz"


class _Half:
    """A request of which the service has the head and half the body when it is told to stop."""

    def __init__(self, endpoint: Endpoint) -> None:
        request = endpoint.post()
        body = request.body or b""
        self._rest = body[len(body) // 2 :]
        self._connection = wire.Connection(endpoint.address)
        self._connection.send(request.head() + body[: len(body) // 2])

    def finish(self, seen: _Seen) -> None:
        """Send the rest, and read the answer."""
        with self._connection as connection:
            connection.send(self._rest)
            try:
                seen.answered.append(connection.answer().status)
            except (wire.NoAnswer, wire.Late, wire.Malformed) as error:
                seen.lost.append(f"of one that was half sent: {error.message}")


@dataclass(frozen=True)
class _Caller:
    """One who asks again and again, until nobody listens."""

    endpoint: Endpoint
    request: wire.Request
    expected: int
    seen: _Seen
    keep: bool
    """Whether on one connection, rather than on a new one each time."""
    direct: bool
    """Whether nothing stands between it and the service."""

    def call(self, over: threading.Event, told: threading.Event) -> None:
        """Ask until nobody listens, or ``over``; ``told`` is set when the service is told to stop."""
        while not over.is_set():
            try:
                connection = wire.Connection(self.endpoint.address)
            except (wire.NoAnswer, wire.Late):
                return
            with connection:
                if not self._ask(connection, over, told):
                    return

    def _ask(self, connection: wire.Connection, over: threading.Event, told: threading.Event) -> bool:
        """Ask on a connection as long as it lasts; whether another may be tried."""
        while not over.is_set():
            after = told.is_set()
            if not connection.send(self.request.whole()):
                return True  # closed between two requests: nothing was sent
            try:
                answer = connection.answer(self.request.method)
            except wire.NoAnswer as error:
                self._unanswered(connection, error.message, after)
                return False
            except (wire.Late, wire.Malformed) as error:
                self.seen.lost.append(error.message)
                return False
            if answer.status == self.expected:
                self.seen.answered.append(answer.status)
            else:
                self.seen.lost.append(f"it was answered {answer}")
            if answer.closes or not self.keep:
                return True
        return False

    def _unanswered(self, connection: wire.Connection, message: str, after: bool) -> None:
        if not after:
            self.seen.lost.append(f"{message}, of one sent before the signal")
        elif self.direct and connection.was_read():
            self.seen.lost.append(f"{message}, although it had read the request")
        else:
            self.seen.crossed.append(message)
