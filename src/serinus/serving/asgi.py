"""An ASGI app behind this server, unchanged (ASGI 3.0, HTTP and lifespan specification 2.3).

WebSockets are not served: the router answers 501. A response that an app breaks off in the middle cannot be
told from a whole one unless it announced its length, for RSGI has no way to abort.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from serinus.errors import ServiceError
from serinus.serving import rsgi
from serinus.serving.answers import Answer
from serinus.serving.leaks import CAP, sealed
from serinus.serving.logs import log
from serinus.serving.rsgi import Exchange, Headers, Scope

Message = MutableMapping[str, Any]
AsgiCallable = Callable[
    [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_VERSIONS = {"version": "3.0", "spec_version": "2.3"}
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields that belong to one connection (RFC 9110, section 7.6.1), and are the server's to send."""


class AsgiApp:
    """An ASGI app.

    Args:
        app: the app itself.
        max_body: bytes of a request body; a larger one is answered 413.
    """

    def __init__(self, app: AsgiCallable, max_body: int) -> None:
        self._app = app
        self._max_body = max_body
        self._lifespan = Lifespan(app)

    async def start(self) -> None:
        """Run the app's startup."""
        await self._lifespan.startup()

    async def stop(self) -> None:
        """Run the app's shutdown."""
        await self._lifespan.shutdown()

    async def call(self, scope: Scope, body: bytes) -> Answer:
        """The app's whole answer to one request with this body."""
        cycle = _Whole(body)
        await self._app(self._scope(scope), cycle.receive, cycle.send)
        return cycle.answer()

    async def stream(self, scope: Scope, exchange: Exchange, extra: Headers) -> int:
        """Let the app answer piece by piece."""
        length = scope.headers.get("content-length")
        if length is not None and int(length) > self._max_body:
            raise rsgi.too_large(self._max_body)
        cycle = _Streamed(scope, exchange, extra, self._max_body)
        try:
            await self._app(self._scope(scope), cycle.receive, cycle.send)
        except Exception:
            if cycle.overflow and not cycle.sent:
                raise rsgi.too_large(self._max_body) from None
            if not cycle.sent:
                raise
            log.exception("the app raised after it had begun to answer")
        finally:
            cycle.close()
        return cycle.finish()

    def _scope(self, scope: Scope) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": _VERSIONS,
            "http_version": "1.0" if scope.http_version == "1" else scope.http_version,
            "method": scope.method,
            "scheme": scope.scheme,
            "path": scope.path,
            "raw_path": quote(scope.path, safe="/:@!$&'()*+,;=~").encode(),
            "query_string": scope.query_string.encode("latin-1"),
            "root_path": "",
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in scope.headers.items()],
            "client": address(scope.client),
            "server": address(scope.server),
            "state": dict(self._lifespan.state),
        }


def address(text: str) -> tuple[str, int] | None:
    """``127.0.0.1:5000`` or ``[::1]:5000`` as host and port; None where there is neither."""
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None


class _Head:
    """Status and header fields that an app has begun an answer with."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    def begin(self, message: Message) -> None:
        if self.status:
            raise RuntimeError("the app sent http.response.start a second time")
        self.status = message["status"]
        pairs = (
            (bytes(k).decode("latin-1").lower(), bytes(v).decode("latin-1"))
            for k, v in message.get("headers", ())
        )
        self.headers = [(k, v) for k, v in pairs if k not in HOP_BY_HOP]

    def expect_begun(self, kind: str) -> None:
        if kind != "http.response.body":
            raise RuntimeError(f"the app sent {kind!r}; expected http.response.start or http.response.body")
        if not self.status:
            raise RuntimeError("the app sent http.response.body before http.response.start")


class _Whole(_Head):
    """One request with its body at hand, whose answer is gathered."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body: bytes | None = body
        self._pieces: list[bytes] = []
        self._done = asyncio.Event()

    async def receive(self) -> Message:
        if self._body is None:
            await self._done.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begin(message)
            return
        self.expect_begun(message["type"])
        self._pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            self._done.set()

    def answer(self) -> Answer:
        if not self._done.is_set():
            raise RuntimeError("the app returned before its answer was whole")
        headers = tuple(pair for pair in self.headers if pair[0] != "content-length")
        return Answer(self.status, b"".join(self._pieces), headers)


class _Streamed(_Head):
    """One request whose body and answer pass through as they come."""

    def __init__(self, scope: Scope, exchange: Exchange, extra: Headers, max_body: int) -> None:
        super().__init__()
        self._exchange = exchange
        self._extra = extra
        self._max_body = max_body
        self._head_only = scope.method == "HEAD"
        self._body = _pieces(scope, exchange)
        self._size = 0
        self._ended = False
        self._held: list[bytes] = []
        self._stream: rsgi.Stream | None = None
        self.overflow = False
        self.sent = False

    async def receive(self) -> Message:
        if self.overflow:
            return {"type": "http.disconnect"}
        if self._ended:
            await self._exchange.client_disconnect()
            return {"type": "http.disconnect"}
        piece = await anext(self._body, None)
        self._ended = piece is None
        self._size += len(piece or b"")
        self.overflow = self._size > self._max_body
        if self.overflow:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece or b"", "more_body": not self._ended}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begin(message)
            return
        self.expect_begun(message["type"])
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._stream is not None:
            await self._stream.send_bytes(body)
        elif self.sent or self.overflow:
            return
        elif not more or self.status >= 500:
            self._hold(body, more)
        else:
            self.sent = True
            self._stream = self._exchange.response_stream(self.status, [*self.headers, *self._extra])
            await self._stream.send_bytes(body)
        if not more:
            self._stream = None

    def _hold(self, body: bytes, more: bool) -> None:
        """Send an answer as a whole: its last piece is here, or it is an error, to be looked at first."""
        if sum(map(len, self._held)) < CAP:
            self._held.append(body)
        if not more:
            self.sent = True
            keep = self._head_only or self.status in (204, 304)
            headers = tuple(pair for pair in self.headers if keep or pair[0] != "content-length")
            rsgi.send(self._exchange, sealed(Answer(self.status, b"".join(self._held), headers)), self._extra)

    def close(self) -> None:
        """The answer ends when nobody holds its stream any more."""
        self._stream = None

    def finish(self) -> int:
        if self.overflow and not self.sent:
            raise rsgi.too_large(self._max_body)
        if not self.sent:
            raise RuntimeError("the app returned before its answer was whole")
        return self.status


async def _pieces(scope: Scope, exchange: Exchange) -> AsyncIterator[bytes]:
    headers = scope.headers
    if headers.get("content-length") is None and headers.get("transfer-encoding") is None:
        return
    async for piece in exchange:
        if piece:
            yield piece


class Lifespan:
    """The lifespan of an ASGI app: its startup and shutdown, in a task of their own.

    An app that raises before it says anything does not know lifespans, and is served without.
    """

    def __init__(self, app: AsgiCallable) -> None:
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Wait until the app has started.

        Raises:
            ServiceError: the app says that it failed to start.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        said = await self._ask("startup")
        if said["type"] == "lifespan.startup.failed":
            raise ServiceError(
                f"the app failed to start: {said.get('message') or 'it does not say why'}",
                "Mend the startup of its lifespan; the log may say more.",
            )

    async def shutdown(self) -> None:
        """Wait until the app has cleaned up."""
        if self._task is None or self._task.done():
            return
        said = await self._ask("shutdown")
        if said["type"] == "lifespan.shutdown.failed":
            log.error("the app failed to shut down: %s", said.get("message") or "it does not say why")

    async def _ask(self, event: str) -> Message:
        await self._events.put({"type": f"lifespan.{event}"})
        return await self._said.get()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _VERSIONS, "state": self.state}
        try:
            await self._app(scope, self._events.get, self._said.put)
        except Exception as error:  # noqa: BLE001  (the specification: go on without lifespan)
            log.info("the app has no lifespan: %r", error)
        finally:
            await self._said.put({"type": "lifespan.ended"})
