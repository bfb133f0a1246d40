"""What a registry asks for and what is sent back: challenges, scopes, tokens. Pure; nothing here does I/O.

Follows RFC 9110 section 11 (``WWW-Authenticate``), RFC 7617 (Basic), RFC 6750 (Bearer), and the token
protocol of the distribution project (``docs/spec/auth/token`` and ``oauth``). Where credentials come from is
in ``credentials``; secrets never stand in a message or a ``repr``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from serinus.errors import RegistryError, Unauthorized

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))[ \t]*(?=,|$)', re.DOTALL)
_SCHEME = re.compile(rf"({_WORD})(?:[ ]+|$|(?=,))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_SEPARATOR = re.compile(r"[ \t,]*")

SHORTEST = 60.0
"""Seconds that a token lives when its server does not say: the token protocol's default."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a server offers: the scheme and its parameters, names in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a ``WWW-Authenticate`` header, in its order; several header lines joined by commas.

    Raises:
        RegistryError: the header breaks the grammar of RFC 9110.
    """
    challenges: list[tuple[str, dict[str, str]]] = []
    position = _skip(header, 0)
    while position < len(header):
        if challenges and (match := _PARAMETER.match(header, position)):
            quoted, plain = match[2], match[3]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            challenges[-1][1].setdefault(match[1].lower(), value)
        elif match := _SCHEME.match(header, position):
            challenges.append((match[1].lower(), {}))
            # A lone token68, as Negotiate has it, is of no use to us; it only has to be read past.
            if not _PARAMETER.match(header, match.end()):
                match = _TOKEN68.match(header, match.end()) or match
        else:
            raise RegistryError(
                f"the registry's WWW-Authenticate header cannot be read from character {position} on: "
                f"{header[position : position + 40]!r}; expected a scheme or name=value",
                "Check that the address is that of a registry.",
            )
        position = _skip(header, match.end())
    return tuple(Challenge(scheme, parameters) for scheme, parameters in challenges)


def _skip(header: str, position: int) -> int:
    match = _SEPARATOR.match(header, position)
    return match.end() if match else position


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge to answer: Bearer before Basic; None when there is neither."""
    by_scheme = {c.scheme: c for c in reversed(tuple(challenges))}
    bearer = by_scheme.get("bearer")
    return bearer if bearer and bearer.parameters.get("realm") else by_scheme.get("basic")


def scope(repository: str, *actions: str) -> str:
    """The scope of actions (``pull``, ``push``) on a repository."""
    return f"repository:{repository}:{','.join(actions)}"


def merge_scopes(*scopes: str) -> tuple[str, ...]:
    """Scopes sorted, the actions on one resource put together: ``a:b:push a:b:pull`` is ``a:b:pull,push``."""
    actions: dict[str, set[str]] = {}
    for one in " ".join(scopes).split():
        resource, _, verbs = one.rpartition(":")
        actions.setdefault(resource, set()).update(verbs.split(","))
    return tuple(f"{resource}:{','.join(sorted(verbs))}" for resource, verbs in sorted(actions.items()))


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are for one registry. One of password, identity token and bearer token is set."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """An OAuth2 refresh token, as ``docker login`` stores it."""
    bearer_token: str = field(default="", repr=False)
    """Sent to the registry as it is."""
    source: str = ""
    """Where they were found, for messages."""

    def __str__(self) -> str:
        who = f"user {self.username!r}" if self.username else "a token"
        return f"{who} from {self.source}" if self.source else who

    @property
    def basic(self) -> str:
        """The ``Authorization`` header of RFC 7617, in UTF-8."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and until when it may be used, in seconds of the caller's clock."""

    value: str = field(repr=False)
    until: float
    refresh: str = field(default="", repr=False)
    """A new refresh token, where the server gave one."""


def parse_token(body: bytes, now: float, realm: str) -> Token:
    """The token in a token server's answer.

    A tenth of its life is left unused, so that a request which starts with it does not outlive it at once.

    Args:
        body: the answer.
        now: when the request was sent, in seconds.
        realm: the server, for the error.

    Raises:
        RegistryError: the answer is not JSON, or has no token.
    """
    try:
        document = json.loads(body)
        value = document.get("token") or document.get("access_token")
        seconds = document.get("expires_in")
        refresh = document.get("refresh_token")
    except (ValueError, AttributeError, RecursionError):
        value = seconds = refresh = None
    if not isinstance(value, str) or not value:
        raise RegistryError(
            f"the token server {realm} gave no token; expected JSON with 'token' or 'access_token'",
            "Check that the address is that of a registry.",
        )
    numeric = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0
    life = float(seconds) if numeric else SHORTEST
    return Token(value, now + 0.9 * life, refresh if isinstance(refresh, str) else "")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to a token server: what to send, without sending it."""

    method: str
    url: str
    parameters: tuple[tuple[str, str], ...] = field(repr=False)
    """Of the query with GET, of the form with POST."""
    authorization: str = field(default="", repr=False)


def token_request(
    challenge: Challenge, scopes: Iterable[str], credentials: Credentials | None, *, plain: bool
) -> TokenRequest:
    """What to ask the token server that a Bearer challenge names.

    Args:
        challenge: from the registry.
        scopes: what we want to do.
        credentials: None asks anonymously.
        plain: whether the registry itself is spoken to over plain HTTP, so that its token server may be too.

    Raises:
        Unauthorized: the token server is not one that credentials may be sent to.
    """
    realm = challenge.parameters["realm"]
    parts = urlsplit(realm)
    if parts.scheme != "https" and not (plain and parts.scheme == "http"):
        raise Unauthorized(
            f"the registry names the token server {realm!r}; expected an https:// address",
            "Credentials are not sent in the clear: check the registry's configuration.",
        )
    service = challenge.parameters.get("service", "")
    common = (("service", service),) if service else ()
    if credentials and credentials.identity_token:
        grant = (("grant_type", "refresh_token"), ("refresh_token", credentials.identity_token))
        form = (*grant, ("client_id", "serinus"), ("scope", " ".join(scopes)))
        return TokenRequest("POST", realm, (*common, *form))
    query = (*common, *(("scope", s) for s in scopes))
    return TokenRequest("GET", realm, query, credentials.basic if credentials else "")
