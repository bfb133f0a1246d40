"""Foreign apps behind WSGI and ASGI: what they are given, what becomes of what they answer."""

from __future__ import annotations

import asyncio
import wsgiref.validate
from collections.abc import Awaitable, Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import FakeExchange, FakeScope, posting

from serinus.contract import Contract
from serinus.errors import ServiceError
from serinus.serving.admission import Pool
from serinus.serving.answers import Answer, Problem
from serinus.serving.asgi import AsgiApp, address
from serinus.serving.wrapper import guarded
from serinus.serving.wsgi import WsgiApp, environ

EXTRA = [("serinus-version", "v1")]
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"Content-Type", b"text/plain"), (b"x", b"1")],
}


def call_wsgi(app: Any, scope: FakeScope, body: bytes = b"") -> Answer:
    return asyncio.run(_on_loop(lambda: WsgiApp(app, Pool(1, 4), 1000).call(scope, body)))


def stream_wsgi(app: Any, scope: FakeScope, exchange: FakeExchange) -> int:
    return asyncio.run(_on_loop(lambda: WsgiApp(app, Pool(1, 4), 1000).stream(scope, exchange, EXTRA)))


async def _on_loop(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


# -------------------------------------------------------------------------------------------------- WSGI


def plain(environment: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [b"hello ", environment["wsgi.input"].read()]


def test_a_wsgi_app_answers_and_its_hop_by_hop_fields_do_not_pass() -> None:
    scope, _ = posting(b"world")
    answer = call_wsgi(plain, scope, b"world")
    assert answer == Answer(200, b"hello world", (("content-type", "text/plain"),))


@given(
    st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.text("abc=&%20", max_size=10),
    st.binary(max_size=50),
)
def test_the_environment_is_what_the_specification_says(
    method: str, path: str, query: str, body: bytes
) -> None:
    """The standard library's own validator looks at it."""
    fields = [
        ("content-length", str(len(body))),
        ("content-type", "text/plain"),
        ("x-many", "1"),
        ("x-many", "2"),
    ]
    environment = environ(FakeScope(method, "/" + path, fields, query), body)
    environment.pop("wsgi.input_terminated")
    wsgiref.validate.check_environ(environment)
    assert environment["PATH_INFO"].encode("latin-1").decode() == "/" + path
    assert environment["HTTP_X_MANY"] == "1,2"
    assert environment["wsgi.input"].read() == body


def test_fields_that_could_pass_for_others_are_dropped() -> None:
    environment = environ(
        FakeScope(fields=[("proxy", "evil"), ("x_user", "root"), ("cookie", "a"), ("cookie", "b")]), b""
    )
    assert "HTTP_PROXY" not in environment
    assert "HTTP_X_USER" not in environment
    assert environment["HTTP_COOKIE"] == "a; b"


def test_a_generator_is_streamed_and_closed() -> None:
    closed = []

    def app(environment: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        def pieces() -> Iterator[bytes]:
            try:
                yield from (b"", b"one ", b"two")
            finally:
                closed.append(True)

        start_response("200 OK", [])
        return pieces()

    exchange = FakeExchange()
    assert stream_wsgi(app, FakeScope("GET", "/"), exchange) == 200
    assert (exchange.streamed, exchange.body, closed) == (True, b"one two", [True])
    assert exchange.header("serinus-version") == "v1"


def test_write_and_start_response_with_exc_info() -> None:
    def app(environment: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"written, ")
        try:
            raise ValueError
        except ValueError as error:
            start_response("400 Bad Request", [], (type(error), error, error.__traceback__))
        return [b"returned"]

    assert call_wsgi(app, FakeScope()) == Answer(400, b"written, returned", ())


@pytest.mark.parametrize(
    "app",
    [
        lambda environment, start_response: [b"no start"],
        lambda environment, start_response: [start_response("200 OK", []), start_response("200 OK", [])],
        lambda environment, start_response: 1 / 0,
    ],
)
def test_a_wsgi_app_that_breaks_the_rules_raises(app: Any) -> None:
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        call_wsgi(app, FakeScope())


def test_a_long_request_never_reaches_a_wsgi_app() -> None:
    scope, exchange = posting(b"x" * 1001)
    with pytest.raises(Problem) as refused:
        stream_wsgi(plain, scope, exchange)
    assert (refused.value.status, exchange.read) == (413, 0)


def test_an_error_page_of_a_wsgi_app_shows_no_traceback() -> None:
    def app(environment: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("500 Oh", [])
        yield b"Traceback (most recent call last)"
        yield b" /secret"

    exchange = FakeExchange()
    assert stream_wsgi(app, FakeScope("GET", "/"), exchange) == 500
    assert b"secret" not in exchange.body


# -------------------------------------------------------------------------------------------------- ASGI


async def hello(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    await send(START)
    await send({"type": "http.response.body", "body": b"hello ", "more_body": True})
    await send({"type": "http.response.body", "body": body})


def test_an_asgi_app_answers() -> None:
    scope, exchange = posting(b"world")
    answer = asyncio.run(_on_loop(lambda: AsgiApp(hello, 1000).call(scope, b"world")))
    assert answer == Answer(200, b"hello world", (("content-type", "text/plain"), ("x", "1")))
    status = asyncio.run(_on_loop(lambda: AsgiApp(hello, 1000).stream(scope, exchange, EXTRA)))
    assert (status, exchange.body, exchange.streamed) == (200, b"hello world", True)


def test_the_scope_is_what_the_specification_says() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope)
        await send(START)
        await send({"type": "http.response.body"})

    scope = FakeScope("GET", "/a b/é", [("x-a", "1"), ("x-a", "ü")], "q=%20", client="[::1]:80")
    asyncio.run(_on_loop(lambda: AsgiApp(app, 10).call(scope, b"")))
    [found] = seen
    assert found["raw_path"] == b"/a%20b/%C3%A9"
    assert (found["path"], found["query_string"]) == ("/a b/é", b"q=%20")
    assert found["headers"] == [(b"x-a", b"1"), (b"x-a", b"\xfc")]
    assert (found["client"], found["server"]) == (("::1", 80), ("127.0.0.1", 5000))
    assert found["asgi"]["version"] == "3.0"


async def _streamed(app: Any, scope: FakeScope, exchange: FakeExchange) -> int:
    return await AsgiApp(app, 1000).stream(scope, exchange, EXTRA)


def test_a_long_chunked_request_is_refused_whatever_the_app_makes_of_it() -> None:
    async def swallow(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] == "http.request":
            pass
        await send(START | {"status": 400})
        await send({"type": "http.response.body", "body": b"mine"})

    for app in (hello, swallow):
        exchange = FakeExchange(*[b"x" * 400] * 4)
        scope = FakeScope(fields=[("transfer-encoding", "chunked")])
        with pytest.raises(Problem) as refused:
            asyncio.run(_streamed(app, scope, exchange))
        assert (refused.value.status, exchange.status) == (413, 0)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [START],
        [START, START],
        [{"type": "http.response.body"}],
        [START, {"type": "http.response.body", "more_body": True}],
        [{"type": "websocket.accept"}],
    ],
)
def test_an_asgi_app_that_breaks_the_rules_raises(messages: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    with pytest.raises(RuntimeError):
        asyncio.run(_on_loop(lambda: AsgiApp(app, 10).call(FakeScope(), b"")))


def test_after_its_body_a_request_tells_of_the_disconnect() -> None:
    heard = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())
        await send(START)
        await send({"type": "http.response.body"})
        heard.append(await receive())

    asyncio.run(_on_loop(lambda: AsgiApp(app, 10).call(FakeScope(), b"x")))
    assert heard == [{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}]


def test_an_asgi_app_that_raises_after_it_began_keeps_what_was_sent() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ValueError

    exchange = FakeExchange()
    status = asyncio.run(_on_loop(lambda: AsgiApp(app, 10).stream(FakeScope("GET"), exchange, EXTRA)))
    assert (status, exchange.body) == (200, b"part")


def lifespan(*said: str, raises: bool = False) -> AsgiApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if raises:
            raise KeyError(scope["type"])
        scope["state"]["model"] = "loaded"
        for kind in said:
            await receive()
            await send({"type": kind, "message": "no database"})

    return AsgiApp(app, 10)


def test_a_lifespan_is_lived() -> None:
    async def scenario() -> None:
        app = lifespan("lifespan.startup.complete", "lifespan.shutdown.complete")
        await app.start()
        assert app._scope(FakeScope())["state"] == {"model": "loaded"}
        await app.stop()

    asyncio.run(scenario())


def test_an_app_without_a_lifespan_is_served_and_one_that_fails_is_not() -> None:
    async def scenario() -> None:
        without = lifespan(raises=True)
        await without.start()
        await without.stop()
        with pytest.raises(ServiceError, match="no database"):
            await lifespan("lifespan.startup.failed").start()

    asyncio.run(scenario())


@given(st.integers(0, 65535))
def test_addresses(port: int) -> None:
    assert address(f"127.0.0.1:{port}") == ("127.0.0.1", port)
    assert address(f"[::1]:{port}") == ("::1", port)
    assert address("unix") is None


# ------------------------------------------------------------------------------------------------- guarded


class Recorder:
    """An app that notes the requests that reach it."""

    def __init__(self) -> None:
        self.reached: list[bytes] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def call(self, scope: Any, body: bytes) -> Answer:
        self.reached.append(body)
        return Answer(200, b"{}")

    async def stream(self, scope: Any, exchange: Any, extra: Any) -> int:
        return 200


@pytest.mark.parametrize(("body", "status"), [(b"[", 400), (b"[1]", 422), (b"", 400), (b'["a"]', 200)])
def test_a_request_outside_the_contract_never_reaches_the_app(body: bytes, status: int) -> None:
    app = Recorder()
    contract = Contract({"type": "array", "items": {"type": "string"}}, {})
    service = guarded(app, contract, "/predict")
    scope, _ = posting(body)
    if status == 200:
        assert asyncio.run(_on_loop(lambda: service.answer(scope, body))).status == 200
    else:
        with pytest.raises(Problem) as refused:
            asyncio.run(_on_loop(lambda: service.answer(scope, body)))
        assert refused.value.status == status
    assert app.reached == ([body] if status == 200 else [])


def test_without_a_contract_everything_passes_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    service = guarded(Recorder(), None, "/predict")
    assert service.contract is None
    assert "unchecked" in caplog.text


def test_an_input_can_be_read_as_a_file() -> None:
    assert isinstance(environ(FakeScope(), b"a\nb")["wsgi.input"], BytesIO)
