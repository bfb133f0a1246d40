"""Webhooks: told to real receivers, tried again, and never in anybody's way."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.environment.control import everyone
from serinus.environment.webhooks import KINDS, Hook, Webhooks, for_slack, hook, message
from serinus.errors import ProjectError
from serinus.rollout.journal import Recorded
from serinus.rollout.state import Entry

QUICK = (0.01, 0.02)
SECRET = "T000/B000/XXXXXXXX"


class Receiver:
    """Takes what is posted; answers what it is told to, at first."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.answers: list[int] = []
        self.pause = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(receiver.pause)
                status = receiver.answers.pop(0) if receiver.answers else 200
                receiver.headers.append(self.headers)
                receiver.bodies.append((self.path, json.loads(body)))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *told: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, path: str = f"/services/{SECRET}") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def entry(kind: str = "step", number: int = 1, text: str = "5 % of the traffic") -> Recorded:
    return Recorded(number, 1e9, Entry(kind, text, {"weight": 0.05}, 3, "sha256:" + "b" * 64))


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_entry_is_told_with_environment_and_name(receiver: Receiver) -> None:
    hooks = Webhooks([receiver.url()], "production", name_of=lambda digest: f"mood:{digest[7]}")
    hooks(entry())
    hooks.close()
    path, document = receiver.bodies[0]
    assert path == f"/services/{SECRET}"
    assert document == {
        "number": 1,
        "at": 1e9,
        "rollout": 3,
        "version": "sha256:" + "b" * 64,
        "kind": "step",
        "message": "5 % of the traffic",
        "numbers": {"weight": 0.05},
        "environment": "production",
        "name": "mood:b",
    }
    assert receiver.headers[0]["Content-Type"] == "application/json"


def test_slack_is_told_a_text(receiver: Receiver) -> None:
    hooks = Webhooks([f"slack:{receiver.url()}"], "production", name_of=lambda digest: "mood:b")
    hooks(entry("abort", text="more <errors> & so on"))
    hooks.close()
    assert receiver.bodies[0][1] == {
        "text": "production: abort mood:b: more &lt;errors&gt; &amp; so on",
    }


def test_only_what_a_person_wants_to_know_is_told(receiver: Receiver) -> None:
    hooks = Webhooks([receiver.url()], "e")
    for number, kind in enumerate(("start", "ready", "pass", "pause", "resume", "promote")):
        hooks(entry(kind, number))
    hooks.close()
    assert [body["kind"] for _, body in receiver.bodies] == ["start", "promote"]
    assert {
        "start",
        "step",
        "hold",
        "rescue",
        "abort",
        "promote",
        "switch",
        "supersede",
        "undo",
        "gate",
    } == KINDS


def test_it_is_tried_three_times(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answers = [500, 503]
    hooks = Webhooks([receiver.url()], "e", pauses=QUICK)
    hooks(entry())
    until(lambda: len(receiver.bodies) == 3)
    receiver.answers = [500, 429, 502, 200]
    hooks(entry(number=2))
    hooks.close()
    assert [body["number"] for _, body in receiver.bodies] == [1, 1, 1, 2, 2, 2]
    assert caplog.text.count("was not told of an entry: status 502") == 1


@pytest.mark.parametrize("status", [400, 404, 410, 302])
def test_a_refusal_is_not_tried_again_and_nothing_is_followed(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    receiver.answers = [status]
    hooks = Webhooks([receiver.url()], "e", pauses=QUICK)
    hooks(entry())
    hooks.close()
    assert len(receiver.bodies) == 1
    assert f"status {status}" in caplog.text


def test_the_log_never_holds_what_is_secret(caplog: pytest.LogCaptureFixture, receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = free.getsockname()[1]
    receiver.answers = [400]
    urls = [
        f"http://user:XXXXXXXX@127.0.0.1:{gone}/{SECRET}?token={SECRET}",
        f"https://127.0.0.1:{receiver.port}/{SECRET}",
        receiver.url(),
    ]
    with caplog.at_level(logging.DEBUG):
        hooks = Webhooks(urls, "e", pauses=QUICK)
        hooks(entry())
        hooks.close()
    assert caplog.text.count("was not told of an entry") == 3
    assert "ConnectionRefusedError" in caplog.text
    assert "XXXXXXXX" not in caplog.text
    assert "XXXXXXXX" not in repr(hook(urls[0]))


def test_a_user_in_the_url_becomes_credentials(receiver: Receiver) -> None:
    hooks = Webhooks([f"http://me:p%40ss@127.0.0.1:{receiver.port}/x"], "e")
    hooks(entry())
    hooks.close()
    assert receiver.headers[0]["Authorization"] == "Basic bWU6cEBzcw=="
    assert "@" not in receiver.headers[0]["Host"]


def test_a_receiver_that_hangs_keeps_nobody_waiting(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = threading.Event()

    def post(target: Hook, body: bytes) -> int:
        if "slow" in target.url:
            blocked.wait(30)
        else:
            receiver.bodies.append(json.loads(body))
        return 200

    hooks = Webhooks(["http://slow", "http://quick"], "e", post=post)
    begin = time.monotonic()
    for number in range(300):
        hooks(entry(number=number))
        until(lambda known=number: len(receiver.bodies) > known)
    hooks.close(timeout=0.2)
    assert time.monotonic() - begin < 5
    blocked.set()
    assert "256 wait for it already" in caplog.text


def test_closing_tells_what_waits(receiver: Receiver) -> None:
    receiver.pause = 0.02
    hooks = Webhooks([receiver.url()], "e")
    for number in range(5):
        hooks(entry(number=number))
    hooks.close()
    assert [body["number"] for _, body in receiver.bodies] == [0, 1, 2, 3, 4]


def test_a_url_may_stand_in_a_variable(receiver: Receiver) -> None:
    hooks = Webhooks(["env:HOOK", "slack:env:HOOK"], "e", environ={"HOOK": f" {receiver.url()}\n"})
    hooks(entry())
    hooks.close()
    assert sorted(sorted(body)[0] for _, body in receiver.bodies) == ["at", "text"]


@pytest.mark.parametrize("environ", [{}, {"HOOK": ""}, {"HOOK": " "}])
def test_a_variable_that_is_not_set_is_an_error_at_once(environ: dict[str, str]) -> None:
    with pytest.raises(ProjectError, match="the variable HOOK is not set"):
        Webhooks(["env:HOOK"], "e", environ=environ)


@pytest.mark.parametrize(
    "url", ["a-secret", "ftp://x/y", "http://", "http:///x", "http://a:b:c", "http://x/ y", "http://x/é"]
)
def test_what_is_no_url_is_an_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(ProjectError, match="is no URL") as caught:
        Webhooks(["env:HOOK"], "e", environ={"HOOK": url})
    assert url not in str(caught.value)


def test_what_one_listener_does_harms_no_other() -> None:
    heard: list[Recorded] = []

    def broken(recorded: Recorded) -> None:
        raise ValueError("x")

    everyone(broken, heard.append)(entry())
    assert heard == [entry()]


@given(st.text(), st.text(), st.text())
def test_slack_s_characters_are_escaped(environment: str, name: str, text: str) -> None:
    told = for_slack(message(entry(text=text), environment, name))["text"]
    assert "<" not in told
    assert ">" not in told
