"""Stopping: a rollout ends a replica while callers are talking to it, and nobody is to notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from serinus.checks import Finding, Result, check
from serinus.checks.starting import Start
from serinus.checks.subjects import Served
from serinus.checks.transport import wire
from serinus.checks.transport.endpoint import Endpoint, ask

_CALLERS = 6
_LONGEST = 20.0
"""Seconds that stopping may take where the grace is longer: these requests are short."""
_LOAD = 0.3
"""Seconds of load before the stop."""
_ROUNDS = 3
_STOPPED = (0, 143)
"""Exit codes: by itself, or by a SIGTERM (128 + 15) that it does not catch."""
_TODO = "On SIGTERM finish what is in flight; do not end the process, or take the signal from the server."


@dataclass
class _Seen:
    """What the callers saw; each list is appended to by many threads."""

    answered: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Requests that the service had, and did not answer."""
    turned_away: list[str] = field(default_factory=list)
    """Requests sent after the signal on a connection that closed without a byte: clients send them again."""


@check(
    "transport.drain",
    why="With every new version some requests were cut off, those that the old one was just answering.",
    seconds=4.0,
)
def drain(endpoint: Endpoint, start: Start) -> Result:
    """A replica stopped under load answers all that it has accepted, and ends with 0 in `service.grace`."""
    for number in range(_ROUNDS):
        with start(f"drain-{number}") as served:
            seen, code, seconds = _round(endpoint.at(served), served)
        found = tuple(_judged(endpoint, seen, code, seconds))
        # What a client sends at the very moment of closing can be lost on a machine that has other things to
        # do: RFC 9112, section 9.3.1, has clients send it again. A server without a lead loses some always.
        if found or not seen.turned_away or endpoint.settings is None:
            return Result(f"{len(seen.answered)} answers, none lost, stopped in {seconds:.1f} s", found)
    return Result(
        findings=(
            Finding(
                f"while stopping {len(seen.turned_away)} requests were closed on without an answer, "
                f"each of {_ROUNDS} times: {seen.turned_away[0]}",
                "Say `Connection: close` for a moment before connections are closed.",
            ),
        )
    )


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


def _round(endpoint: Endpoint, served: Served) -> tuple[_Seen, int | None, float]:
    """One replica under load, and its end: what callers saw, the exit code, the seconds it took."""
    request = endpoint.well() if endpoint.known else wire.Request("GET", _steady(endpoint))
    expected = ask(endpoint, request).status
    seen, over, told = _Seen(), threading.Event(), threading.Event()
    callers = [
        threading.Thread(
            target=_call, args=(endpoint, request, expected, seen, over, told, number % 3 > 0), daemon=True
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


def _call(
    endpoint: Endpoint,
    request: wire.Request,
    expected: int,
    seen: _Seen,
    over: threading.Event,
    told: threading.Event,
    keep: bool,
) -> None:
    """Ask again and again, on one connection or on a new one each time, until nobody listens."""
    connection: wire.Connection | None = None
    while not over.is_set():
        if connection is None:
            try:
                connection = wire.Connection(endpoint.address)
            except (wire.NoAnswer, wire.Late):
                return
        after = told.is_set()
        try:
            answer = connection.ask(request)
        except wire.NoAnswer as error:
            (seen.turned_away if after else seen.lost).append(error.message)
            connection.close()
            return
        except (wire.Late, wire.Malformed) as error:
            seen.lost.append(error.message)
            connection.close()
            return
        if answer.status == expected:
            seen.answered.append(answer.status)
        else:
            seen.lost.append(f"it was answered {answer}")
        if answer.closes or not keep:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
