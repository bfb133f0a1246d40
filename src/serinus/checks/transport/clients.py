"""Clients that are slow, and clients that go away."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack

from serinus.checks import Finding, Result, check
from serinus.checks.starting import Start
from serinus.checks.transport import wire
from serinus.checks.transport.endpoint import Endpoint, ask, idle, patiently

_SLOW = 8
"""Slow clients at once."""
_PIECES = 20
_PAUSE = 0.05
"""Seconds between two pieces of a slow client."""
_SETTLED = 20.0
"""Seconds within which requests of clients that have gone must be over."""
_BUFFER = (
    "Read requests where waiting costs no thread: behind an asynchronous server, or a proxy that buffers."
)
_ERRORS = (wire.NoAnswer, wire.Late, wire.Malformed)


@check(
    "transport.slow",
    why="A handful of telephones on bad networks held every thread of the service.",
    seconds=1.5,
)
def slow(endpoint: Endpoint) -> Result:
    """A client that sends its request bit by bit is answered in the end, and others meanwhile."""
    many = min(_SLOW, max(1, endpoint.settings.queue // 4)) if endpoint.settings else _SLOW
    found = patiently(lambda: tuple(_bit_by_bit(endpoint, many)))
    return Result(f"{many} slow clients were answered, and another beside them", found)


def _bit_by_bit(endpoint: Endpoint, many: int) -> Iterator[Finding]:
    """What goes wrong with slow clients, and with another beside them.

    Raises:
        Busy: the service had too much else to do.
    """
    request = endpoint.well()
    expected = ask(endpoint, request).status
    text = request.whole()
    step = max(1, -(-(len(text) - 1) // _PIECES))
    with ExitStack() as stack:
        clients = [stack.enter_context(wire.Connection(endpoint.address)) for _ in range(many)]
        for begin in range(0, len(text) - 1, step):
            for client in clients:
                client.send(text[begin : min(begin + step, len(text) - 1)])
            time.sleep(_PAUSE)
        try:
            other = ask(endpoint, request)
            if other.status != expected:
                yield Finding(f"beside {many} slow clients a request was answered {other}", _BUFFER)
        except _ERRORS as error:
            yield Finding(f"a request beside {many} slow clients: {error.message}", _BUFFER)
        for client in clients:
            client.send(text[-1:])
        for client in clients:
            try:
                answer = client.answer(request.method)
            except _ERRORS as error:
                yield Finding(f"a request that came bit by bit: {error.message}", _BUFFER)
                return
            if idle(answer).status != expected:
                yield Finding(f"a request that came bit by bit was answered {answer}", _BUFFER)
                return


@check(
    "transport.cut-off",
    why="Each client that went away in the middle left a request behind, until none was let in any more.",
    seconds=2.5,
)
def cut_off(endpoint: Endpoint, start: Start) -> Result:
    """Clients that go away in the middle leave nothing behind: `serinus_in_flight` falls back."""
    with start("cut-off") as served:
        own = endpoint.at(served)
        before = ask(own, own.well()).status
        gone = 0
        for reset in (False, True):
            for part in _parts(own.post()):
                with wire.Connection(own.address) as connection:
                    connection.send(part)
                    if reset:
                        connection.reset()
                gone += 1
        found = []
        try:
            after = ask(own, own.well())
            if after.status != before:
                found.append(
                    Finding(f"after {gone} clients went away, a request was answered {after}", _MEND)
                )
        except _ERRORS as error:
            found.append(Finding(f"a request after {gone} clients went away: {error.message}", _MEND))
        if left := _left(own):
            found.append(
                Finding(f"{left:g} requests of {gone} clients that went away are still under way", _MEND)
            )
    return Result(f"{gone} clients went away, and nothing was left behind", tuple(found))


_MEND = "End the work of a request when its client has gone; the log of the service may say more."


def _parts(request: wire.Request) -> tuple[bytes, ...]:
    """What a client has sent when it goes: a part of the head, of the body, all of it, and that twice."""
    text, head = request.whole(), request.head()
    return (text[:10], head[:-2], head, text[:-1], text, text + text)


def _left(endpoint: Endpoint) -> float:
    """Requests that stay under way although nobody waits for them; 0 where nothing counts them."""
    until = time.monotonic() + _SETTLED
    while True:
        try:
            answer = ask(endpoint, wire.Request("GET", "/metrics"))
        except _ERRORS:
            return 0.0
        found = re.search(rb"^serinus_in_flight(?:\{[^}]*\})? (\S+)$", answer.body, re.MULTILINE)
        left = float(found[1]) if found else 0.0
        if left <= 0 or time.monotonic() > until:
            return left
        time.sleep(0.05)
