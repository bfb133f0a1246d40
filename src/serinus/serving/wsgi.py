"""A WSGI app behind this server, unchanged (PEP 3333). Each request runs on one thread of a pool, whole."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from types import TracebackType
from typing import Any

from serinus.serving import rsgi
from serinus.serving.admission import Pool
from serinus.serving.answers import Answer
from serinus.serving.asgi import HOP_BY_HOP, address
from serinus.serving.leaks import CAP, sealed
from serinus.serving.rsgi import Exchange, Headers, Scope

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
WsgiCallable = Callable[[dict[str, Any], Callable[..., Callable[[bytes], object]]], Iterable[bytes]]
_BASE: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


class WsgiApp:
    """A WSGI app.

    Args:
        app: the app itself.
        pool: the threads that run it.
        max_body: bytes of a request body; a larger one is answered 413.
    """

    def __init__(self, app: WsgiCallable, pool: Pool, max_body: int) -> None:
        self._app = app
        self._pool = pool
        self._max_body = max_body

    async def start(self) -> None:
        """Nothing: WSGI knows no startup."""

    async def stop(self) -> None:
        """Nothing: WSGI knows no shutdown."""

    async def call(self, scope: Scope, body: bytes) -> Answer:
        """The app's whole answer to one request with this body."""
        answer: Answer = await self._pool.run(self._whole, environ(scope, body))
        return answer

    async def stream(self, scope: Scope, exchange: Exchange, extra: Headers) -> int:
        """Let the app answer; long answers go out piece by piece."""
        body = await rsgi.body(scope.headers, exchange, self._max_body)
        sink = _Sink(exchange, extra)
        try:
            answer: Answer | None = await self._pool.run(self._pieces, environ(scope, body), sink)
        finally:
            sink.close()
        if answer is None:
            return sink.status
        rsgi.send(exchange, sealed(answer), extra)
        return answer.status

    def _whole(self, environment: dict[str, Any]) -> Answer:
        run = _Run(self._app, environment)
        try:
            body = b"".join(run.pieces)
            return run.answer(b"".join((*run.written, body)))
        finally:
            run.close()

    def _pieces(self, environment: dict[str, Any], sink: _Sink) -> Answer | None:
        """The answer when it is short or an error; a long one goes into the sink, and there is none."""
        run = _Run(self._app, environment)
        try:
            pieces = iter(run.pieces)
            first = next((piece for piece in pieces if piece), b"")
            if run.short() or run.status >= 500:
                return run.answer(
                    b"".join((*run.written, first, *pieces)), environment["REQUEST_METHOD"] == "HEAD"
                )
            sink.begin(run.status, run.headers)
            for piece in (*run.written, first):
                sink.write(piece)
            for piece in pieces:
                sink.write(piece)
            return None
        finally:
            run.close()


class _Run:
    """One call of a WSGI app: what it passed to ``start_response`` and ``write``, and what it returned."""

    def __init__(self, app: WsgiCallable, environment: dict[str, Any]) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []
        self.pieces = app(environment, self._start)

    def _start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        if self.status and exc_info is None:
            raise RuntimeError("the app called start_response a second time without exc_info")
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(k.lower(), v) for k, v in headers if k.lower() not in HOP_BY_HOP]
        return self.written.append

    def short(self) -> bool:
        """Whether the body is at hand, or announced to be small."""
        if isinstance(self.pieces, list | tuple) or not self.status:
            return True
        length = next((value for name, value in self.headers if name == "content-length"), "")
        return length.isdigit() and int(length) <= CAP

    def answer(self, body: bytes, head_only: bool = False) -> Answer:
        if not self.status:
            raise RuntimeError("the app returned without calling start_response")
        keep = head_only or self.status in (204, 304)
        return Answer(self.status, body, tuple(p for p in self.headers if keep or p[0] != "content-length"))

    def close(self) -> None:
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()


class _Sink:
    """Sends pieces from a thread, each once the one before is on its way; raises when the caller has gone."""

    def __init__(self, exchange: Exchange, extra: Headers) -> None:
        self._exchange = exchange
        self._extra = extra
        self._loop = asyncio.get_running_loop()
        self._stream: rsgi.Stream | None = None
        self.status = 0

    def begin(self, status: int, headers: Headers) -> None:
        self.status = status
        self._stream = self._exchange.response_stream(status, [*headers, *self._extra])

    def write(self, piece: bytes) -> None:
        asyncio.run_coroutine_threadsafe(self._send(piece), self._loop).result()

    async def _send(self, piece: bytes) -> None:
        if self._stream is not None and piece:
            await self._stream.send_bytes(piece)

    def close(self) -> None:
        """The answer ends when nobody holds its stream any more."""
        self._stream = None


def environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """The environment of one request, as PEP 3333 and RFC 3875 name it.

    Field names with ``_`` are dropped, for the app could not tell them from those with ``-``; so is
    ``Proxy``, which would come out as ``HTTP_PROXY``.
    """
    host, port = address(scope.server) or ("localhost", 0)
    environment = {
        **_BASE,
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.0" if scope.http_version == "1" else f"HTTP/{scope.http_version}",
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
    }
    if client := address(scope.client):
        environment["REMOTE_ADDR"], environment["REMOTE_PORT"] = client[0], str(client[1])
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        if "_" in name or key == "PROXY":
            continue
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        separator = "; " if key == "HTTP_COOKIE" else ","
        environment[key] = f"{environment[key]}{separator}{value}" if key in environment else value
    if body:
        environment["CONTENT_LENGTH"] = str(len(body))
    return environment
