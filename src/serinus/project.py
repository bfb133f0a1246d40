"""The project file: ``serinus.toml`` becomes a frozen :class:`Project`. Nothing else reads configuration.

The same tables may stand under ``[tool.serinus]`` in ``pyproject.toml``. Every key has a default but
``service.name``; an unknown key is an error. The documentation of the keys is made from this module.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

FILE = "serinus.toml"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _quantity(value: Any, units: dict[str, Any], example: str) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", value)):
        if match[2] in units:
            return float(match[1]) * units[match[2]]
    if isinstance(value, str):
        raise ValueError(f"a number with one of the units {', '.join(units)}, like {example}")
    return value


Seconds = Annotated[float, BeforeValidator(lambda v: _quantity(v, _UNITS, '"30s"')), Field(gt=0)]
Size = Annotated[
    int, BeforeValidator(lambda v: int(q) if isinstance(q := _quantity(v, _SIZES, '"16MiB"'), float) else q), Field(gt=0)
]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Service(_Table):
    """What answers predictions, and how its server behaves."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$")]
    """Name of the service and of its image: lower-case letters, digits and single separators."""
    entrypoint: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")] | None = None
    """`module:attribute` of a typed function or of a WSGI or ASGI app. Without it the ONNX file at `model.path` is served."""
    route: Annotated[str, Field(pattern=r"^/[^\s?#]*$")] = "/predict"
    """Path of the URL that answers predictions."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5000
    """Port the server listens on."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that serve."""
    max_body: Size = 16 << 20
    """Largest request body; a larger one is answered 413."""
    deadline: Seconds = 30.0
    """Longest time for one answer; after it the caller gets 504."""
    queue: Annotated[int, Field(ge=1)] = 256
    """Requests under way or waiting; one more is answered 503 with `Retry-After`."""
    grace: Seconds = 30.0
    """After SIGTERM, the time that requests in flight may take."""


class Model(_Table):
    """The model: where it comes from, and where the service finds it."""

    source: str | None = None
    """Where the model comes from: a path (file or folder) relative to the project. Without it `path` is the source."""
    path: str | None = None
    """Where the service finds the model, relative to its working directory: a file, or a folder."""


class ContractFiles(_Table):
    """Where the contract stands, if it is not inferred from the typed function or the ONNX file."""

    request: str | None = None
    """File with the JSON Schema of a request."""
    response: str | None = None
    """File with the JSON Schema of a response."""
    examples: str | None = None
    """File with examples, one `{"request": ..., "response": ...}` a line; the response may be left out."""
    openapi: str | None = None
    """File with the app's own OpenAPI 3 description, from which the contract of `service.route` is read."""


class Image(_Table):
    """How the image is built, and what it is called."""

    repository: str | None = None
    """Where `serinus publish` pushes to when no reference is given: `ghcr.io/acme/sentiment`."""
    base: str = "debian:bookworm"
    """Base image: `debian:SUITE` assembled from packages, a registry reference, or `oci:PATH[:TAG]`."""
    python: Annotated[str, Field(pattern=r"^3\.\d+$")] = "3.11"
    """Minor version of the base's Python, for which dependencies are locked."""
    requirements: str | None = None
    """File with the project's dependencies: requirements lines, or a `pyproject.toml`. Default: `requirements.txt` if there is one."""
    platforms: tuple[str, ...] = ("linux/amd64",)
    """Platforms to build for; more than one makes an index."""
    ignore: tuple[str, ...] = ()
    """Patterns of files that stay out of the image, beside `.serinusignore` and the defaults."""
    allow_secrets: tuple[str, ...] = ()
    """Patterns of files that look like secrets and are not."""


class Project(_Table):
    """A project: its folder, and what its file says."""

    root: Annotated[Path, Field(exclude=True)]
    service: Service
    model: Model = Model()
    contract: ContractFiles = ContractFiles()
    image: Image = Image()
