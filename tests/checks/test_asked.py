"""Asking a service: what it answers, what goes wrong, and connections that are kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from serinus.checks.asked import ask
from serinus.checks.subjects import Refused, Service
from serinus.errors import ServiceError


class Doubling(BaseHTTPRequestHandler):
    """Doubles numbers; -1 is refused, -2 is answered by what is no JSON, -3 by nothing at all."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1  # type: ignore[attr-defined]

    def do_POST(self) -> None:
        self.server.requests += 1  # type: ignore[attr-defined]
        assert self.path == "/base/predict"
        assert self.headers["content-type"] == "application/json"
        number = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.close_connection = number in (-3, 99)
        if number == -3:
            return
        problem = {"title": "Bad", "detail": "no such number"}
        answers = {-1: (422, json.dumps(problem)), -2: (200, "soon")}
        status, text = answers.get(number, (200, json.dumps(number * 2)))
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        if status == 422:
            self.send_header("serinus-violation", "/0")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


class Once(Doubling):
    """Answers one request of a connection, and closes it, without a word, when the next one is there."""

    answered = False

    def do_POST(self) -> None:
        if self.answered:
            self.close_connection = True
            return
        super().do_POST()
        self.answered = True


@contextmanager
def served(handler: type[Doubling] = Doubling) -> Iterator[tuple[Service, Any]]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.connections = server.requests = 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/base"
    try:
        with httpx.Client(base_url=url) as client, closing(Service(client, "/predict")) as service:
            yield service, server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_answers_come_in_the_order_of_the_requests_over_few_connections() -> None:
    with served() as (service, server):
        found = ask(service, range(200))
        assert [answer.response for answer in found] == [2 * n for n in range(200)]
        # One was closed by the service after 99, without a word in the answer before: it is not used again.
        assert server.connections <= 9


def test_a_connection_that_is_closed_while_a_request_is_on_its_way_is_no_fault() -> None:
    with served(Once) as (service, server):
        found = ask(service, range(5), at_once=1)
        assert [(answer.response, answer.fault) for answer in found] == [(2 * n, "") for n in range(5)]
        assert server.connections == server.requests == 5


def test_a_service_that_does_not_answer_is_asked_twice_at_most() -> None:
    with served() as (service, server):
        first, then = ask(service, [4, -3], at_once=1)
        assert first.response == 8
        assert then.fault
        assert (server.connections, server.requests) == (2, 3)
        assert ask(service, [-3], at_once=1)[0].fault  # on a connection of its own: once
        assert (server.connections, server.requests) == (3, 4)


def test_faults_are_answers_too() -> None:
    with served() as (service, _):
        refused, mumbled, nothing, right = ask(service, [-1, -2, -3, 4], at_once=1)
        assert refused.fault == "the service answered 422: no such number"
        assert mumbled.fault.startswith("the service answered 'soon', which is not JSON")
        assert "RemoteDisconnected" in nothing.fault or "closed connection" in nothing.fault
        assert (right.response, right.fault) == (8, "")


def test_a_refusal_says_what_the_service_said() -> None:
    with served() as (service, _):
        with pytest.raises(Refused) as caught:
            service(-1)
        assert (caught.value.status, caught.value.violation) == (422, "/0")
        assert caught.value.problem["title"] == "Bad"
        with pytest.raises(ServiceError, match="which is not JSON"):
            service(-2)
