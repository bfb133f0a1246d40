"""Answers in the access log: for the comparison of two versions, and nothing while nobody asks for it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import FakeExchange, FakeScope, posting, serving

from serinus.contract import Contract
from serinus.serving.answers import Answer
from serinus.serving.app import Limits, Opened, Router
from serinus.serving.kept import LIMIT, Kept
from serinus.serving.logs import AccessLog
from serinus.serving.metrics import Metrics
from serinus.serving.rsgi import Exchange, Headers, Scope
from serinus.serving.service import Service

JSON = [("content-type", "application/json")]
RECORD = ("serinus-record", "1")


async def echo(scope: Scope, body: bytes) -> Answer:
    kind = scope.headers.get("accept", "application/json")
    return Answer(200, body, (("content-type", kind),))


def heard(
    *requests: tuple[FakeScope, FakeExchange], answers: bool, service: Service | None = None
) -> list[Any]:
    """What the access log hears of some requests."""
    noted: list[Any] = []
    made = Router(
        "/predict",
        Limits(1 << 20, 5.0, 4),
        "v1",
        Metrics(),
        access=lambda *line: noted.append(line[2:4] + line[5:]),
        answers=answers,
    )
    made.open(Opened(service or Service(echo, Contract({}, {})), None, b"{}"))
    for scope, exchange in requests:
        asyncio.run(made(scope, exchange))
    return noted


def test_answers_are_heard_where_they_are_asked_for() -> None:
    requests = [
        posting(b'{"positive":true}', RECORD),
        posting(b"<p>", RECORD, ("accept", "text/html")),
        posting(b'"' + b"x" * LIMIT + b'"', RECORD),
        (FakeScope("GET", "/openapi.json"), FakeExchange()),
        (FakeScope("GET", "/healthz"), FakeExchange()),
    ]
    assert heard(*requests, answers=True) == [
        ("/predict", 200, b'{"positive":true}'),
        ("/predict", 200, None),
        ("/predict", 200, LIMIT + 2),
        ("/openapi.json", 200),
    ]
    assert [exchange.status for _, exchange in requests] == [200] * 5
    [(_, status, problem)] = heard(posting(b"{}", RECORD, path="/else"), answers=True)
    assert (status, json.loads(problem)["status"]) == (404, 404)


def test_nothing_is_kept_while_nobody_asks_for_it() -> None:
    seen: list[Exchange] = []

    async def stream(scope: Scope, exchange: Exchange, extra: Headers) -> int:
        seen.append(exchange)
        exchange.response_bytes(200, JSON, b"{}")
        return 200

    service = Service(echo, None, stream=stream)
    for more, answers in (((RECORD,), False), ((), True)):
        scope, exchange = posting(b"{}", *more)
        assert heard((scope, exchange), answers=answers, service=service) == [("/predict", 200)]
        assert seen.pop() is exchange


def test_an_answer_in_pieces_is_put_together() -> None:
    async def stream(scope: Scope, exchange: Exchange, extra: Headers) -> int:
        pieces = exchange.response_stream(200, JSON)
        async for piece in exchange:
            await pieces.send_bytes(piece)
        return 200

    service = Service(echo, None, stream=stream)
    exchange = FakeExchange(b'{"a":', b"1}")
    assert heard((FakeScope(fields=[RECORD]), exchange), answers=True, service=service) == [
        ("/predict", 200, b'{"a":1}')
    ]
    assert (exchange.body, exchange.streamed) == (b'{"a":1}', True)


@given(st.lists(st.binary(max_size=LIMIT // 2), max_size=6))
def test_what_is_kept_is_whole_or_a_length(pieces: list[bytes]) -> None:
    exchange = FakeExchange()
    kept = Kept(exchange)

    async def answer() -> None:
        stream = kept.response_stream(200, JSON)
        for piece in pieces:
            await stream.send_bytes(piece)

    asyncio.run(answer())
    body = b"".join(pieces)
    assert exchange.body == body
    assert kept.answer == (body if len(body) <= LIMIT else len(body))


@pytest.mark.parametrize(
    ("answer", "members"),
    [
        (None, {}),
        (b'{"positive": true}', {"answer": {"positive": True}}),
        (b"[1,\n 2]", {"answer": [1, 2]}),
        (b"null", {"answer": None}),
        (20_000, {"answer_bytes": 20_000}),
        (b"{no json", {"answer_bytes": 8}),
        (b"", {"answer_bytes": 0}),
    ],
)
def test_an_answer_is_a_member_of_its_line(answer: bytes | int | None, members: dict[str, Any]) -> None:
    written: list[bytes] = []
    access = AccessLog(written.append, lambda seconds, flush: None, lambda: 0.25)
    access("r-1", "POST", "/predict", 200, 0.1, answer)
    access.flush()
    [line] = written
    assert b"\n" not in line
    document = json.loads(line)
    assert {k: v for k, v in document.items() if k.startswith("answer")} == members
    assert document["request_id"] == "r-1"


FUNCTION = """
def predict(texts: list[str]) -> dict[str, list[int]]:
    return {"lengths": [len(text) for text in texts]}
"""
APP = """
import json

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    yield b'{"a":'
    yield b"1}"
"""


@pytest.mark.parametrize(
    ("code", "entrypoint", "answer"),
    [(FUNCTION, "service:predict", {"lengths": [3]}), (APP, "service:app", {"a": 1})],
)
def test_the_real_server_notes_answers(tmp_path: Path, code: str, entrypoint: str, answer: Any) -> None:
    (tmp_path / "service.py").write_text(code)
    with serving(tmp_path, environ={"SERINUS_ACCESS_LOG": "answers"}, entrypoint=entrypoint) as served:
        answered = served.post(["abc"], x_request_id="the-one", serinus_record="1")
        assert (answered.status, answered.document) == (200, answer)
        served.get("/openapi.json")
        [line] = [line for line in served.logged("request") if line["route"] == "/predict"]
    assert (line["request_id"], line["answer"]) == ("the-one", answer)


def test_a_log_that_is_cut_off_goes_on_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    with serving(tmp_path, entrypoint="service:predict") as served:
        log = tmp_path / "server.log"
        served.post(["abc"])
        assert served.logged("request")
        os.truncate(log, 0)
        served.post(["abc"], x_request_id="after")
        deadline = time.monotonic() + 10
        while not (lines := served.log()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert [line["request_id"] for line in lines] == ["after"]
        assert b"\0" not in log.read_bytes()
