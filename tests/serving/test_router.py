"""The router without a server: RSGI scopes and exchanges in, answers out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import FakeExchange, FakeScope, posting

from serinus.contract import Contract, Violation
from serinus.contract.violations import BrokenContract
from serinus.contract.violations import compile as compile_schema
from serinus.serving.answers import Answer, Due, Prediction, Problem
from serinus.serving.app import Limits, Opened, Router, header_pointer
from serinus.serving.logs import Access
from serinus.serving.metrics import Metrics
from serinus.serving.rsgi import Scope
from serinus.serving.service import Service

BOOLEAN = compile_schema({"type": "object", "properties": {"positive": {"type": "boolean"}}})
CONTRACT = Contract({}, BOOLEAN.schema)


def router(
    answer: Callable[[Scope, bytes], Awaitable[Answer]],
    *,
    opened: bool = True,
    access: Access | None = None,
    **limits: Any,
) -> tuple[Router, Metrics]:
    metrics = Metrics()
    sizes = Limits(**{"max_body": 100, "deadline": 5.0, "queue": 4} | limits)
    made = Router("/predict", sizes, "v1", metrics, access=access)
    if opened:
        made.open(Opened(Service(answer, CONTRACT), BOOLEAN, b"{}"))
    return made, metrics


async def echo(scope: Scope, body: bytes) -> Answer:
    return Answer(200, body)


def ask(made: Router, scope: FakeScope, exchange: FakeExchange) -> FakeExchange:
    asyncio.run(made(scope, exchange))
    return exchange


def test_every_answer_has_a_version_and_an_id() -> None:
    made, _ = router(echo)
    for scope, exchange in (posting(b"{}"), posting(b"["), posting(b"{}", path="/nowhere")):
        answer = ask(made, scope, exchange)
        assert answer.header("serinus-version") == "v1"
        assert answer.header("x-request-id")


def test_it_is_alive_and_not_ready_before_it_is_opened() -> None:
    made, _ = router(echo, opened=False)
    assert ask(made, FakeScope("GET", "/healthz"), FakeExchange()).status == 200
    for path in ("/readyz", "/predict", "/openapi.json", "/v2/models/m", "/else"):
        scope, exchange = posting(b"{}", path=path)
        scope.method = "POST" if path == "/predict" else "GET"
        answer = ask(made, scope, exchange)
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert answer.document["detail"] == "the model is being loaded"


def test_while_draining_it_answers_and_asks_callers_to_close() -> None:
    made, _ = router(echo)
    made.drain()
    answer = ask(made, *posting(b'{"positive":true}'))
    assert (answer.status, answer.header("connection")) == (200, "close")
    assert ask(made, FakeScope("GET", "/readyz"), FakeExchange()).status == 503


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_only_what_keeps_the_contract_is_sent(value: Any) -> None:
    made, _ = router(echo, max_body=1 << 20)
    body = json.dumps(value).encode()
    answer = ask(made, *posting(body))
    if BOOLEAN.ok(value):
        assert (answer.status, answer.body) == (200, body)
    else:
        assert answer.status == 500
        assert answer.header("serinus-violation")
        assert answer.body != body


def test_a_whole_document_at_fault_has_a_pointer_that_is_not_empty() -> None:
    made, _ = router(echo)
    assert ask(made, *posting(b"not json")).header("serinus-violation") == "#"


@given(st.text())
def test_a_pointer_can_stand_in_a_header(pointer: str) -> None:
    value = header_pointer(pointer)
    assert value
    assert value.isascii()
    assert value.isprintable()


def test_errors_of_the_app_itself_are_not_held_to_the_contract() -> None:
    async def teapot(scope: Scope, body: bytes) -> Answer:
        return Answer(418, b"no JSON")

    made, _ = router(teapot)
    assert ask(made, *posting(b"{}")).body == b"no JSON"


def test_an_error_page_with_a_traceback_stays_inside() -> None:
    async def debug(scope: Scope, body: bytes) -> Answer:
        return Answer(500, b"<h1>Traceback <em>(most recent call last)</em></h1> /secret")

    made, _ = router(debug)
    answer = ask(made, *posting(b"{}"))
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert answer.document["id"]


def test_violations_are_counted_by_side_and_place() -> None:
    async def broken(scope: Scope, body: bytes) -> Answer:
        if body == b"1":
            raise Problem(422, "wrong", [Violation("/items/17/text", "x"), Violation("/items/3/text", "x")])
        raise BrokenContract([Violation("/score", "x")])

    made, metrics = router(broken)
    assert [ask(made, *posting(b"1")).status, ask(made, *posting(b"2")).status] == [422, 500]
    text = metrics.text()
    assert 'serinus_violations_total{side="request",pointer="/items/*/text"} 2' in text
    assert 'serinus_violations_total{side="response",pointer="/score"} 1' in text


def test_predictions_of_answers_that_were_sent_are_counted() -> None:
    made, metrics = router(echo)
    for body in (b'{"positive":true}', b'{"positive":false}', b'{"positive":true}', b'{"positive":"false"}'):
        ask(made, *posting(body))
    text = metrics.text()
    assert 'serinus_predictions_total{pointer="/positive",value="true"} 2' in text
    assert 'serinus_predictions_total{pointer="/positive",value="false"} 1' in text


def test_predictions_made_together_are_held_to_the_contract_and_sent_in_a_row() -> None:
    due: list[tuple[Due, bytes]] = []
    sent: list[list[int]] = []
    bodies = (b'{"positive":true}', b'{"positive":"false"}', b"[", b'{"positive":false}')
    asked = [posting(body) for body in bodies]

    def settle() -> None:
        for one, body in due:
            one.settle(Prediction(body))
            sent.append([exchange.status for _, exchange in asked])

    def predict(body: bytes) -> Due:
        loop = asyncio.get_running_loop()
        if not due:
            loop.call_soon(settle)
        one = Due(loop.create_future())
        due.append((one, body))
        return one

    async def main() -> None:
        await asyncio.gather(*(made(scope, exchange) for scope, exchange in asked))

    made, metrics = router(echo)
    made.open(Opened(Service(echo, CONTRACT, predict=predict), BOOLEAN, b"{}"))
    asyncio.run(main())
    assert sent == [[200, 0, 0, 0], [200, 0, 0, 0], [200, 0, 0, 0], [200, 0, 0, 200]], (
        "before anybody went on"
    )
    assert [exchange.status for _, exchange in asked] == [200, 500, 500, 200]
    assert [asked[0][1].body, asked[3][1].body] == [bodies[0], bodies[3]]
    assert asked[1][1].header("serinus-violation") == "/positive"
    text = metrics.text()
    assert 'serinus_requests_total{route="/predict",status="200"} 2' in text
    assert 'serinus_requests_total{route="/predict",status="500"} 2' in text
    assert 'serinus_predictions_total{pointer="/positive",value="true"} 1' in text


def test_the_deadline_of_one_leaves_the_others_theirs() -> None:
    due: list[Due] = []

    def predict(body: bytes) -> Due:
        due.append(Due(asyncio.get_running_loop().create_future()))
        return due[-1]

    async def main() -> None:
        waiting = asyncio.create_task(made(*asked[0]))
        await asyncio.sleep(0.4)
        others = asyncio.create_task(made(*asked[1]))
        await waiting
        while len(due) < 2:
            await asyncio.sleep(0)
        for one in due:
            one.settle(Prediction(b'{"positive":true}'))
        await others

    asked = [posting(b"{}"), posting(b"{}")]
    made, _ = router(echo, deadline=0.5)
    made.open(Opened(Service(echo, CONTRACT, predict=predict), BOOLEAN, b"{}"))
    asyncio.run(main())
    assert [exchange.status for _, exchange in asked] == [504, 200]


def test_the_queue_takes_so_many_and_no_more() -> None:
    async def scenario() -> list[int]:
        release = asyncio.Event()

        async def wait(scope: Scope, body: bytes) -> Answer:
            await release.wait()
            return Answer(200, b"{}")

        made, _ = router(wait, queue=3)
        pairs = [posting(b"{}") for _ in range(5)]
        tasks = [asyncio.create_task(made(*pair)) for pair in pairs]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*tasks)
        late = posting(b"{}")
        await made(*late)
        assert made.in_flight == 0
        return [exchange.status for _, exchange in (*pairs, late)]

    assert asyncio.run(scenario()) == [200, 200, 200, 503, 503, 200]


def test_a_refusal_reads_nothing_and_is_counted_and_noted_like_every_answer() -> None:
    async def scenario() -> FakeExchange:
        release = asyncio.Event()

        async def wait(scope: Scope, body: bytes) -> Answer:
            await release.wait()
            return Answer(200, b"{}")

        made, metrics = router(wait, queue=1, access=lambda *line: noted.append(line))
        first, refused = posting(b"{}"), posting(b"{}", ("x-request-id", "mine"))
        task = asyncio.create_task(made(*first))
        await asyncio.sleep(0)
        assert "serinus_in_flight 1" in metrics.text()
        await made(*refused)
        release.set()
        await task
        assert 'serinus_requests_total{route="/predict",status="503"} 1' in metrics.text()
        return refused[1]

    noted: list[tuple[Any, ...]] = []
    refused = asyncio.run(scenario())
    assert (refused.status, refused.read, refused.header("retry-after")) == (503, 0, "1")
    assert (refused.header("x-request-id"), refused.header("serinus-version")) == ("mine", "v1")
    assert refused.header("content-type") == "application/problem+json"
    assert refused.document["status"] == 503
    assert noted[0][:4] == ("mine", "POST", "/predict", 503)


def test_the_deadline_cancels_the_work_and_frees_its_place() -> None:
    cancelled = []

    async def forever(scope: Scope, body: bytes) -> Answer:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return Answer(200, b"{}")

    made, _ = router(forever, deadline=0.02, queue=1)
    assert [ask(made, *posting(b"{}")).status for _ in range(2)] == [504, 504]
    assert cancelled == [True, True]


def test_a_body_over_the_limit_is_never_read() -> None:
    made, _ = router(echo)
    scope, exchange = posting(b"x" * 101)
    answer = ask(made, scope, exchange)
    assert (answer.status, answer.read, answer.header("connection")) == (413, 0, "close")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12))
def test_a_chunked_body_is_read_up_to_the_limit(pieces: list[bytes]) -> None:
    made, _ = router(echo)
    fields = [("content-type", "application/json"), ("transfer-encoding", "chunked")]
    exchange = FakeExchange(*pieces)
    answer = ask(made, FakeScope(fields=fields), exchange)
    size = sum(map(len, pieces))
    assert (answer.status == 413) == (size > 100)
    if answer.status == 413:
        assert sum(map(len, pieces[: answer.read - 1])) <= 100


def test_a_caller_that_breaks_off_is_no_error_of_the_service() -> None:
    made, _ = router(echo)
    scope, _ = posting(b"{}")
    answer = ask(made, scope, FakeExchange(b"{", gone=True))
    assert (answer.status, answer.header("connection")) == (400, "close")


def test_what_is_mounted_answers_below_its_prefix() -> None:
    asked = []

    async def mounted(method: str, path: str, headers: Any, body: bytes) -> Answer:
        asked.append((method, path, body))
        return Answer(500, b"{}", (("content-type", "application/json"), ("serinus-violation", "/y")))

    made, metrics = router(echo, opened=False)
    made.open(Opened(Service(echo, CONTRACT, mounts=(("/v2", mounted),)), BOOLEAN, b"{}"))
    ask(made, *posting(b"[]", path="/v2/models/m/infer"))
    ask(made, FakeScope("HEAD", "/v2"), FakeExchange())
    assert ask(made, *posting(b"[]", path="/v20")).status == 404
    assert asked == [("POST", "/v2/models/m/infer", b"[]"), ("GET", "/v2", b"")]
    assert 'serinus_violations_total{side="response",pointer="/y"} 2' in metrics.text()


def test_the_access_log_hears_of_predictions_and_not_of_probes() -> None:
    heard: list[tuple[str, str, int]] = []
    made = Router(
        "/predict",
        Limits(100, 5.0, 4),
        "v1",
        Metrics(),
        access=lambda identity, method, route, status, seconds: heard.append((method, route, status)),
    )
    made.open(Opened(Service(echo, CONTRACT), BOOLEAN, b"{}"))
    for scope, exchange in (posting(b"{}"), posting(b"{}", path="/else")):
        ask(made, scope, exchange)
    for path in ("/healthz", "/readyz", "/metrics"):
        ask(made, FakeScope("GET", path), FakeExchange())
    ask(made, *posting(b"", path="/healthz"))
    assert heard == [("POST", "/predict", 200), ("POST", "/else", 404), ("POST", "/healthz", 405)]


@pytest.mark.parametrize("error", [ValueError("secret"), RuntimeError("secret"), KeyError("secret")])
def test_whatever_is_raised_becomes_an_answer_that_does_not_show_it(error: Exception) -> None:
    async def failing(scope: Scope, body: bytes) -> Answer:
        raise error

    made, _ = router(failing)
    answer = ask(made, *posting(b"{}"))
    assert (answer.status, b"secret" in answer.body) == (500, False)
    assert made.in_flight == 0
