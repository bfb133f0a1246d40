"""Services: what the router asks of a typed function, a bare ONNX file or a foreign app alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from serinus.contract import Contract
from serinus.serving.answers import Answer
from serinus.serving.rsgi import Exchange, Headers, Scope


class Predictor(Protocol):
    """A typed function or a model: the body of a request in, the body of a response out."""

    @property
    def contract(self) -> Contract:
        """What it promises by itself; the router holds responses to it."""
        ...

    async def answer(self, body: bytes) -> bytes:
        """One response, not yet held to the contract.

        Raises:
            Problem: 400 for malformed JSON, 422 with the faults for a request outside the contract.
            BrokenContract: the response cannot be written as the contract has it.
            Exception: whatever the service raised.
        """
        ...


class App(Protocol):
    """A foreign app behind WSGI or ASGI."""

    async def start(self) -> None:
        """Make it ready (the lifespan of ASGI)."""
        ...

    async def stop(self) -> None:
        """Let it clean up."""
        ...

    async def call(self, scope: Scope, body: bytes) -> Answer:
        """Its whole answer to one request."""
        ...

    async def stream(self, scope: Scope, exchange: Exchange, extra: Headers) -> int:
        """Let it answer by itself, piece by piece, with further header fields; the status."""
        ...


async def nothing() -> None:
    """Start or stop nothing."""


Mounted = Callable[[str, str, Mapping[str, str], bytes], Awaitable[Answer]]
"""Method, path, header fields and body of a request to what is mounted under a prefix; its answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of any kind, as the router sees it."""

    answer: Callable[[Scope, bytes], Awaitable[Answer]]
    """Answers a prediction; 2xx answers are then held to the contract."""
    contract: Contract | None = None
    """None: a foreign app of which nothing is known; nothing is checked."""
    start: Callable[[], Awaitable[None]] = nothing
    """Loads the model. Runs once, while the server already says that it is alive."""
    stop: Callable[[], Awaitable[None]] = nothing
    """Runs once, when the last request is answered."""
    stream: Callable[[Scope, Exchange, Headers], Awaitable[int]] | None = None
    """Answers every other route, for an app."""
    mounts: tuple[tuple[str, Mounted], ...] = ()
    """Further interfaces by prefix of the path: ``/v2`` for tensors."""


def predicting(predictor: Predictor) -> Callable[[Scope, bytes], Awaitable[Answer]]:
    """The ``answer`` of a :class:`Service` around a predictor."""

    async def answer(scope: Scope, body: bytes) -> Answer:
        return Answer(200, await predictor.answer(body))

    return answer
