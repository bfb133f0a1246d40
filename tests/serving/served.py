"""Help for the tests of serving: RSGI without Granian, and the real server as a subprocess."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Fields:
    """Header fields as RSGI has them."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs

    def get(self, key: str, default: Any = None) -> Any:
        return next((value for name, value in self.pairs if name == key), default)

    def items(self) -> list[tuple[str, str]]:
        return self.pairs


@dataclass
class FakeScope:
    """The head of a request."""

    method: str = "POST"
    path: str = "/predict"
    fields: list[tuple[str, str]] = field(default_factory=list)
    query_string: str = ""
    proto: str = "http"
    http_version: str = "1.1"
    server: str = "127.0.0.1:5000"
    client: str = "127.0.0.1:40000"
    scheme: str = "http"

    @property
    def headers(self) -> Fields:
        return Fields(self.fields)


class FakeExchange:
    """A request's body in pieces, and what was answered. ``gone``: the caller breaks off after the pieces."""

    def __init__(self, *pieces: bytes, gone: bool = False) -> None:
        self.pieces = list(pieces)
        self.read = 0
        self.gone = gone
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.streamed = False

    async def _whole(self) -> bytes:
        if self.gone:
            raise RuntimeError("transport is closed")
        self.read += len(self.pieces)
        return b"".join(self.pieces)

    def __call__(self) -> Any:
        return self._whole()

    async def _iterate(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.read += 1
            yield piece
        yield b""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def client_disconnect(self) -> None:
        return

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if not self.status:
            self.status, self.headers, self.body = status, headers, body

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> FakeExchange:
        self.status, self.headers, self.streamed = status, headers, True
        return self

    async def send_bytes(self, data: bytes) -> None:
        self.body += data

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def posting(body: bytes, *more: tuple[str, str], path: str = "/predict") -> tuple[FakeScope, FakeExchange]:
    """A POST of a JSON body whose length is announced."""
    fields = [("content-type", "application/json"), ("content-length", str(len(body))), *more]
    return FakeScope(path=path, fields=fields), FakeExchange(body)


@dataclass
class Answered:
    """An answer of the real server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Served:
    """The real server, a subprocess."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answered:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response: HTTPResponse = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answered(response.status, fields, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answered:
        return self.ask("GET", path)

    def post(self, value: Any, path: str = "/predict", **headers: str) -> Answered:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        fields = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.ask("POST", path, body, fields)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def reachable(self) -> bool:
        """Whether a new connection is accepted."""
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def raw(self, data: bytes, *, until: bytes | None = None) -> bytes:
        """What comes back, up to the end of the connection or until these bytes have come."""
        with self.connect() as connection:
            connection.sendall(data)
            return received(connection, until)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The lines with this message; waits a moment for the first."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            found = [line for line in self.log() if line["message"].startswith(message)]
            if found:
                return found
            time.sleep(0.02)
        return []

    def until_ready(self, status: int = 200) -> Answered:
        """Wait until /readyz answers with this status; its answer."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the server ended with {self.process.returncode}: {self._log.read_text()}"
                )
            try:
                answer = self.get("/readyz")
            except OSError:
                time.sleep(0.02)
                continue
            if answer.status == status and "being" not in answer.body.decode():
                return answer
            time.sleep(0.02)
        raise AssertionError(f"not ready in time: {self._log.read_text()}")

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


def received(connection: socket.socket, until: bytes | None = None) -> bytes:
    data = b""
    while until is None or until not in data:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        data += piece
    return data


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(
    folder: Path, *, wait: bool = True, environ: dict[str, str] | None = None, **settings: Any
) -> Iterator[Served]:
    """The real server for a folder with a service, until the block ends."""
    port = free_port()
    file = folder / "service.json"
    file.write_text(json.dumps({"name": "test", **settings}))
    log = folder / "server.log"
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE),
        "PYTHONWARNINGS": "error::ResourceWarning",
    }
    command = [sys.executable, "-m", "serinus.serving", "--settings", str(file)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log.unlink(missing_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder, stderr=output, stdout=output, env=variables | (environ or {})
        )
    served = Served(process, port, log)
    try:
        if wait:
            served.until_ready()
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
