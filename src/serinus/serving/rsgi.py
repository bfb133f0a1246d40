"""The RSGI interface (version 1.6), as far as this server uses it, and what is read from a request's head.

RSGI is Granian's own interface: an application is a callable of a scope and a protocol object. The protocols
here are its types as the specification names them, so that tests can stand in for Granian.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, Protocol

from serinus.serving.answers import Answer, Problem

Headers = Sequence[tuple[str, str]]
CLOSE = ("connection", "close")


class ScopeHeaders(Protocol):
    """The header fields of a request, names in lower case."""

    def get(self, key: str, default: Any = None) -> Any:
        """The first value, or the default."""
        ...

    def items(self) -> list[tuple[str, str]]:
        """Every field; repeated ones stand there more than once."""
        ...


class Scope(Protocol):
    """The head of a request. ``path`` is percent-decoded, ``query_string`` is not."""

    proto: str
    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str

    @property
    def headers(self) -> ScopeHeaders:
        """The header fields."""
        ...


class Stream(Protocol):
    """An answer that is sent piece by piece."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a piece."""
        ...


class Exchange(Protocol):
    """The protocol object of one request: its body, and the ways to answer it."""

    def __call__(self) -> Awaitable[bytes]:
        """The whole body."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body piece by piece."""
        ...

    async def client_disconnect(self) -> None:
        """Returns when the caller has gone."""
        ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer at once."""
        ...

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Stream:
        """Begin an answer in pieces."""
        ...


def too_large(limit: int) -> Problem:
    """The problem of a body above ``limit`` bytes; the connection closes, for the rest is never read."""
    return Problem(413, f"the request body is larger than {limit} bytes", headers=[CLOSE])


async def body(headers: ScopeHeaders, exchange: Exchange, limit: int) -> bytes:
    """The whole body of a request.

    Raises:
        Problem: 413, before anything is read when the length is announced, else as soon as the limit is
            passed; 400 when the caller went away in the middle of it.
    """
    length = headers.get("content-length")
    if length is not None:
        if int(length) > limit:
            raise too_large(limit)
        try:
            return await exchange()
        except RuntimeError:  # Granian's RSGIProtocolClosed: the connection broke
            raise Problem(400, f"the request body ended before its {length} bytes", headers=[CLOSE]) from None
    if headers.get("transfer-encoding") is None:
        return b""
    pieces, size = [], 0
    async for piece in exchange:
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


_JSON_TYPE = re.compile(r"application/(?:[\w!#$&^.-]+\+)?json", re.IGNORECASE)


@lru_cache(maxsize=64)
def is_json(content_type: str) -> bool:
    """Whether a content type is ``application/json`` or ``application/*+json``, in UTF-8."""
    kind, *parameters = (part.strip() for part in content_type.split(";"))
    if not _JSON_TYPE.fullmatch(kind):
        return False
    pairs = (part.lower().partition("=") for part in parameters if part)
    return all(value.strip('"') in ("utf-8", "utf8") for name, _, value in pairs if name == "charset")


def require_json(headers: ScopeHeaders) -> None:
    """Hold the request to JSON: ``application/json`` or ``application/*+json``, in UTF-8, not compressed.

    Raises:
        Problem: 415.
    """
    content_type = headers.get("content-type")
    if content_type != "application/json" and not (content_type and is_json(content_type)):
        found = f"{content_type[:100]!r}" if content_type else "no content type"
        raise Problem(
            415,
            f"the request has {found}; expected application/json",
            headers=[("accept-post", "application/json")],
        )
    encoding = headers.get("content-encoding")
    if encoding is not None and encoding != "identity":
        raise Problem(
            415,
            f"the request body is encoded as {encoding[:100]!r}; expected it plain",
            headers=[("accept-encoding", "identity")],
        )


_SANE = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
_PREFIX = os.urandom(6).hex()
_NUMBERS = count(1)


def request_id(given: str | None) -> str:
    """The caller's ``x-request-id`` when it is a plain token of at most 128 characters, else a new one."""
    if given is not None and _SANE.fullmatch(given):
        return given
    return f"{_PREFIX}{next(_NUMBERS):08x}"


def send(exchange: Exchange, answer: Answer, extra: Headers) -> None:
    """Send a whole answer with further header fields. The length is added by the server."""
    exchange.response_bytes(answer.status, [*answer.headers, *extra], answer.body)
