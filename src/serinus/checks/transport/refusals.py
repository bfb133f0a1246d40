"""Requests that must be refused, each with the status that says why (RFC 9110, section 15.5)."""

from __future__ import annotations

import json
from collections.abc import Iterator

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.transport import wire
from serinus.checks.transport.endpoint import (
    NOWHERE,
    Endpoint,
    ask,
    expect,
    needs_contract,
    refused,
)
from serinus.checks.transport.mutations import Mutation, mutations

_CLIENT = range(400, 500)
_ANY = range(200, 500)
_LARGEST = 64 << 20
"""Bytes that a check sends at most to find out whether a body is too large."""


@check(
    "transport.method",
    why="A GET on the route of the predictions was a 500 in the log at every visit of a search engine.",
    seconds=0.2,
)
def method(endpoint: Endpoint) -> Result:
    """Methods that the route does not have are answered 405 with `Allow`, and not by a failure."""
    found = []
    strictly = _no_app(endpoint)
    for name in ("GET", "PUT", "DELETE", "PATCH"):
        what = f"{name} {endpoint.route}"
        try:
            answer = ask(endpoint, wire.Request(name, endpoint.route))
        except (wire.NoAnswer, wire.Late, wire.Malformed) as error:
            found.append(Finding(f"{what}: {error.message}", "Let the app answer 405."))
            continue
        found.extend(_method(what, answer, ours=endpoint.settings is not None, strictly=strictly))
    return Result("other methods than POST are refused", tuple(found))


def _no_app(endpoint: Endpoint) -> bool:
    """Whether Serinus' server answers by itself, for a typed function or a model: an app may take GET too."""
    if endpoint.settings is None:
        return False
    try:
        document = ask(endpoint, wire.Request("GET", NOWHERE)).document
    except (wire.NoAnswer, wire.Late, wire.Malformed):
        return False
    told = document.get("detail") if isinstance(document, dict) else None
    return endpoint.settings.entrypoint is None or f"answered at {endpoint.route}" in str(told)


def _method(what: str, answer: wire.Answer, ours: bool, strictly: bool) -> Iterator[Finding]:
    if answer.status == 405:
        if not answer.header("allow"):
            yield Finding(
                f"{what} was answered 405 without Allow",
                "Name the methods that are possible: RFC 9110, section 15.5.6.",
            )
    elif answer.status == 404 and ours:
        yield Finding(f"{what} was answered 404; expected 405", "Let the app have the route for POST.")
    elif strictly or (answer.status >= 500 and answer.status != 501):
        yield Finding(f"{what} was answered {answer}; expected 405", "Let the app answer 405.")


@check(
    "transport.content-type",
    why="A form was posted where JSON was expected, and the app failed with 500.",
    seconds=0.2,
)
def content_type(endpoint: Endpoint) -> Result:
    """A request whose content type is not JSON is answered 415 by Serinus' server, and by no server 5xx."""
    body = endpoint.post().body
    found: list[Finding] = []
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = (("content-type", kind),) if kind else ()
        request = wire.Request("POST", endpoint.route, headers, body)
        what = f"a request of the type {kind}" if kind else "a request without a content type"
        right = (415,) if endpoint.guarded else _ANY
        found.extend(expect(endpoint, what, request, right, "Answer 415 where the content type is not JSON."))
    return Result("only JSON is taken", tuple(found))


@check(
    "transport.malformed",
    why="An app read half a document as nothing, and answered 200 with a prediction for nothing.",
    seconds=0.3,
)
def malformed(endpoint: Endpoint) -> Result:
    """A body that is not JSON is refused, 400 by Serinus' server, and the answer says what is wrong."""
    body = endpoint.post().body or b"{}"
    right = (400,) if endpoint.guarded else _CLIENT
    kinds = _malformed(body, strictly=endpoint.guarded)
    todo = "Answer 400 where the body is not JSON; do not read it as something else."
    found: list[Finding] = []
    for what, content in kinds:
        found.extend(expect(endpoint, what, endpoint.post(content), right, todo))
    return Result(f"{len(kinds)} kinds of malformed JSON are refused", tuple(found))


def _malformed(body: bytes, strictly: bool) -> list[tuple[str, bytes]]:
    """Kinds of malformed JSON; ``strictly`` those too that RFC 8259 (8.1 and 9) lets a parser take."""
    kinds = [
        ("an empty body", b""),
        ("a body that is cut off", body[:-1] if len(body) > 1 else b"["),
        ("a body of two documents", body + b" " + body),
        ("a body that is not JSON", b"positive=true"),
    ]
    if not strictly:
        return kinds
    return [
        *kinds,
        ("a body with NaN", b"[NaN]"),
        ("a body with a trailing comma", b'["a",]'),
        ("a body that is not UTF-8", b'["\xff\xfe"]'),
        ("a body with a byte order mark", b"\xef\xbb\xbf" + body),
        ("a body of 100,000 open brackets", b"[" * 100_000),
    ]


@check(
    "transport.fields",
    why="A missing field became a default, and the predictions were wrong for a week without an error.",
    seconds=0.5,
)
def fields(endpoint: Endpoint) -> Result:
    """A member missing, unknown or of a wrong type is answered 422, with the JSON Pointer of the fault."""
    contract = needs_contract(endpoint)
    wrong = mutations(contract.request, [endpoint.request] if endpoint.known else [])
    if not wrong:
        raise NotApplicable(
            "the request schema takes every JSON value", "Say in it what a request must hold."
        )
    found = [finding for mutation in wrong for finding in _field(endpoint, mutation)]
    return Result(f"{len(wrong)} wrong requests are refused", tuple(found))


def _field(endpoint: Endpoint, mutation: Mutation) -> Iterator[Finding]:
    request = endpoint.post(json.dumps(mutation.value).encode())
    what = f"a request with {mutation.what}"
    try:
        answer = ask(endpoint, request)
    except (wire.NoAnswer, wire.Late, wire.Malformed) as error:
        yield Finding(f"{what}: {error.message}", "Answer 422.", pointer=mutation.pointer)
        return
    wrong = refused(what, endpoint, answer, (422,), "Hold requests to the contract.")
    if wrong:
        yield from wrong
        return
    document = answer.document
    errors = document.get("errors") if isinstance(document, dict) else None
    named = [e.get("pointer") for e in errors or () if isinstance(e, dict)]
    if not any(isinstance(pointer, str) and _about(pointer, mutation.pointer) for pointer in named):
        yield Finding(
            f"{what} was answered 422, which names the places {named}; expected {mutation.pointer!r}",
            "Name each fault with its JSON Pointer in `errors`.",
            pointer=mutation.pointer,
        )


def _about(named: str, place: str) -> bool:
    """Whether one is the other, or lies in it: of alternatives a fault may be told at the whole or a part."""
    return named == place or named.startswith(f"{place}/") or place.startswith(f"{named}/")


@check(
    "transport.oversize",
    why="A body of gigabytes was read into memory before anybody looked at its length.",
    seconds=0.5,
)
def oversize(endpoint: Endpoint) -> Result:
    """A body above `service.max_body` is answered 413 without being read to its end."""
    if endpoint.settings is None:
        raise NotApplicable(
            "another server than Serinus' answers in this image: nothing says how large a body may be",
            "Build the image with `serinus build`.",
        )
    limit = endpoint.settings.max_body
    found = [*_oversize(endpoint, "a body that is announced as too large", _announced(endpoint, limit))]
    chunked = limit <= _LARGEST
    if chunked:
        found += _oversize(endpoint, "a chunked body that is too large", _growing(endpoint, limit))
    left_out = "" if chunked else f"; chunked bodies were not tried: they take more than {_LARGEST} bytes"
    return Result(f"more than {limit} bytes are refused{left_out}", tuple(found))


def _announced(endpoint: Endpoint, limit: int) -> Iterator[bytes]:
    yield endpoint.post(b"").head(content_length=str(limit + 1))


def _growing(endpoint: Endpoint, limit: int) -> Iterator[bytes]:
    """All that is allowed, then one byte more, then nothing: whoever waits for the end waits in vain."""
    yield endpoint.post(b"").head(transfer_encoding="chunked")
    for begin in range(0, limit, 1 << 20):
        yield wire.chunks([b" " * min(1 << 20, limit - begin)], last=False)
    yield wire.chunks([b" "], last=False)


def _oversize(endpoint: Endpoint, what: str, pieces: Iterator[bytes]) -> tuple[Finding, ...]:
    todo = "Answer 413 before the body is read."
    try:
        with wire.Connection(endpoint.address) as connection:
            for piece in pieces:
                if not connection.send(piece):
                    break  # it has answered already, and goes
            return refused(what, endpoint, connection.answer(), (413,), todo)
    except (wire.NoAnswer, wire.Late, wire.Malformed) as error:
        return (Finding(f"{what} at {endpoint.route}: {error.message}", todo),)
