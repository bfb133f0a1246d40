"""Waiting for a replica to be ready, without a replica and without time."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Sequence

import pytest

from serinus.errors import ServiceError
from serinus.runtimes import wait

Said = tuple[int, bytes] | OSError


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


class Process:
    """A replica that ends after so many looks at it."""

    def __init__(
        self, looks: int = 1_000_000, code: int = 3, log: Sequence[str] = ("one\n", "two\n")
    ) -> None:
        self.looks, self.code, self.log = looks, code, log
        self.looked = 0

    def wait(self, timeout: float | None = None) -> int | None:
        self.looked += 1
        return self.code if self.looked > self.looks else None

    def stop(self, grace: float = 30.0) -> int:
        return self.code

    def logs(self, since: int = 0) -> bytes:
        return "".join(self.log[: self.looked]).encode()[since:]


def answering(*said: Said) -> wait.Fetch:
    left = iter(said)
    last = said[-1]

    def fetch(url: str) -> tuple[int, bytes]:
        assert url == "http://127.0.0.1:5000/readyz"
        answer = next(left, last)
        if isinstance(answer, OSError):
            raise answer
        return answer

    return fetch


def ready(fetch: wait.Fetch, process: Process | None = None, timeout: float = 10.0) -> tuple[float, Time]:
    time = Time()
    took = wait.ready(
        "http://127.0.0.1:5000/",
        process or Process(),
        timeout=timeout,
        clock=time.clock,
        sleep=time.sleep,
        fetch=fetch,
    )
    return took, time


REFUSED = ConnectionRefusedError(111, "Connection refused")
LOADING = (503, b'{"status": 503, "detail": "example 2: /positive is not a boolean"}')


def test_it_waits_until_200_and_says_how_long_it_took() -> None:
    took, time = ready(answering(REFUSED, LOADING, (200, b"")))
    assert took == pytest.approx(sum(time.pauses))
    assert len(time.pauses) == 2


def test_an_error_names_the_last_lines_of_a_replica_that_ended() -> None:
    with pytest.raises(ServiceError, match="exit code 3") as caught:
        ready(answering(REFUSED), Process(2, 3, [f"line {n}\n" for n in range(50)]))
    assert "line 2" in str(caught.value)


def test_only_the_end_of_a_long_log_is_shown() -> None:
    with pytest.raises(ServiceError) as caught:
        ready(answering(REFUSED), Process(0, 1, ["".join(f"line {n}\n" for n in range(50))]))
    assert "line 49" in str(caught.value)
    assert "line 29\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (REFUSED, "Connection refused"),
        (LOADING, "example 2: /positive is not a boolean"),
        ((503, b"<html>busy"), "<html>busy"),
        ((404, b'["no"]'), "answers 404"),
        ((503, b"\xff"), "answers 503"),
    ],
)
def test_when_time_is_over_the_error_says_why(said: Said, reason: str) -> None:
    with pytest.raises(ServiceError, match=r"not ready after 5 s") as caught:
        ready(answering(said), timeout=5.0)
    assert reason in str(caught.value)


UNFIT = (503, b'{"status": 503, "detail": "not ready: example 2", "examples": "failed"}')


def test_a_replica_that_will_not_become_ready_is_not_waited_for() -> None:
    with pytest.raises(wait.Unfit, match="not ready: example 2"):
        ready(answering(REFUSED, LOADING, UNFIT))


@pytest.mark.parametrize("said", [LOADING, (503, b'["examples"]'), (500, UNFIT[1])])
def test_another_failure_is_no_reason_to_stop_waiting(said: Said) -> None:
    took, _ = ready(answering(said, (200, b"")))
    assert took > 0


def test_it_asks_neither_too_often_nor_too_rarely() -> None:
    with pytest.raises(ServiceError):
        _, _ = ready(answering(REFUSED), timeout=20.0)
    _, time = ready(answering(*[REFUSED] * 30, (200, b"")))
    assert time.pauses == sorted(time.pauses)
    assert max(time.pauses) <= 0.25


def test_following_passes_every_piece_on_once() -> None:
    written: list[bytes] = []
    code = wait.follow(Process(3, 5, ["a\n", "b\n", "", "c\n"]), written.append, every=0)
    assert code == 5
    assert written == [b"a\n", b"b\n", b"c\n"]


def test_following_ends_when_it_is_told_to() -> None:
    written: list[bytes] = []
    process = Process(1_000_000, 0, ["a\n", "b\n"])
    assert wait.follow(process, written.append, stop=lambda: process.looked == 2, every=0) == 0
    assert b"".join(written) == b"a\nb\n"


class Silent(http.server.BaseHTTPRequestHandler):
    """Answers 503 with a reason, and does not log."""

    def do_GET(self) -> None:
        body = LOADING[1] if self.path == "/readyz" else b""
        self.send_response(503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_fetch_speaks_http(server: str) -> None:
    assert wait.fetch(server + "/readyz") == LOADING
