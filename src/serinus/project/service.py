"""The table of the project file that is about the service and its server."""

from __future__ import annotations

from dataclasses import dataclass

from serinus.project.declare import key as _key


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What answers predictions, and how its server behaves."""

    name: str = _key(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$")
    """Name of the service and of its image: lower-case letters and digits, single `.`, `_` or `-` between."""
    version: str | None = _key(None, pattern=r"^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?$")
    """Version of what the service promises, `MAJOR.MINOR.PATCH` (Semantic Versioning 2.0.0); it goes into the
    image. A change that breaks callers needs a new major version, see the check `contract.compatible`."""
    entrypoint: str | None = _key(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """`module:attribute` of a typed function or of a WSGI or ASGI app. Without it, `model.path` is an ONNX
    file that is served as it is."""
    route: str = _key("/predict", pattern=r"^/[^\s?#]*$", unreserved=True)
    """Path of the URL that answers predictions."""
    port: int = _key(5000, ge=1, le=65535)
    """Port the server listens on."""
    workers: int = _key(1, ge=1, le=256)
    """Processes that serve."""
    inference: str = _key("auto", pattern=r"^(?:auto|loop|threads)$")
    """Where predictions are computed: `threads`, beside the event loop; `loop`, on it, for a function or a
    model of microseconds, while which no other request goes on; `auto`: a model as its time at start
    says, a `def` function in threads. See [how a request travels](../explanation/serving.md)."""
    threads: int | None = _key(None, ge=1, le=1024)
    """Predictions that are computed at once in one worker. Default: as many as there are cores for a worker,
    of a WSGI app four more. The threads that numeric libraries start for one of them are as many as its share
    of the cores: `threads = 1` gives it all."""
    max_body: int = _key(16 << 20, unit="bytes", gt=0)
    """Largest request body, in bytes or like `"16MiB"`; a larger one is answered 413."""
    deadline: float = _key(30.0, unit="seconds", gt=0)
    """Longest time for one answer, in seconds or like `"30s"`; after it the caller gets 504."""
    queue: int = _key(2048, ge=1)
    """Requests under way or waiting, at most; one more is answered 503 with `Retry-After`. So is, before
    that, a request that would have to wait for seconds."""
    grace: float = _key(30.0, unit="seconds", gt=0)
    """After SIGTERM, the time that requests in flight may take."""
