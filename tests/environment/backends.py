"""Replicas that misbehave as they are told, and callers: what a router is tested against."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
HOST = "127.0.0.1"
GOOD = b'{"positive": true}'


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a replica got it; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Talk:
    """One connection of a replica."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    served: int = 0

    def reset(self) -> None:
        """End the connection with a reset."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Write, and wait until it is on its way."""
        self.writer.write(data)
        await self.writer.drain()


Behaviour = Callable[["Backend", Talk, Request], Awaitable[bool]]
"""Answers one request; whether the connection goes on."""


def answer(status: int = 200, body: bytes = GOOD, **headers: str) -> bytes:
    """A whole answer, as it goes over the wire; ``_`` in a header's name stands for ``-``."""
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def good(backend: Backend, talk: Talk, request: Request) -> bool:
    """200."""
    await talk.send(answer(serinus_version=backend.name))
    return True


async def failing(backend: Backend, talk: Talk, request: Request) -> bool:
    """Always 500."""
    await talk.send(answer(500, b"{}", serinus_version=backend.name))
    return True


async def busy(backend: Backend, talk: Talk, request: Request) -> bool:
    """Always 503."""
    await talk.send(answer(503, b"{}", serinus_version=backend.name, retry_after="1"))
    return True


async def refusing(backend: Backend, talk: Talk, request: Request) -> bool:
    """Always 422."""
    await talk.send(answer(422, b"{}", serinus_version=backend.name))
    return True


async def violating(backend: Backend, talk: Talk, request: Request) -> bool:
    """200, with the header that says that the contract is broken."""
    await talk.send(
        answer(200, b'{"positive": "x"}', serinus_version=backend.name, serinus_violation="/positive")
    )
    return True


async def hanging(backend: Backend, talk: Talk, request: Request) -> bool:
    """No answer, ever."""
    await talk.reader.read()
    return False


async def resetting(backend: Backend, talk: Talk, request: Request) -> bool:
    """The connection is reset instead of an answer."""
    talk.reset()
    return False


async def closing(backend: Backend, talk: Talk, request: Request) -> bool:
    """The connection is closed instead of an answer."""
    return False


async def half_a_head(backend: Backend, talk: Talk, request: Request) -> bool:
    """The connection is reset in the middle of the headers."""
    await talk.send(answer()[:40])
    talk.reset()
    return False


async def half_a_body(backend: Backend, talk: Talk, request: Request) -> bool:
    """The connection is reset in the middle of a body whose length was said."""
    await talk.send(answer(body=b" " * 100_000)[:60_000])
    await asyncio.sleep(0.01)
    talk.reset()
    return False


async def half_a_stream(backend: Backend, talk: Talk, request: Request) -> bool:
    """A chunked body ends without its last chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    await talk.send(head + b"8\r\n[1, 2, 3\r\n")
    await asyncio.sleep(0.01)
    return False


async def stalling(backend: Backend, talk: Talk, request: Request) -> bool:
    """The headers and half of the body come, and then nothing."""
    await talk.send(answer(body=b" " * 1000)[:600])
    await talk.reader.read()
    return False


async def garbage(backend: Backend, talk: Talk, request: Request) -> bool:
    """What comes is no HTTP."""
    await talk.send(b"\x00\x01 nonsense\r\n\r\n")
    return False


def slow(seconds: float) -> Behaviour:
    """200, after a while."""

    async def behave(backend: Backend, talk: Talk, request: Request) -> bool:
        await asyncio.sleep(seconds)
        return await good(backend, talk, request)

    return behave


class Loop:
    """An event loop in a thread, for all replicas and callers of a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 120.0) -> T:
        """Run something to its end from outside."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def start(self, work: Coroutine[Any, Any, T]) -> Callable[[], T]:
        """Start something; what is returned waits for its result."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return lambda: future.result(120)

    def close(self) -> None:
        """End everything that still runs on it."""
        self.run(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Backend:
    """A replica; what it does can be changed while it serves."""

    loop: Loop
    name: str
    behave: Behaviour = good
    port: int = 0
    seen: list[Request] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _talks: list[Talk] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers."""
        return HOST, self.port

    def start(self) -> Backend:
        """Listen; on the same port as before, if it did."""
        self.loop.run(self._start())
        return self

    def kill(self) -> None:
        """End like a process that is killed: the port is closed and every connection reset."""
        self.loop.run(self._kill())

    async def _start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, HOST, self.port, backlog=512, limit=2**20, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _kill(self) -> None:
        if self._server is not None:
            # asyncio leaves a connection open whose server is closed between accepting and greeting it.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0.005)
            self._server.close()
            self._server = None
        for talk in self._talks:
            talk.reset()
        self._talks.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer)
        self._talks.append(talk)
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.seen.append(request)
                if not await self.behave(self, talk, request):
                    break
                talk.served += 1
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            if talk in self._talks:
                self._talks.remove(talk)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
    body = await _body(reader, headers)
    return Request(method, path, headers, body)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got; status 0 when the connection broke."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def version(self) -> str:
        """Who answered."""
        return self.headers.get("serinus-version", "")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to be made."""

    path: str = "/predict"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'["a"]'
    method: str = "POST"

    def wire(self) -> bytes:
        """As it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"content-length: {len(self.body)}"]
        lines += [f"{n}: {v}" for n, v in ({"host": "test"} | dict(self.headers)).items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Caller:
    """Asks over connections that are kept open."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.loop = loop
        self.port = port

    def ask(self, ask: Ask = Ask()) -> Answer:
        """Ask once."""
        return self.many([ask], 1)[0]

    def many(self, asks: Sequence[Ask], at_once: int = 8) -> list[Answer]:
        """Ask all of them, so many at a time; the answers in the order of the questions."""
        return self.start(asks, at_once)()

    def start(self, asks: Sequence[Ask], at_once: int = 8) -> Callable[[], list[Answer]]:
        """Begin to ask all of them; what is returned waits for the answers."""
        return self.loop.start(self._many(list(asks), at_once))

    @contextlib.contextmanager
    def asking(self, at_once: int = 8, ask: Ask = Ask()) -> Iterator[list[Answer]]:
        """Go on asking while the block runs; the list grows."""
        answers: list[Answer] = []
        stop = threading.Event()
        ends = [self.loop.start(self._until(stop, answers, ask)) for _ in range(at_once)]
        try:
            yield answers
        finally:
            stop.set()
            for end in ends:
                end()

    async def _until(self, stop: threading.Event, answers: list[Answer], ask: Ask) -> None:
        talk: Talk | None = None
        while not stop.is_set():
            found, talk = await self._once(talk, ask)
            answers.append(found)
        if talk is not None:
            talk.writer.close()

    async def _many(self, asks: list[Ask], at_once: int) -> list[Answer]:
        answers: dict[int, Answer] = {}
        left = iter(list(enumerate(asks)))

        async def work() -> None:
            talk: Talk | None = None
            for number, ask in left:
                answers[number], talk = await self._once(talk, ask)
            if talk is not None:
                talk.writer.close()

        await asyncio.gather(*(work() for _ in range(at_once)))
        return [answers[number] for number in range(len(asks))]

    async def _once(self, talk: Talk | None, ask: Ask) -> tuple[Answer, Talk | None]:
        """Ask over a connection, or a new one; None for the next when it was closed."""
        try:
            if talk is None:
                talk = Talk(*await asyncio.open_connection(HOST, self.port, limit=2**24))
            await talk.send(ask.wire())
            found = await _answer(talk.reader)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            if talk is not None:
                talk.writer.close()
            return Answer(0), None
        if found.headers.get("connection") == "close":
            talk.writer.close()
            return found, None
        return found, talk


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
    return Answer(int(first.split(" ")[1]), headers, await _body(reader, headers))
