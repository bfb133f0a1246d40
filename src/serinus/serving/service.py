"""Services: what the router asks of a typed function, a bare ONNX file or a foreign app alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from serinus.contract import Contract
from serinus.serving.answers import Answer, Prediction
from serinus.serving.choice import Choice
from serinus.serving.rsgi import Exchange, Headers, Scope


class Predictor(Protocol):
    """A typed function or a model: the body of a request in, the body of a response out."""

    @property
    def contract(self) -> Contract:
        """What it promises by itself; the router holds responses to it."""
        ...

    def predict(self, body: bytes) -> Prediction | Awaitable[Prediction]:
        """One response, not yet held to the contract: at once, or to be awaited.

        Raises:
            Problem: 400 for malformed JSON, 422 with the faults for a request outside the contract.
            BrokenContract: the response cannot be written as the contract has it.
            Exception: whatever the service raised.
        """
        ...


Predict = Callable[[bytes], Prediction | Awaitable[Prediction]]
""":meth:`Predictor.predict`."""


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
    predict: Predict | None = None
    """The same for a function or a model, which need no more of a request than its body."""
    stream: Callable[[Scope, Exchange, Headers], Awaitable[int]] | None = None
    """Answers every other route, for an app."""
    mounts: tuple[tuple[str, Mounted], ...] = ()
    """Further interfaces by prefix of the path: ``/v2`` for tensors."""
    choice: Choice | None = None
    """Where predictions are computed, for whoever reads the log."""


def predicting(predictor: Predictor, mounts: tuple[tuple[str, Mounted], ...] = ()) -> Service:
    """A predictor as a service, with further interfaces to it."""

    async def answer(scope: Scope, body: bytes) -> Answer:
        made = predictor.predict(body)
        return Answer(200, (made if isinstance(made, Prediction) else await made).body)

    return Service(answer, predictor.contract, predict=predictor.predict, mounts=mounts)
