"""HTTP to one registry on behalf of one repository: authentication, redirects, retries, errors of our own.

Follows the OCI distribution specification 1.1 and RFC 9110. Imports httpx, so that only ``client`` and its
parts import this module.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import httpx

from serinus import __version__
from serinus.errors import RegistryError, Unavailable
from serinus.registry import credentials, retry
from serinus.registry.auth import TokenRequest
from serinus.registry.content import MANIFEST_LIMIT
from serinus.registry.network import (
    INSECURE,
    Interrupted,
    failure,
    follow,
    is_loopback,
    is_plain,
    same_origin,
)
from serinus.registry.reference import Reference
from serinus.registry.refusals import refusal
from serinus.registry.tokens import Authenticator

Body = bytes | Callable[[], Iterator[bytes]]
_HOPS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be asked of the registry."""

    method: str
    url: str
    """A path under the registry, or an address that it gave."""
    scopes: tuple[str, ...]
    what: str
    """Names the object, for errors."""
    expect: tuple[int, ...] = (200,)
    """Statuses that are answers; any other is an error."""
    headers: tuple[tuple[str, str], ...] = ()
    body: Body = b""
    """Bytes, or what gives them anew each time the request is sent."""
    patience: float = 60.0
    """Seconds without a byte from the registry after which the request has failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    """Of the request that was answered, after redirects."""


class Traffic:
    """Bytes of bodies sent to and received from registries, counted across threads."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self._lock = threading.Lock()

    def count(self, sent: int = 0, received: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.sent += sent
            self.received += received


class Retries:
    """The tries of one piece of work: counts them, and waits between two.

    Args:
        attempts: how many there may be without progress.
        sleep: waits for seconds.
        jitter: a number from 0 to 1.
    """

    def __init__(self, attempts: int, sleep: Callable[[float], None], jitter: Callable[[], float]) -> None:
        self._attempts = attempts
        self._sleep = sleep
        self._jitter = jitter
        self._failed = 0

    def wait(self, error: Interrupted) -> None:
        """Wait before the next try.

        Raises:
            Unavailable: there is none; it tells the last failure.
        """
        self._failed += 1
        seconds = retry.delay(self._failed, error.asked, self._jitter(), self._attempts)
        if seconds is None:
            tries = "once" if self._failed == 1 else f"{self._failed} times"
            raise Unavailable(f"{error.message} (tried {tries})", error.todo) from error
        self._sleep(seconds)

    def progressed(self) -> None:
        """Something got through: the count begins anew."""
        self._failed = 0


class Connection:
    """A registry, spoken to for one repository. Safe to use from several threads.

    Args:
        reference: names registry and repository.
        insecure: True speaks plain HTTP, False never does; None goes by the rule: loopback, and the
            registries that ``SERINUS_REGISTRY_INSECURE`` lists.
        find: looks for credentials, once, when the registry asks for some.
        transport: carries the requests; None is the network.
        environ: where ``SERINUS_REGISTRY_INSECURE`` and, for ``find``, credentials stand.
        sleep: waits for seconds.
        jitter: a number from 0 to 1.
        clock: seconds that never go back.
        attempts: tries of one request.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        insecure: bool | None = None,
        find: Callable[..., credentials.Search] = credentials.find,
        transport: httpx.BaseTransport | None = None,
        environ: Mapping[str, str] = os.environ,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        attempts: int = retry.ATTEMPTS,
    ) -> None:
        self.reference = reference
        self.traffic = Traffic()
        plain = is_plain(reference.registry, insecure, environ.get(INSECURE, ""))
        self._base = f"{'http' if plain else 'https'}://{reference.host}"
        self._transport = transport
        self._retry = attempts, sleep, jitter
        self._lock = threading.Lock()
        self._clients: dict[str, httpx.Client] = {}
        self._authenticator = Authenticator(
            reference.registry,
            lambda: find(reference.registry, reference.repository, environ=environ),
            self._ask,
            clock,
            plain=plain,
        )

    def close(self) -> None:
        """Close what is open; the connection can be used again."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def retries(self) -> Retries:
        """A fresh count of tries."""
        return Retries(*self._retry)

    def request(self, request: Request) -> Answer:
        """Send a request and read its answer whole, with retries.

        Raises:
            NotFound, Unauthorized, Unavailable, RegistryError: by the status; the message names the object.
        """
        retries = self.retries()
        while True:
            try:
                return self.send(request)
            except Interrupted as error:
                retries.wait(error)

    def send(self, request: Request) -> Answer:
        """Send a request once and read its answer whole.

        Raises:
            Interrupted: it may be sent again.
            NotFound, Unauthorized, Unavailable, RegistryError: as :meth:`request`.
        """
        with self.stream(request) as response:
            body = self._read(response)
            return Answer(response.status_code, response.headers, body, str(response.url))

    @contextmanager
    def stream(self, request: Request) -> Iterator[httpx.Response]:
        """Send a request once; the block reads the body of the answer with :meth:`pieces`.

        Raises:
            Interrupted, NotFound, Unauthorized, Unavailable, RegistryError: as :meth:`send`.
        """
        response = self._exchange(request)
        try:
            if response.status_code not in request.expect:
                raise self._refusal(response, request)
            yield response
        finally:
            response.close()

    def pieces(self, response: httpx.Response) -> Iterator[bytes]:
        """The body of an answer as it comes, not decoded.

        Raises:
            Interrupted: the connection was cut.
        """
        with _explained(str(response.url)):
            for piece in response.iter_raw():
                self.traffic.count(received=len(piece))
                yield piece

    def _exchange(self, request: Request) -> httpx.Response:
        """Send a request, again with what the registry asks for, and to where it sends us."""
        url = follow(self._base, request.url)
        challenges = 0
        for _ in range(_HOPS):
            # What we are to the registry is not the business of the blob store that it sends us to.
            own = same_origin(url, self._base)
            used = self._authenticator.authorization(request.scopes, request.what) if own else ""
            response = self._once(request, url, used)
            if response.status_code == 401 and own and challenges < 2:
                challenges += 1
                body = self._drained(response)
                header = ", ".join(response.headers.get_list("www-authenticate"))
                self._authenticator.challenged(header, body, request.scopes, used, request.what)
            elif response.status_code in _REDIRECTS and "location" in response.headers:
                self._drained(response)
                url = follow(url, response.headers["location"])
            else:
                return response
        raise RegistryError(
            f"{self.reference.registry} redirected the request for {request.what} {_HOPS} times",
            "Check the registry's configuration.",
        )

    def _once(self, request: Request, url: str, authorization: str) -> httpx.Response:
        headers = {"user-agent": f"serinus/{__version__}", "accept-encoding": "identity"}
        headers |= dict(request.headers)
        if authorization:
            headers["authorization"] = authorization
        timeout = httpx.Timeout(10.0, read=request.patience, write=60.0, pool=None)
        with _explained(url):
            client = self._client(url)
            content = self._counted(request.body)
            built = client.build_request(
                request.method, url, headers=headers, content=content, timeout=timeout
            )
            return client.send(built, stream=True)

    def _client(self, url: str) -> httpx.Client:
        """One client a scheme: reading the certificate authorities costs 50 ms, for nothing on plain HTTP."""
        scheme = urlsplit(url).scheme
        with self._lock:
            if scheme not in self._clients:
                self._clients[scheme] = httpx.Client(
                    transport=self._transport,
                    verify=scheme == "https",
                    trust_env=not is_loopback(self.reference.host),
                    follow_redirects=False,
                )
            return self._clients[scheme]

    def _counted(self, body: Body) -> bytes | Iterator[bytes]:
        if isinstance(body, bytes):
            self.traffic.count(sent=len(body))
            return body
        return self._counting(body)

    def _counting(self, body: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
        for piece in body():
            self.traffic.count(sent=len(piece))
            yield piece

    def _read(self, response: httpx.Response) -> bytes:
        """The body of an answer that is no blob, as far as a manifest may be long, and one byte on."""
        body = bytearray()
        for piece in self.pieces(response):
            body += piece
            if len(body) > MANIFEST_LIMIT:
                break
        return bytes(body[: MANIFEST_LIMIT + 1])

    def _drained(self, response: httpx.Response) -> bytes:
        try:
            return self._read(response)
        finally:
            response.close()

    def _ask(self, wanted: TokenRequest) -> tuple[int, bytes]:
        """Send a request to a token server; it may be another host, and gets its own credentials."""
        encoded = urlencode(wanted.parameters)
        headers: dict[str, str] = {"authorization": wanted.authorization} if wanted.authorization else {}
        url, body = wanted.url, b""
        if wanted.method == "POST":
            body = encoded.encode()
            headers["content-type"] = "application/x-www-form-urlencoded"
        elif encoded:
            url = f"{url}{'&' if '?' in url else '?'}{encoded}"
        statuses = (200, 400, 401, 403)
        what = f"a token from {wanted.url}"
        request = Request(wanted.method, url, (), what, statuses, tuple(headers.items()), body)
        retries = self.retries()
        while True:
            try:
                response = self._once(request, url, "")
                if response.status_code in statuses:
                    return response.status_code, self._drained(response)
                raise self._refusal(response, request)
            except Interrupted as error:
                retries.wait(error)

    def _refusal(self, response: httpx.Response, request: Request) -> RegistryError:
        body = self._drained(response)
        if response.status_code == 401:
            return self._authenticator.denied(body, request.what)
        asked = retry.retry_after(response.headers.get("retry-after", ""), time.time())
        host = urlsplit(str(response.url)).netloc
        return refusal(response.status_code, body, asked, host, request.what)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise failure(error, urlsplit(url).netloc) from error
    except (httpx.InvalidURL, httpx.DecodingError) as error:
        raise RegistryError(f"{url!r} cannot be used: {error}", "Check the registry.") from error
