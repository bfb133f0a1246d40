"""The load generator: a process of its own, so that the threads of a run of checks do not disturb it.

It reads a :class:`Spec` as JSON from its standard input and writes a :class:`Told` as JSON. It imports the
standard library alone, and is started by its path, so that it is there in some 30 ms.

A *closed* load has a number of connections, each of which asks again once it is answered. An *open* load asks
at the times of a Poisson process, whether or not it is answered, and counts the time to an answer from when
the request was meant to be sent: a service that stalls cannot slow down those who measure it (Schroeder,
Wierman and Harchol-Balter, "Open Versus Closed: A Cautionary Tale", NSDI 2006).
"""

from __future__ import annotations

import json
import random
import re
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

MOST = 500
"""Connections of an open load; what would need more waits, and its waiting counts."""
KEPT = 200_000
"""Latencies that are kept, the first ones."""
GAUGE = re.compile(rb"^process_resident_memory_bytes(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Spec:
    """A load."""

    port: int
    """On 127.0.0.1."""
    path: str
    bodies: tuple[str, ...]
    """JSON texts, asked in turn."""
    seconds: float
    connections: int = 1
    """Of a closed load."""
    rate: float | None = None
    """Requests per second of an open load; None is a closed one."""
    least: int = 1
    """A closed load goes on until so many requests were answered, or came to nothing."""
    longest: float = 60.0
    """Seconds after which even that is given up, and the longest that one answer may take."""
    every: float = 0.0
    """Seconds between two looks at the memory; 0 never looks."""
    growth: int = 0
    """The load ends once memory has grown by so many bytes; 0 never."""
    seed: int = 0
    """Of the times of an open load."""


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a load."""

    latencies: tuple[float, ...] = ()
    """Seconds to each 2xx answer, in the order of the answers."""
    seconds: float = 0.0
    """From the first request to the last answer."""
    answers: int = 0
    """With a status of 2xx."""
    faults: tuple[tuple[str, int], ...] = ()
    """What came instead of a 2xx answer, and how often: ``status 503``, ``no answer: ...``."""
    memory: tuple[tuple[int, float], ...] = ()
    """How many answers there had been, and bytes of resident memory then."""


class Ended(Exception):
    """The service closed a connection on which it owed an answer."""


class Connection:
    """One connection that is kept alive: sends a request, and says when the whole answer is there."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._out = b""
        self._in = b""
        self._closes = False
        self.intended = 0.0
        """When its request was meant to be sent."""

    @property
    def socket(self) -> socket.socket:
        """The open socket."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
        return self._socket

    def send(self, request: bytes, intended: float) -> None:
        """Begin a request."""
        self._out, self._in, self.intended = request, b"", intended
        self.flush()

    def flush(self) -> bool:
        """Send what the socket takes; whether all is sent."""
        if self._out:
            try:
                self._out = self._out[self.socket.send(self._out) :]
            except BlockingIOError:
                return False
        return not self._out

    def answer(self) -> tuple[int, bytes] | None:
        """The status and the rest of the answer, once it is whole.

        Raises:
            Ended: the connection is closed.
        """
        try:
            piece = self.socket.recv(1 << 18)
        except BlockingIOError:
            return None
        self._in += piece
        size = whole(self._in, ended=not piece)
        if size is None:
            if not piece:
                raise Ended("the service closed the connection")
            return None
        if not piece or _CLOSE.search(self._in, 0, self._in.find(b"\r\n\r\n") + 2):
            self.close()
        return int(self._in[9:12]), self._in

    def close(self) -> None:
        """Close it; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def whole(text: bytes, ended: bool = False) -> int | None:
    """The bytes of an HTTP/1.1 answer (RFC 9112, section 6.3), or None while it is not whole.

    Args:
        text: what came so far.
        ended: whether nothing more will come.
    """
    head = text.find(b"\r\n\r\n")
    if head < 0:
        return None
    begin = head + 4
    if found := _LENGTH.search(text, 0, head):
        size = begin + int(found[1])
        return size if len(text) >= size else None
    if _CHUNKED.search(text, 0, head):
        return _chunks(text, begin)
    if text[9:12] in (b"204", b"304"):
        return begin
    return len(text) if ended else None


def _chunks(text: bytes, at: int) -> int | None:
    """The end of a chunked body (RFC 9112, section 7.1), or None while it is not whole."""
    while (line := text.find(b"\r\n", at)) >= 0:
        size = int(text[at:line].partition(b";")[0], 16)
        if size == 0:
            end = text.find(b"\r\n\r\n", line)
            return end + 4 if end >= 0 else None
        at = line + 2 + size + 2
    return None


def request(spec: Spec, body: str) -> bytes:
    """A prediction's request, as it is sent."""
    content = body.encode()
    head = f"POST {spec.path} HTTP/1.1\r\nhost: 127.0.0.1:{spec.port}\r\ncontent-type: application/json\r\n"
    return f"{head}accept: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """The times of a Poisson process, in seconds from its beginning: at least one, and none at the end."""
    source = random.Random(seed)  # noqa: S311 - times, not secrets
    at = 0.0
    while True:
        yield at
        at += source.expovariate(rate)
        if at >= seconds:
            return


class Memory:
    """Looks at the gauge of resident memory, on a connection beside those of the load."""

    def __init__(self, spec: Spec) -> None:
        self._connection = Connection(spec.port)
        self._request = f"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1:{spec.port}\r\n\r\n".encode()
        self._every = spec.every
        self._growth = spec.growth
        self._next = 0.0
        self.seen: list[tuple[int, float]] = []

    def look(self, now: float, answers: int) -> bool:
        """Look if it is time; whether it has grown so far that the load is to end."""
        if not self._every or now < self._next:
            return False
        self._next = now + self._every
        self._connection.send(self._request, now)
        self._connection.socket.setblocking(True)
        self._connection.socket.settimeout(10.0)
        while (answer := self._connection.answer()) is None:
            pass
        if (found := GAUGE.search(answer[1])) is None:
            self._every = 0.0
            return False
        self.seen.append((answers, float(found[1])))
        return bool(self._growth) and self.seen[-1][1] - self.seen[0][1] > self._growth

    def close(self) -> None:
        """Look no more."""
        self._connection.close()


class Load:
    """One load under way.

    Args:
        spec: what it is to be.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._requests = cycle([request(spec, body) for body in spec.bodies])
        # Only select(2) waits for less than a millisecond; epoll(7) takes any number of connections.
        self._selector: selectors.BaseSelector = (
            selectors.DefaultSelector() if spec.rate is None else selectors.SelectSelector()
        )
        self._faults: dict[str, int] = {}
        self._latencies: list[float] = []
        self._answers = 0
        self._busy: set[Connection] = set()
        self._all: list[Connection] = []
        self._memory = Memory(spec)
        self._begin = self._last = time.perf_counter()

    def run(self) -> Told:
        """Load the service until the time is over and all is answered."""
        self._memory.look(time.perf_counter(), 0)
        self._begin = self._last = time.perf_counter()
        if self._spec.rate is None:
            self._closed()
        else:
            self._open(self._spec.rate)
        for _ in self._busy:
            self._fault(f"no answer within {self._spec.longest:g} s")
        self._selector.close()
        self._memory.close()
        for connection in self._all:
            connection.close()
        return Told(
            tuple(round(latency, 7) for latency in self._latencies),
            self._last - self._begin,
            self._answers,
            tuple(sorted(self._faults.items())),
            tuple(self._memory.seen),
        )

    def _connections(self, count: int) -> list[Connection]:
        self._all = [Connection(self._spec.port) for _ in range(count)]
        return list(self._all)

    def _closed(self) -> None:
        free = self._connections(self._spec.connections)
        latest = self._begin + self._spec.longest
        going = True
        while going or self._busy:
            while going and free:
                connection = free.pop()
                if not self._send(connection, time.perf_counter()):
                    free.append(connection)
                    break
            free += self._wait(0.1 if free and not self._busy else 1.0)
            now = time.perf_counter()
            if now > latest:
                return
            # What came to nothing counts too, or a service that only refuses would be asked until `longest`.
            over = self._answers + sum(self._faults.values())
            enough = now - self._begin >= self._spec.seconds and over >= self._spec.least
            going = going and not self._memory.look(now, self._answers) and not enough

    def _open(self, rate: float) -> None:
        free = self._connections(MOST)
        latest = self._begin + self._spec.seconds + self._spec.longest
        times = (self._begin + at for at in arrivals(rate, self._spec.seconds, self._spec.seed))
        coming = next(times, None)
        late: deque[float] = deque()
        while coming is not None or late or self._busy:
            now = time.perf_counter()
            while coming is not None and coming <= now:
                late.append(coming)
                coming = next(times, None)
            while late and free:
                connection = free.pop()
                if not self._send(connection, late.popleft()):
                    free.insert(0, connection)
            if now > latest:
                return
            pause = 1.0 if coming is None else max(0.0, coming - time.perf_counter())
            free += self._wait(pause)

    def _send(self, connection: Connection, intended: float) -> bool:
        try:
            connection.send(next(self._requests), intended)
        except OSError as error:
            self._fault(f"no answer: {error.strerror or error}")
            connection.close()
            return False
        self._busy.add(connection)
        events = selectors.EVENT_READ if connection.flush() else selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(connection.socket, events, connection)
        return True

    def _wait(self, timeout: float) -> list[Connection]:
        """The connections that have become free."""
        if not self._busy:
            time.sleep(timeout)
            return []
        return [key.data for key, events in self._selector.select(timeout) if self._over(key, events)]

    def _over(self, key: selectors.SelectorKey, events: int) -> bool:
        connection: Connection = key.data
        try:
            if events & selectors.EVENT_WRITE and connection.flush():
                self._selector.modify(key.fileobj, selectors.EVENT_READ, connection)
            if not events & selectors.EVENT_READ or (answer := connection.answer()) is None:
                return False
        except (OSError, Ended, ValueError) as error:
            self._fault(f"no answer: {getattr(error, 'strerror', None) or error}")
            self._selector.unregister(key.fileobj)
            connection.close()
        else:
            self._count(connection, answer[0])
            self._selector.unregister(key.fileobj)
        self._busy.discard(connection)
        return True

    def _count(self, connection: Connection, status: int) -> None:
        self._last = time.perf_counter()
        if not 200 <= status <= 299:
            self._fault(f"status {status}")
            return
        self._answers += 1
        if len(self._latencies) < KEPT:
            self._latencies.append(self._last - connection.intended)

    def _fault(self, what: str) -> None:
        self._faults[what] = self._faults.get(what, 0) + 1


def main() -> None:
    """Read a load, run it, write what came of it."""
    import gc

    known: dict[str, Any] = json.load(sys.stdin)
    load = Load(Spec(**known | {"bodies": tuple(known["bodies"])}))
    gc.disable()
    json.dump(asdict(load.run()), sys.stdout)


if __name__ == "__main__":
    main()
