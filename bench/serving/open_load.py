"""An open load over HTTP/1.1: requests are sent by the clock, whether those before are answered or not.

Reads a plan (``load.Plan``) as JSON from standard input, writes the figures of its phases as JSON. Runs in a
virtual environment of its own that has uvloop; one process, one core: about 20,000 requests a second. Every
request has a moment at which it is due, and its time counts from there, also when it had to wait for a free
connection or for this program: nothing is left out because the service was slow. Who waits for a connection
too long gives up, as callers do. How far behind the clock requests were sent is part of the figures.

Callers have machines of their own. Where this one has no core for itself it goes before the service (in the
kernel's class ``SCHED_FIFO``, where that is allowed), else the service's callers would seem to wait for
milliseconds until this program gets a core to read the answer.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import uvloop

PAUSE = 0.5e-3
"""Seconds between two looks at the clock, at least: each costs processor time that the service may need."""
PATIENCE = 10.0
"""Seconds that the last answers may take."""
SLICE = 0.25
NO_ANSWER, BARE = 0, 1
"""In place of a status: the connection broke; 503 without Retry-After."""


@dataclass(slots=True)
class Asked:
    """One request: its phase, and when it was due, sent and answered."""

    phase: int
    due: float
    sent: float = 0.0
    done: float = 0.0
    status: int = NO_ANSWER


class Alarm:
    """Wakes up by the clock, to some microseconds: timers of event loops count in milliseconds.

    A timer of the kernel's own (``timerfd_create(2)``), which Python has from 3.13 on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._rings = asyncio.Event()
        loop.add_reader(self._timer, self._ring)

    def _ring(self) -> None:
        os.read(self._timer, 8)
        self._rings.set()

    async def at(self, moment: float) -> None:
        """Wait until :func:`time.perf_counter` reads so much."""
        self._rings.clear()
        seconds, part = divmod(max(1, round((moment - perf_counter()) * 1e9)), 1_000_000_000)
        every_and_first = (ctypes.c_long * 4)(0, 0, seconds, part)
        self._libc.timerfd_settime(self._timer, 0, every_and_first, None)
        await self._rings.wait()


class Caller(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: Any = None
        self._asked: Asked | None = None
        self._have = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._load.free.append(self)

    def ask(self, asked: Asked, request: bytes) -> None:
        self._asked = asked
        asked.sent = perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._have = have = self._have + data if self._have else data
        end = have.find(b"\r\n\r\n")
        if end < 0 or self._asked is None:
            return
        head = have[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(have) < end + 4 + length:
            return
        status = int(head[9:12])
        self._asked.status = BARE if status == 503 and b"\r\nretry-after:" not in head else status
        self._asked.done = perf_counter()
        self._asked, self._have = None, b""
        if b"\r\nconnection: close" in head:
            self._transport.close()
        else:
            self._load.freed(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._asked is not None:
            self._asked.done = perf_counter()
            self._asked = None
        self._load.lost(self)


class Load:
    """The plan, under way."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._bodies = [request(plan, body.encode()) for body in plan["bodies"]]
        self._next = 0
        self.free: list[Caller] = []
        self.waiting: deque[Asked] = deque()
        self.asked: list[Asked] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(self._connect() for _ in range(self._plan["connections"])))
        dues = [(phase, due) for phase, due in schedule(self._plan)]
        self.asked = [Asked(phase, due) for phase, due in dues]
        gc.disable()
        begin = perf_counter() + 0.05
        for asked in self.asked:
            asked.due += begin
        at, end = 0, len(self.asked)
        alarm = Alarm(loop)
        while at < end:
            now = perf_counter()
            while at < end and self.asked[at].due <= now:
                self._send(self.asked[at])
                at += 1
            if at < end:
                await alarm.at(max(self.asked[at].due, now + PAUSE))
        limit = loop.time() + PATIENCE
        while any(not one.done for one in self.asked[-10_000:]) and loop.time() < limit:
            await asyncio.sleep(0.02)

    def _send(self, asked: Asked) -> None:
        if self.free:
            self.free.pop().ask(asked, self._body())
        else:
            self.waiting.append(asked)

    def _body(self) -> bytes:
        self._next = (self._next + 1) % len(self._bodies)
        return self._bodies[self._next]

    def freed(self, caller: Caller) -> None:
        oldest = perf_counter() - self._plan["patience"]
        while self.waiting:
            asked = self.waiting.popleft()
            if asked.due > oldest:
                caller.ask(asked, self._body())
                return
            asked.done = perf_counter()  # given up
        self.free.append(caller)

    def lost(self, caller: Caller) -> None:
        """A connection ended: make another one in its place."""
        if caller in self.free:
            self.free.remove(caller)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(100):
            try:
                await loop.create_connection(lambda: Caller(self), "127.0.0.1", self._plan["port"])
            except OSError:
                await asyncio.sleep(0.02)
            else:
                return


def request(plan: dict[str, Any], body: bytes) -> bytes:
    """The bytes of a request."""
    head = (
        f"POST {plan['path']} HTTP/1.1\r\nhost: 127.0.0.1:{plan['port']}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def schedule(plan: dict[str, Any]) -> list[tuple[int, float]]:
    """The phase and the moment of each request, seconds from the start."""
    chance = random.Random(plan["seed"])
    found, begin = [], 0.0
    for number, phase in enumerate(plan["phases"]):
        due, end = begin, begin + phase["seconds"]
        while due < end:
            found.append((number, due))
            due += chance.expovariate(phase["rate"]) if plan["random"] else 1 / phase["rate"]
        begin = end
    return found


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of them lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def figures(plan: dict[str, Any], asked: list[Asked]) -> list[dict[str, Any]]:
    """The figures of each phase, as ``load.Open`` has them."""
    found = []
    for number, phase in enumerate(plan["phases"]):
        own = [one for one in asked if one.phase == number]
        good = [one.done - one.due for one in own if one.status == 200]
        refused = [one.done - one.sent for one in own if one.status in (503, BARE)]
        names = {NO_ANSWER: "none", BARE: "bare"}
        found.append(
            {
                "name": phase["name"],
                "asked": len(own),
                "answers": dict(Counter(names.get(one.status, str(one.status)) for one in own)),
                "begin": own[0].due if own else 0.0,
                "seconds": phase["seconds"],
                "p50": percentile(good, 0.5),
                "p99": percentile(good, 0.99),
                "refused_p99": percentile(refused, 0.99),
                "refused_max": max(refused, default=0.0),
                "late_p99": percentile([one.sent - one.due for one in own if one.sent], 0.99),
                "slices": slices(own),
            }
        )
    return found


def slices(own: list[Asked]) -> list[dict[str, float]]:
    """What became of the requests due in each quarter of a second."""
    if not own:
        return []
    begin, parts = own[0].due, {}
    for one in own:
        parts.setdefault(int((one.due - begin) / SLICE), []).append(one)
    found = []
    for number, part in sorted(parts.items()):
        good = [one.done - one.due for one in part if one.status == 200]
        found.append(
            {
                "at": number * SLICE,
                "asked": len(part),
                "good": len(good),
                "p99": percentile(good, 0.99),
            }
        )
    return found


def main() -> None:
    plan = json.load(sys.stdin)
    with suppress(OSError):  # not everybody may
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    load = Load(plan)
    uvloop.run(load.run())
    json.dump(figures(plan, load.asked), sys.stdout)


if __name__ == "__main__":
    main()
