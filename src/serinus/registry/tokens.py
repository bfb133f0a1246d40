"""Answering a registry's challenges: its credentials and tokens, kept for as long as they are good.

What is asked and what is sent is decided in ``auth``; this module remembers, and sends through a callable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from serinus.errors import Unauthorized
from serinus.registry.auth import (
    Challenge,
    Credentials,
    Token,
    TokenRequest,
    choose,
    merge_scopes,
    parse_challenges,
    parse_token,
    token_request,
)
from serinus.registry.credentials import Search
from serinus.registry.refusals import denied, explain


class Authenticator:
    """What to send to one registry so that it lets us in. Safe to use from several threads.

    Args:
        registry: its name.
        find: looks for credentials; called once, when the registry asks for some.
        ask: sends a request to a token server, with retries; status and body of the answer.
        clock: seconds that never go back.
        plain: whether the registry is spoken to over plain HTTP.
    """

    def __init__(
        self,
        registry: str,
        find: Callable[[], Search],
        ask: Callable[[TokenRequest], tuple[int, bytes]],
        clock: Callable[[], float],
        *,
        plain: bool,
    ) -> None:
        self._registry = registry
        self._find = find
        self._ask = ask
        self._clock = clock
        self._plain = plain
        self._lock = threading.RLock()
        self._search: Search | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], Token] = {}
        self._refresh = ""

    def authorization(self, scopes: tuple[str, ...], what: str) -> str:
        """What to send with a request; ``""`` until the registry has asked for something.

        Args:
            scopes: what the request needs.
            what: names its object, for errors.

        Raises:
            Unauthorized: the token server refuses us.
            Unavailable: the token server cannot be reached.
        """
        # Held while a token is fetched: four threads that need one wait for the first to get it.
        with self._lock:
            challenge = self._challenge
            if challenge is None:
                return ""
            mine = self._look().credentials
            if challenge.scheme == "basic":
                return mine.basic if mine and mine.password else ""
            if mine and mine.bearer_token:
                return f"Bearer {mine.bearer_token}"
            return f"Bearer {self._token(challenge, scopes, mine, what).value}"

    def challenged(self, header: str, body: bytes, scopes: tuple[str, ...], used: str, what: str) -> None:
        """Take note of what a 401 asks for, so that the same request can be sent again.

        Args:
            header: its ``WWW-Authenticate``.
            body: what it says.
            scopes: what the request needs.
            used: what was sent with it.
            what: names the object of the request, for errors.

        Raises:
            Unauthorized: what we have was refused already, or we have nothing.
        """
        challenge = choose(parse_challenges(header))
        if challenge is None:
            raise Unauthorized(
                f"{self._registry} answered 401 for {what} and offered {header[:100]!r}; "
                "expected Bearer or Basic authentication",
                "Check that the address is that of a registry.",
            )
        with self._lock:
            self._challenge = challenge
            wanted = merge_scopes(*scopes)
            stale = self._tokens.get(wanted)
            if stale and used == f"Bearer {stale.value}":
                del self._tokens[wanted]
            mine = self._look().credentials
            basic = challenge.scheme == "basic"
            fixed = basic or (mine is not None and bool(mine.bearer_token))
            if (fixed and used) or (basic and not (mine and mine.password)):
                raise self.denied(body, what)

    def denied(self, body: bytes, what: str) -> Unauthorized:
        """The error when the registry has refused everything that we have."""
        return denied(self._look(), self._registry, what, explain(body))

    def _look(self) -> Search:
        with self._lock:
            if self._search is None:
                self._search = self._find()
            return self._search

    def _token(
        self, challenge: Challenge, scopes: tuple[str, ...], mine: Credentials | None, what: str
    ) -> Token:
        wanted = merge_scopes(*scopes)
        token = self._tokens.get(wanted)
        if token is not None and token.until > self._clock():
            return token
        if mine and mine.identity_token and self._refresh:
            mine = replace(mine, identity_token=self._refresh)
        asked = merge_scopes(*wanted, challenge.parameters.get("scope", ""))
        request = token_request(challenge, asked, mine, plain=self._plain)
        begin = self._clock()
        status, body = self._ask(request)
        if status != 200:
            raise self.denied(body, what)
        token = self._tokens[wanted] = parse_token(body, begin, request.url)
        self._refresh = token.refresh or self._refresh
        return token
