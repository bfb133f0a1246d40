"""What clients and proxies do with connections: HEAD, reuse, pipelining, chunks (RFC 9110, RFC 9112)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.transport import wire
from serinus.checks.transport.endpoint import Endpoint, ask, idle, patiently

_ERRORS = (wire.NoAnswer, wire.Late, wire.Malformed)
_SAME = ("content-type", "content-length")
_CHANGING = ("/metrics", "/readyz", "/healthz")


@check(
    "transport.head",
    why="A load balancer asked by HEAD, was told 405, and took the service out.",
    seconds=0.2,
)
def head(endpoint: Endpoint) -> Result:
    """HEAD is answered wherever GET is: the same status and header fields, and no body."""
    ours = ("/healthz", "/readyz", "/openapi.json", "/metrics") if endpoint.settings else ("/readyz",)
    asked = 0
    found: list[Finding] = []
    for path in (*ours, "/"):
        try:
            get = ask(endpoint, wire.Request("GET", path))
            if get.status != 200:
                continue
            asked += 1
            found.extend(_head(endpoint, path, get))
        except _ERRORS as error:
            found.append(Finding(f"HEAD {path}: {error.message}", "Answer HEAD as GET, without the body."))
    if not asked and not found:
        raise NotApplicable("no route answers GET", "Answer GET /readyz.")
    return Result(f"{asked} routes answer HEAD", tuple(found))


def _head(endpoint: Endpoint, path: str, get: wire.Answer) -> Iterator[Finding]:
    request = wire.Request("HEAD", path)
    todo = "Answer HEAD as GET, without the body: RFC 9110, section 9.3.2."
    with wire.Connection(endpoint.address) as connection:
        answer = connection.ask(request)
        if answer.status != get.status:
            yield Finding(f"HEAD {path} was answered {answer.status}; GET {get.status}", todo)
            return
        for name in _SAME:
            found, expected = answer.header(name), get.header(name)
            differs = found is not None and expected is not None and found != expected
            if differs and not (name == "content-length" and path in _CHANGING):
                yield Finding(f"HEAD {path} has {name}: {found}; GET has {expected}", todo)
        if answer.closes:
            with_body = not connection.ended()
        else:
            # A body would stand where the next answer should begin.
            connection.send(wire.Request("HEAD", path).whole())
            try:
                with_body = connection.answer("HEAD").status != answer.status
            except wire.Malformed:
                with_body = True
        if with_body:
            yield Finding(f"HEAD {path} was answered with a body", todo)


@check(
    "transport.keep-alive",
    why="The second request of a connection failed, but only behind the load balancer.",
    seconds=0.2,
)
def keep_alive(endpoint: Endpoint) -> Result:
    """Requests on one connection are answered alike, pipelined too, and `Connection: close` is honoured."""
    request = endpoint.well()
    first = ask(endpoint, request)
    found: list[Finding] = []
    for series in (_one_by_one, _at_once, _closed):
        try:
            found.extend(patiently(partial(_all, series, endpoint, request, first)))
        except _ERRORS as error:
            found.append(
                Finding(f"{request.method} {request.path}, {series.__doc__}: {error.message}", _TODO)
            )
    return Result("connections are kept", tuple(found))


_Series = Callable[[Endpoint, wire.Request, wire.Answer], Iterator[Finding]]


def _all(
    series: _Series, endpoint: Endpoint, request: wire.Request, first: wire.Answer
) -> tuple[Finding, ...]:
    return tuple(series(endpoint, request, first))


_TODO = "Keep nothing for a connection, and close it only after saying so."


def _one_by_one(endpoint: Endpoint, request: wire.Request, first: wire.Answer) -> Iterator[Finding]:
    """One after the other on one connection."""
    with wire.Connection(endpoint.address) as connection:
        for number in (1, 2, 3, 4):
            answer = idle(connection.ask(request))
            if answer.status != first.status:
                yield Finding(
                    f"request {number} of a connection was answered {answer}; the same on one of its own "
                    f"{first.status}",
                    _TODO,
                )
            if answer.closes:
                return


def _at_once(endpoint: Endpoint, request: wire.Request, first: wire.Answer) -> Iterator[Finding]:
    """Several sent at once on one connection."""
    others = (request, wire.Request("GET", "/readyz"), request)
    with wire.Connection(endpoint.address) as connection:
        connection.send(b"".join(other.whole() for other in others))
        for number, other in enumerate(others, 1):
            answer = idle(connection.answer(other.method))
            expected = first.status if other is request else 200
            if answer.status != expected:
                yield Finding(
                    f"request {number} of {len(others)} that were sent at once was answered {answer}; "
                    f"expected {expected}",
                    _TODO,
                )
            if answer.closes:
                return


def _closed(endpoint: Endpoint, request: wire.Request, first: wire.Answer) -> Iterator[Finding]:
    """With Connection: close."""
    with wire.Connection(endpoint.address) as connection:
        answer = idle(connection.ask(request, connection="close"))
        if answer.status != first.status:
            yield Finding(f"a request with Connection: close was answered {answer}", _TODO)
        if not connection.ended():
            yield Finding(
                "the service kept a connection whose request said Connection: close",
                "Close it after the answer: RFC 9112, section 9.6.",
            )


@check(
    "transport.chunked",
    why="A proxy sent bodies on in chunks, and the app, which trusted Content-Length, read nothing.",
    seconds=0.2,
)
def chunked(endpoint: Endpoint) -> Result:
    """A chunked request, in odd pieces, is answered as a whole one is."""
    request = endpoint.post()
    body = request.body or b""
    whole = ask(endpoint, request)
    found = []
    for what, pieces in _cuts(body):
        try:
            answer = patiently(partial(_in_chunks, endpoint, request, pieces))
        except _ERRORS as error:
            found.append(Finding(f"a body {what}: {error.message}", "Read bodies that come in chunks."))
            continue
        if answer.status != whole.status:
            found.append(
                Finding(
                    f"a body {what} was answered {answer}; the same in one piece {whole.status}",
                    "Read the body to its end, whatever its pieces and whether its length is announced.",
                )
            )
    return Result("chunked bodies are read", tuple(found))


def _cuts(body: bytes) -> tuple[tuple[str, tuple[bytes, ...]], ...]:
    """A body cut into pieces of one, of growing and of all its bytes. Pure."""
    growing, begin, size = [], 0, 1
    while begin < len(body):
        growing.append(body[begin : begin + size])
        begin, size = begin + size, size * 2 + 1
    few = tuple(body[i : i + 1] for i in range(min(len(body), 64)))
    rest = (body[64:],) if len(body) > 64 else ()
    return (
        ("in chunks of one byte", (*few, *rest)),
        ("in growing chunks", tuple(growing)),
        ("in one chunk", (body,)),
    )


def _in_chunks(endpoint: Endpoint, request: wire.Request, pieces: tuple[bytes, ...]) -> wire.Answer:
    with wire.Connection(endpoint.address) as connection:
        connection.send(request.head(transfer_encoding="chunked"))
        for piece in pieces:
            connection.send(wire.chunks([piece], last=False))
        connection.send(wire.chunks([]))
        return idle(connection.answer())
