"""Checks of the wire against a server that minds nothing: each of them can fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serinus.checks import Check, settled
from serinus.checks.subjects import Served
from serinus.checks.transport.clients import cut_off, slow
from serinus.checks.transport.endpoint import Endpoint
from serinus.checks.transport.refusals import content_type, fields, malformed, method, oversize
from serinus.contract import Contract
from serinus.serving import Settings

CONTRACT = Contract({"type": "array", "items": {"type": "string"}}, {})


class Careless(BaseHTTPRequestHandler):
    """Answers 200 to everything, without a look at it."""

    protocol_version = "HTTP/1.1"
    broken = False

    def do_POST(self) -> None:
        """Read what is announced, and be content."""
        length = int(self.headers.get("content-length") or 0)
        short = len(self.rfile.read(min(length, 4096))) < min(length, 4096)
        type(self).broken |= short
        body = b'{"positive": true}'
        self.send_response(500 if self.broken else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """A failure."""
        self.send_error(500)

    do_PUT = do_DELETE = do_PATCH = do_GET

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Hasty(Careless):
    """Closes connections on which nothing comes for a moment."""

    timeout = 0.01


@contextmanager
def serving(handler: type[Careless]) -> Iterator[Endpoint]:
    """A server, as if it were Serinus' own in front of a contract."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """Clients that go away are none of the test's concern."""

    with Server(("127.0.0.1", 0), type("Fresh", (handler,), {})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = Settings("glad", max_body=100)
        yield Endpoint(
            ("127.0.0.1", server.server_address[1]), "/predict", settings, CONTRACT, ["good"], True
        )
        server.shutdown()


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (method, "GET /predict was answered 500"),
        (content_type, "a request of the type text/plain at /predict was answered 200"),
        (malformed, "a body that is cut off at /predict was answered 200"),
        (fields, "was answered 200, '{\"positive\": true}'; expected the status 422"),
    ],
    ids=lambda value: value.id if isinstance(value, Check) else "",
)
def test_carelessness_is_found(check: Check, message: str) -> None:
    with serving(Careless) as endpoint:
        found = settled(check(endpoint)).findings
    assert any(message in finding.message for finding in found), found


def test_without_an_app_get_must_be_refused() -> None:
    class Friendly(Careless):
        def do_GET(self) -> None:
            self.do_POST()

        do_PUT = do_DELETE = do_PATCH = do_GET

    with serving(Friendly) as endpoint:
        found = settled(method(endpoint)).findings
    assert [f.message.partition(" was answered 200")[0] for f in found] == [
        f"{name} /predict" for name in ("GET", "PUT", "DELETE", "PATCH")
    ]


def test_a_server_that_takes_chunks_of_any_size_is_found() -> None:
    class Greedy(Careless):
        def do_POST(self) -> None:
            self.headers.replace_header("content-length", "0") if "content-length" in self.headers else None
            super().do_POST()

    with serving(Greedy) as endpoint:
        found = settled(oversize(endpoint)).findings
    assert len(found) == 2
    assert all("too large at /predict was answered 200" in finding.message for finding in found)


def test_a_server_without_patience_is_found() -> None:
    with serving(Hasty) as endpoint:
        (found,) = settled(slow(endpoint)).findings
    assert "a request that came bit by bit: " in found.message


def test_a_server_broken_by_clients_that_went_is_found() -> None:
    with serving(Careless) as endpoint:

        @contextmanager
        def start(name: str) -> Iterator[Served]:
            yield Served(f"http://127.0.0.1:{endpoint.address[1]}", "/predict")

        found = settled(cut_off(endpoint, start)).findings
    assert "clients went away, a request was answered 500" in found[0].message
