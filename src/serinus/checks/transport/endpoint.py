"""What the checks of this layer ask, and what may be expected of it. Pure but for :func:`ask`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from serinus.checks import Finding, NotApplicable
from serinus.checks.subjects import Served
from serinus.checks.transport import wire
from serinus.contract import Contract
from serinus.image import SETTINGS
from serinus.serving import Settings

T = TypeVar("T")
NOWHERE = "/serinus-check-no-such-route"
"""A path at which no service answers."""
_BUSY = 20.0
"""Seconds for which a service may say that it has too much to do: other checks ask it too."""
_PHRASES = ("bad request", "error", "invalid", "invalid request", "not found", "internal server error")


@dataclass(frozen=True)
class Endpoint:
    """Where a service answers, and what it promises there."""

    address: tuple[str, int]
    """Host and port."""
    route: str
    settings: Settings | None = None
    """What Serinus' own server in the image was told; None where another server answers."""
    contract: Contract | None = None
    request: Any = None
    """A request that must be answered, decoded; meaningful where ``known``."""
    known: bool = False
    """Whether there is an example to take ``request`` from."""

    @property
    def guarded(self) -> bool:
        """Whether Serinus' server holds requests to a contract: then it promises each status."""
        return self.settings is not None and self.contract is not None

    def post(self, body: bytes | None = None) -> wire.Request:
        """A request for a prediction; by default a known one, or ``{}``."""
        content = json.dumps(self.request if self.known else {}).encode() if body is None else body
        return wire.Request("POST", self.route, (wire.JSON,), content)

    def well(self) -> wire.Request:
        """A request that is answered 200: a prediction where one is known."""
        return self.post() if self.known else wire.Request("GET", "/readyz")

    def at(self, served: Served) -> Endpoint:
        """The same at another replica."""
        return replace(self, address=address_of(served.url))


def endpoint(
    served: Served, rootfs: Path, contract: Contract | None, requests: Iterable[Any] = ()
) -> Endpoint:
    """What is known of a replica.

    Args:
        served: the replica.
        rootfs: of its image.
        contract: of its image; None where it has none.
        requests: known requests, where the contract holds no example.
    """
    known = [example.request for example in contract.examples] if contract else []
    known = known or list(requests)[:1]
    return Endpoint(
        address_of(served.url),
        served.route,
        settings_of(rootfs),
        contract,
        known[0] if known else None,
        bool(known),
    )


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def settings_of(rootfs: Path) -> Settings | None:
    """What Serinus' own server in an image was told; None where there is none."""
    file = rootfs / SETTINGS.lstrip("/")
    return Settings.from_json(file.read_text("utf-8")) if file.is_file() else None


def ask(
    endpoint: Endpoint, request: wire.Request, patience: float = wire.PATIENCE, **fields: str
) -> wire.Answer:
    """The answer to one request; a service that has too much to do is asked again.

    Raises:
        wire.NoAnswer, wire.Late, wire.Malformed: there is none, or none but that it has too much to do.
    """
    return patiently(lambda: idle(wire.once(endpoint.address, request, patience, **fields)))


def busy(answer: wire.Answer) -> bool:
    """Whether a service says that it has too much to do, and when to come again. Pure."""
    return answer.status == 503 and answer.header("retry-after") is not None


class Busy(wire.Late):
    """The service has too much to do; what was asked of it is to be asked again."""


def idle(answer: wire.Answer) -> wire.Answer:
    """The answer, of a service that is not busy.

    Raises:
        Busy: it is.
    """
    if busy(answer):
        raise Busy("the service had too much to do, however often it was asked")
    return answer


def patiently(attempt: Callable[[], T]) -> T:
    """What an attempt returns, made again as long as the service is :class:`Busy`, for some seconds.

    Raises:
        Busy: it stays so.
    """
    until = time.monotonic() + _BUSY
    while True:
        try:
            return attempt()
        except Busy:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def needs_contract(endpoint: Endpoint) -> Contract:
    """The contract that the server holds requests to.

    Raises:
        NotApplicable: there is none, or the server is not Serinus'.
    """
    if endpoint.settings is None:
        raise NotApplicable(
            "another server than Serinus' answers in this image, which promises nothing about this",
            "Build the image with `serinus build`.",
        )
    if endpoint.contract is None:
        raise NotApplicable(
            "the service has no contract: nothing says what a request must be",
            "Draw one from examples: `serinus contract write --from-examples`.",
        )
    return endpoint.contract


def expect(
    endpoint: Endpoint, what: str, request: wire.Request, statuses: Iterable[int], todo: str
) -> tuple[Finding, ...]:
    """What is wrong with the answer to a faulty request: its status, or that it does not say what is wrong.

    Args:
        endpoint: the service.
        what: the request, for people: ``a body that is cut off``.
        request: the request.
        statuses: those that are right.
        todo: what to do about a wrong one.
    """
    try:
        return refused(what, endpoint, ask(endpoint, request), statuses, todo)
    except (wire.NoAnswer, wire.Late, wire.Malformed) as error:
        return (Finding(f"{what} at {endpoint.route}: {error.message}", todo),)


def refused(
    what: str, endpoint: Endpoint, answer: wire.Answer, statuses: Iterable[int], todo: str
) -> tuple[Finding, ...]:
    """As :func:`expect`, of an answer that is there. Pure."""
    right = sorted(set(statuses))
    if answer.status not in right:
        expected = f"{right[0]} to {right[-1]}" if len(right) > 3 else " or ".join(map(str, right))
        return (
            Finding(
                f"{what} at {endpoint.route} was answered {answer}; expected the status {expected}", todo
            ),
        )
    if answer.status >= 400 and not says_why(answer, endpoint.guarded):
        return (
            Finding(
                f"{what} at {endpoint.route} was answered {answer}, which does not say what is wrong",
                "Let the body name what was found and what was expected.",
            ),
        )
    return ()


def says_why(answer: wire.Answer, problem: bool) -> bool:
    """Whether an error says more than its status.

    Args:
        answer: the error.
        problem: whether it must be problem details (RFC 9457) with a ``detail``.
    """
    document = answer.document
    kind = (answer.header("content-type") or "").partition(";")[0]
    if problem:
        told = document.get("detail") if isinstance(document, dict) else None
        fits = kind == "application/problem+json" and isinstance(told, str)
        return fits and document.get("status") == answer.status and _more_than_phrase(str(told))
    return _more_than_phrase(answer.body.decode("utf-8", "replace"))


def _more_than_phrase(text: str) -> bool:
    return text.strip().lower().strip("'\".!{} ") not in ("", *_PHRASES)
