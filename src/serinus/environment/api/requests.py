"""Requests to the control API: what is let in, and what a body or a query says. Pure.

Who may ask: a program that has the token, on this machine. A page in a browser of this machine may not, not
even if it has the token: whatever names an origin other than the API's own is refused, and so is a ``Host``
that is no name of loopback, with which a page would get here by a name of its own (DNS rebinding).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl

from serinus.environment.api.answers import JSON, Refused

LARGEST = 64 << 10
"""Bytes of a body."""
_LONGEST_TEXT = 1000
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::(\d{1,5}))?")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]*")
_WHOLE = re.compile(r"\d{1,15}", re.ASCII)
_NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,6})?", re.ASCII)

Read = Callable[[str, Any], Any]
"""Name and value of a member -> what it means; raises :class:`Refused`."""
Members = Mapping[str, tuple[Read, Any]]
"""Name -> how it is read, and its default; ``...`` where it must be given."""


@dataclass(frozen=True, slots=True)
class Headers:
    """What a request says about itself."""

    host: str = ""
    origin: str | None = None
    authorization: str = ""
    content_type: str = ""
    content_length: str = ""


# Who asks


def check_place(headers: Headers, port: int) -> None:
    """Hold ``Host`` and ``Origin`` to where the API is.

    Raises:
        Refused: 421 or 403.
    """
    if not _is_here(headers.host, port):
        raise Refused(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"the Host {headers.host!r:.100} is not this API; expected a name of loopback with port {port}",
            f"Ask http://127.0.0.1:{port}.",
        )
    if headers.origin is not None and headers.origin.lower() != f"http://{headers.host}".lower():
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"pages of {headers.origin!r:.100} may not ask this API",
            "Ask it from a program, not from a page.",
        )


def _is_here(host: str, port: int) -> bool:
    match = _AUTHORITY.fullmatch(host)
    if match is None or int(match[2] or 80) != port:
        return False
    name = match[1].strip("[]").lower()
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def check_token(headers: Headers, token: str | None) -> None:
    """Hold the credentials to the token that is in force.

    Raises:
        Refused: 401.
    """
    scheme, _, given = headers.authorization.partition(" ")
    known = scheme.lower() == "bearer"
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), (token or "").encode())
    if known and right and token:
        return
    challenge = 'Bearer realm="serinus"' + (', error="invalid_token"' if known else "")
    raise Refused(
        HTTPStatus.UNAUTHORIZED,
        "the token is not the one in force" if known else "no token was sent",
        "Send `Authorization: Bearer TOKEN`; it is in .serinus/environment/token of the project.",
        [("WWW-Authenticate", challenge)],
    )


# What is asked


def check_body(headers: Headers) -> int:
    """The length of the body that is to be read.

    Raises:
        Refused: 413 or 415.
    """
    length = int(headers.content_length) if _WHOLE.fullmatch(headers.content_length) else 0
    if length > LARGEST:
        raise too_large()
    kind = headers.content_type.partition(";")[0].strip().lower()
    if length and kind != JSON:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the body is {kind or 'of no type'!r:.100}; expected {JSON}",
            f"Send `Content-Type: {JSON}`.",
        )
    return length


def too_large() -> Refused:
    """The refusal of a body that is not even read."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {LARGEST >> 10} KiB")


def body(data: bytes, members: Members) -> dict[str, Any]:
    """What a body says; none is an empty object.

    Raises:
        Refused: 400 or 422.
    """
    try:
        document = json.loads(data) if data else {}
    except (ValueError, RecursionError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _wrong(f"the body is {type(document).__name__}; expected an object")
    return _members(document, members)


def query(text: str, members: Members) -> dict[str, Any]:
    """What a query says.

    Raises:
        Refused: 422.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise _wrong(f"the query cannot be read: {error}") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _wrong("the query names something twice")
    return _members(found, members)


def _members(found: Mapping[str, Any], members: Members) -> dict[str, Any]:
    if unknown := [name for name in found if name not in members]:
        raise _wrong(f"unknown: {unknown[0]!r:.100}; known here: {', '.join(members) or 'nothing'}")
    made = {}
    for name, (read, default) in members.items():
        if name in found:
            made[name] = read(name, found[name])
        elif default is ...:
            raise _wrong(f"{name} is missing")
        else:
            made[name] = default
    return made


def text(name: str, value: Any) -> str:
    """A text on one line, which is not empty."""
    if not isinstance(value, str) or not value or len(value) > _LONGEST_TEXT or not _TEXT.fullmatch(value):
        raise _wrong(
            f"{name} is {value!r:.100}; expected a text of 1 to {_LONGEST_TEXT} characters, one line"
        )
    return value


def word(*known: str) -> Read:
    """One of some words, or null."""

    def read(name: str, value: Any) -> str | None:
        if value is not None and value not in known:
            raise _wrong(f"{name} is {value!r:.100}; expected one of {', '.join(known)}")
        found: str | None = value
        return found

    return read


def flag(name: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(f"{name} is {value!r:.100}; expected true or false")
    return value


def whole(least: int, most: int) -> Read:
    """A whole number of a query."""

    def read(name: str, value: Any) -> int:
        if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
            raise _wrong(f"{name} is {value!r:.100}; expected a whole number from {least} to {most}")
        return int(value)

    return read


def seconds(most: float) -> Read:
    """Seconds of a query."""

    def read(name: str, value: Any) -> float:
        if not _NUMBER.fullmatch(value) or float(value) > most:
            raise _wrong(f"{name} is {value!r:.100}; expected seconds from 0 to {most:g}")
        return float(value)

    return read


def _wrong(detail: str) -> Refused:
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, detail, "See docs/reference/control-api.md.")
