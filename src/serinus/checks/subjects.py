"""What checks look at: the values behind the names of their parameters."""

from __future__ import annotations

import http.client
import json
import select
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serinus.checks.logs import reason
from serinus.contract.wire import pointer
from serinus.errors import ServiceError
from serinus.events import Observer, ignore
from serinus.image import LABEL_CONTRACT, Layer
from serinus.project import Checks, Project
from serinus.registry import Descriptor
from serinus.registry.layout import Layout
from serinus.registry.places import Connect, connect
from serinus.runtimes import Running, Runtime
from serinus.serving import VIOLATION

if TYPE_CHECKING:
    import httpx

    from serinus.image.lock import Inputs, Lock


@dataclass(frozen=True, slots=True)
class Given:
    """What a run of checks was asked to look at, and with what."""

    layout: Layout
    """Holds the image, or is to hold it."""
    runtime: Runtime
    """Starts replicas."""
    project: Project | None = None
    """None where an image is checked and no project is at hand."""
    image: str | None = None
    """Tag of the layout, ``oci:PATH[:TAG]`` or reference of the image; None builds the project's."""
    against: str | None = None
    """The image of the version in charge, named likewise; default that of the project's file."""
    url: str | None = None
    """Where the service answers already; None starts it."""
    with_source: bool = False
    """Whether the named image was built from the project's source tree, and that is looked at too."""
    observer: Observer = ignore
    connect: Connect = connect

    @property
    def sourceless(self) -> bool:
        """Whether what is looked at has no source tree here."""
        return self.url is not None or (self.image is not None and not self.with_source)

    @property
    def settings(self) -> Checks:
        """The table ``[checks]`` of the project's file, or its defaults."""
        return self.project.checks if self.project else Checks()


@dataclass(frozen=True, slots=True)
class Locked:
    """The project's lock as it was found, and what it is to be made from."""

    lock: Lock | None
    inputs: Inputs


@dataclass(frozen=True)
class Subject:
    """An image that is looked at: one platform's, in a layout."""

    name: str
    """As a person called it."""
    layout: Layout
    named: Descriptor
    """What the name stands for: the manifest, or the index of several platforms; reports are about it."""
    manifest: Descriptor
    """Of the image for this machine."""
    layers: tuple[Layer, ...]
    config: Mapping[str, Any] = field(hash=False)
    """The OCI image configuration, decoded."""

    @property
    def digest(self) -> str:
        """Of what the name stands for."""
        return self.named.digest

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The labels of its configuration."""
        found: Mapping[str, str] = self.config.get("config", {}).get("Labels") or {}
        return found

    @property
    def size(self) -> int:
        """Bytes of its layers as they are stored."""
        return sum(layer.descriptor.size for layer in self.layers)

    @property
    def is_ours(self) -> bool:
        """Whether ``serinus build`` made it."""
        return LABEL_CONTRACT in self.labels or "dev.serinus.model" in self.labels


@dataclass(frozen=True, slots=True)
class Served:
    """A replica that answers."""

    url: str
    """``http://127.0.0.1:PORT``, without a slash at its end."""
    route: str
    """Path that answers predictions."""
    running: Running | None = None
    """None where somebody else started it."""
    seconds: float = 0.0
    """From the start to readiness."""
    unfit: str = ""
    """Why it is not ready although it answers: an example that it answers wrongly."""


class Refused(ServiceError):
    """The service answered a request with something else than a prediction.

    Attributes:
        status: of HTTP.
        problem: its problem details (RFC 9457), or an empty mapping.
        violation: JSON Pointer of the header ``serinus-violation``, or None.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], violation: str | None, text: str) -> None:
        told = text if problem.get("id") else problem.get("detail") or problem.get("title") or text
        super().__init__(f"the service answered {status}: {told[:300]}")
        self.status = status
        self.problem = problem
        self.violation = violation


class Service:
    """A service under check: called with a request, it gives back the response, both decoded JSON.

    Safe to be shared between threads. Labelled data are thousands of requests, and all checks share one
    interpreter: they go through ``http.client``, which takes a third of the time of an ``httpx.Client``.

    Args:
        client: speaks HTTP to it, and knows where it is.
        route: path that answers predictions.
        running: the replica behind it, for its log; None where somebody else started it.
    """

    def __init__(self, client: httpx.Client, route: str, running: Running | None = None) -> None:
        self.client = client
        self.route = route
        self._running = running
        self._idle: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close the connections that are kept for further requests."""
        while self._idle:
            self._idle.pop().close()

    def reason(self, problem: Mapping[str, Any]) -> str:
        """Why the service failed to answer, from the log of the replica; empty where it does not say."""
        if self._running is None or not problem.get("id"):
            return ""
        return reason(self._running.logs(), str(problem["id"]))

    def __call__(self, request: Any) -> Any:
        """The response to a request.

        Raises:
            Refused: the status is not 2xx.
            ServiceError: the body is not JSON.
        """
        status, violation, content = self._post(json.dumps(request).encode())
        text = content.decode("utf-8", "replace")
        if not 200 <= status < 300:
            problem = _problem(content)
            raise Refused(status, problem, violation, self.reason(problem) or text)
        try:
            return json.loads(content)
        except ValueError as error:
            raise ServiceError(f"the service answered {text[:80]!r}, which is not JSON: {error}") from None

    def _post(self, body: bytes) -> tuple[int, str | None, bytes]:
        """Status, header ``serinus-violation`` and body of the answer."""
        connection = self._connection()
        try:
            answer = self._asked(connection, body)
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer.status, answer.headers.get(VIOLATION), content

    def _asked(self, connection: http.client.HTTPConnection, body: bytes) -> http.client.HTTPResponse:
        """The head of the answer; on a new connection where a kept one was closed meanwhile.

        The service may close one while a request is on its way (RFC 9112, section 9.5). Whoever asks for a
        prediction twice does no harm; and a service that cannot answer does not answer the second time.
        """
        kept = connection.sock is not None
        try:
            connection.request("POST", self._target, body, {"content-type": "application/json"})
            return connection.getresponse()
        except ConnectionError:
            if not kept:
                raise
        connection.close()  # it connects anew when it is used again
        return self._asked(connection, body)

    @cached_property
    def _target(self) -> str:
        return self.client.build_request("POST", self.route).url.raw_path.decode("ascii")

    def _connection(self) -> http.client.HTTPConnection:
        """One that is idle, or a new one; it connects when it is first used."""
        try:
            kept = self._idle.pop()
        except IndexError:
            url = self.client.base_url
            kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
            return kind(url.host, url.port, timeout=self.client.timeout.read)
        if kept.sock is not None:
            waiting = select.poll()
            waiting.register(kept.sock, select.POLLIN)
            if waiting.poll(0):
                kept.close()  # the service closed it meanwhile: it is to connect anew
        return kept


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row of labelled data."""

    request: Any
    label: Any
    """What the prediction should be."""
    slice: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Which groups it belongs to: ``{"source": "film"}``."""
    line: int = 0
    """In its file, from 1."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a service answered to one row: the response, or why there is none."""

    response: Any = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Alone:
    """What a replica answered that was asked one request at a time."""

    requests: tuple[Any, ...]
    rounds: tuple[tuple[Answered, ...], ...]
    """The first has an answer to each request; the others to the first few of them."""


def at(document: Any, path: str) -> Any:
    """What a JSON Pointer (RFC 6901) points at.

    Raises:
        LookupError: there is nothing.
    """
    for part in path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        elif isinstance(document, dict) and name in document:
            document = document[name]
        else:
            raise LookupError(f"there is nothing at {path}")
    return document


def joined(*parts: str | int) -> str:
    """The JSON Pointer of a path."""
    return pointer(parts)


def relative(file: Path, project: Project | None) -> str:
    """A file as findings name it: relative to the project's folder where it lies there."""
    if project is not None and file.is_relative_to(project.root):
        return str(file.relative_to(project.root))
    return str(file)
