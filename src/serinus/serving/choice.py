"""Where predictions are computed: on the event loop, or in how many threads beside it; and why.

Decided from three things: what the service is, what was set by hand (``service.inference`` and
``service.threads`` of the project file), and how long a model took when it was loaded. What was set by hand
and cannot be is an error, before the server listens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from serinus.errors import ServiceError
from serinus.serving import Inference

LOOP_TIME = 200e-6
"""Seconds of inference that may be spent on the event loop."""
WSGI_MORE = 4
"""An app waits for files and databases more than it computes, hence more threads than cores."""
BY_HAND = "set by hand"


@dataclass(frozen=True, slots=True)
class Choice:
    """Where predictions are computed."""

    inference: Literal["loop", "threads"]
    threads: int
    """How many are computed at once in threads, by default or by hand."""
    why: str
    """For whoever reads the log."""
    seconds: float | None = None
    """How long the smallest request took when the model was loaded."""

    def told(self) -> dict[str, Any]:
        """The members of the log line ``ready``."""
        members: dict[str, Any] = {"inference": self.inference, "threads": self.threads, "why": self.why}
        if self.seconds is not None and math.isfinite(self.seconds):
            members["microseconds"] = round(self.seconds * 1e6, 1)
        return members


def of_model(inference: Inference, seconds: float, fit: float, threads: int) -> Choice:
    """An ONNX model.

    Args:
        inference: as it was set.
        seconds: the smallest request took so long; infinite where it could not be measured.
        fit: how many of the smallest requests could be computed within :data:`LOOP_TIME`.
        threads: inferences at once.
    """
    if inference != "auto":
        return Choice(inference, threads, BY_HAND, seconds)
    if math.isinf(seconds):
        return Choice("threads", threads, "the model does not take the request it is measured by", seconds)
    time = f"{LOOP_TIME * 1e6:.0f} µs"
    if fit < 1:
        return Choice("threads", threads, f"the smallest request takes longer than {time}", seconds)
    return Choice("loop", threads, f"{int(fit)} times the smallest request takes {time}", seconds)


def of_function(
    name: str, asynchronous: bool, inference: Inference, threads: int | None, cores: int
) -> Choice:
    """A typed function.

    Args:
        name: for messages.
        asynchronous: whether it is ``async def``.
        inference: as it was set.
        threads: as it was set.
        cores: that a worker may use.

    Raises:
        ServiceError: it is to run in threads and is ``async def``.
    """
    if asynchronous:
        if wanted := _threads(inference, threads):
            raise ServiceError(
                f"{wanted}, and {name} is async def, which runs on the event loop alone",
                f"Leave the key out, or define {name} with def.",
            )
        return Choice("loop", 0, BY_HAND if inference == "loop" else "the function is async def")
    if inference == "loop":
        return Choice("loop", 0, BY_HAND)
    why = BY_HAND if _threads(inference, threads) else "the function is def"
    return Choice("threads", threads or cores, why)


def of_app(kind: Literal["wsgi", "asgi"], inference: Inference, threads: int | None, cores: int) -> Choice:
    """A foreign app.

    Args:
        kind: its interface, which says where it runs.
        inference: as it was set.
        threads: as it was set.
        cores: that a worker may use.

    Raises:
        ServiceError: something else was set than its interface allows.
    """
    if kind == "asgi":
        if wanted := _threads(inference, threads):
            raise ServiceError(
                f"{wanted}, and an ASGI app runs on the event loop alone",
                "Leave the key out; the app starts threads of its own where it wants some.",
            )
        return Choice("loop", 0, "the app is ASGI")
    if inference == "loop":
        raise ServiceError(
            'service.inference = "loop", and a WSGI app, which may wait for anything, runs in threads alone',
            "Leave the key out.",
        )
    return Choice("threads", threads or cores + WSGI_MORE, BY_HAND if threads else "the app is WSGI")


def _threads(inference: Inference, threads: int | None) -> str:
    """The key by which threads were asked for; empty when they were not."""
    if inference == "threads":
        return 'service.inference = "threads"'
    return "" if threads is None else f"service.threads = {threads}"
