"""Serving: what runs inside the image, and under ``serinus serve``.

One HTTP server (Granian, RSGI) in front of one of three services: a typed function, a bare ONNX file, or any
WSGI or ASGI app. ``python -m serinus.serving`` reads :class:`Settings` from a file and runs until SIGTERM.

This package imports ``contract`` and ``errors`` alone, and nothing that a build needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from serinus.errors import ServiceError

VERSION, VIOLATION, RECORD = "serinus-version", "serinus-violation", "serinus-record"
"""Header fields: the digest of the image that answered; the place at which the answer would have broken the
contract; and of a request, that its answer is to be noted in the log."""


Inference = Literal["auto", "loop", "threads"]
"""Where predictions are computed: on the event loop, which costs the least and lets nobody else in meanwhile,
in threads beside it, or as was measured when the model was loaded."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server must know: ``service.json`` in the image. Times are seconds, sizes bytes."""

    name: str
    entrypoint: str | None = None
    """``module:attribute`` of a typed function or an app; None serves the bare ONNX file."""
    model: str | None = None
    """Path of the model, relative to the working directory."""
    contract: str | None = None
    """Path of the contract file; None infers the contract at start (development only)."""
    route: str = "/predict"
    port: int = 5000
    workers: int = 1
    inference: Inference = "auto"
    """Of a WSGI or ASGI app there is nothing to choose."""
    threads: int | None = None
    """Calls that run at once in one worker; None: as many as :mod:`serinus.serving.choice` says."""
    max_body: int = 16 * 1024 * 1024
    """A larger request body is answered 413."""
    deadline: float = 30.0
    """A request that takes longer is answered 504."""
    queue: int = 2048
    """Requests under way or waiting, at most; one more is answered 503, as is one that would wait long."""
    grace: float = 30.0
    """After SIGTERM, how long requests in flight may take."""
    build: str = ""
    """Digest over the image's layers: ``serinus-version`` where the image digest was not passed in."""

    def to_json(self) -> str:
        """The text of ``service.json``; equal settings give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what :meth:`to_json` wrote.

        Raises:
            ServiceError: not JSON, or a member or a way of inference that this version does not know.
        """
        try:
            document: Mapping[str, Any] = json.loads(text)
        except ValueError as error:
            raise ServiceError(
                f"the service settings are not JSON: {error}", "Build the image again."
            ) from None
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(document) - known)
        if unknown or "name" not in document:
            found = f"unknown members {', '.join(unknown)}" if unknown else "no member 'name'"
            raise ServiceError(
                f"the service settings have {found}; known are {', '.join(sorted(known))}",
                "Build the image again with this version of Serinus.",
            )
        if (chosen := document.get("inference", "auto")) not in get_args(Inference):
            raise ServiceError(
                f"the service settings have inference {chosen!r}; expected {', '.join(get_args(Inference))}",
                "Correct service.inference, and build the image again.",
            )
        return cls(**document)
