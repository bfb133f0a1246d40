"""The project: a folder with a ``serinus.toml``, as a frozen value.

The tables and keys are declared here, each with its rule in the field's metadata and its documentation in the
string under it; ``docs/reference/project-file.md`` is made from this module. ``file`` reads them by pydantic,
and keeps what it found valid, because importing pydantic takes longer than the whole rest of a small build.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "serinus.toml"
RESERVED = ("/healthz", "/readyz", "/metrics", "/openapi.json")
"""Routes that the server answers itself, beside everything under ``/v2``."""


def _key(default: Any = ..., **rule: Any) -> Any:
    """A key of the project file: its default (``...`` means it must be given) and the rule for its value."""
    return field(metadata=rule) if default is ... else field(default=default, metadata=rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What answers predictions, and how its server behaves."""

    name: str = _key(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$")
    """Name of the service and of its image: lower-case letters and digits, single `.`, `_` or `-` between."""
    entrypoint: str | None = _key(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """`module:attribute` of a typed function or of a WSGI or ASGI app. Without it, `model.path` is an ONNX
    file that is served as it is."""
    route: str = _key("/predict", pattern=r"^/[^\s?#]*$", unreserved=True)
    """Path of the URL that answers predictions."""
    port: int = _key(5000, ge=1, le=65535)
    """Port the server listens on."""
    workers: int = _key(1, ge=1, le=256)
    """Processes that serve."""
    max_body: int = _key(16 << 20, unit="bytes", gt=0)
    """Largest request body, in bytes or like `"16MiB"`; a larger one is answered 413."""
    deadline: float = _key(30.0, unit="seconds", gt=0)
    """Longest time for one answer, in seconds or like `"30s"`; after it the caller gets 504."""
    queue: int = _key(256, ge=1)
    """Requests under way or waiting; one more is answered 503 with `Retry-After`."""
    grace: float = _key(30.0, unit="seconds", gt=0)
    """After SIGTERM, the time that requests in flight may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model: where it comes from, and where the service finds it."""

    source: str | None = _key(None, min_length=1)
    """Where the model comes from: a file or a folder, relative to the project. Default: `model.path`."""
    path: str | None = _key(None, inside=True)
    """Where the service finds the model, relative to its working directory. Default: `model.source`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFiles:
    """Where the contract stands, if it is not inferred from a typed function or an ONNX file."""

    request: str | None = _key(None, inside=True)
    """File with the JSON Schema of a request."""
    response: str | None = _key(None, inside=True)
    """File with the JSON Schema of a response."""
    examples: str | None = _key(None, inside=True)
    """File with examples, one `{"request": ..., "response": ...}` a line; the response may be left out.
    Default: `examples.jsonl` if there is one."""
    openapi: str | None = _key(None, inside=True)
    """File with the app's own OpenAPI 3 description in JSON; the contract is that of `service.route`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """How the image is built, and what it is called."""

    repository: str | None = _key(None, min_length=1)
    """Where `serinus publish` pushes to when no reference is given: `ghcr.io/acme/sentiment`."""
    base: str = _key("debian:bookworm", min_length=1)
    """Base image: `debian:SUITE` assembled from packages, a registry reference, or `oci:PATH[:TAG]`."""
    python: str = _key("3.11", pattern=r"^3\.\d+$")
    """Minor version of the base's Python, for which the dependencies are locked."""
    requirements: str | None = _key(None, inside=True)
    """File with the dependencies: requirements lines, or a `pyproject.toml`. Default: `requirements.txt` if
    there is one."""
    platforms: tuple[str, ...] = _key(("linux/amd64",), min_length=1, each=r"^linux/[a-z0-9_]+(?:/v\d+)?$")
    """Platforms to build for; more than one makes an index."""
    ignore: tuple[str, ...] = _key(())
    """Patterns of files that stay out of the image, beside `.serinusignore` and the defaults."""
    allow_secrets: tuple[str, ...] = _key(())
    """Patterns of files that look like secrets and are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: its folder, and what its file says.

    The tables are plain values; :meth:`load` checks them.
    """

    root: Path
    service: Service
    model: Model = Model()
    contract: ContractFiles = ContractFiles()
    image: Image = Image()

    @classmethod
    def load(cls, path: str | Path = ".") -> Project:
        """Read a project.

        Args:
            path: the project's folder, its ``serinus.toml``, or a ``pyproject.toml`` with ``[tool.serinus]``.

        Raises:
            ProjectError: no file, not TOML, or a wrong key: with its line, what was found and expected.
        """
        from serinus.project.file import load

        return load(Path(path))


TABLES: dict[str, type] = {"service": Service, "model": Model, "contract": ContractFiles, "image": Image}
"""The tables of the project file, by name."""
