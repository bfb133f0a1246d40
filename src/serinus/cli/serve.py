"""``serinus serve``."""

from __future__ import annotations

import gc
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, json_option, project_option

if TYPE_CHECKING:
    from serinus.runtimes import Running
    from serinus.runtimes.local import Local

RUNTIMES = ("sandbox", "docker", "podman")


@click.command()
@click.option(
    "--image", metavar="REF", help="Run a built image instead: a tag of the layout, oci:PATH, a reference."
)
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="sandbox", show_default=True, help="What runs it."
)
@click.option(
    "--port", "-p", type=click.IntRange(0, 65535), help="Port on loopback.  [default: the project's]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--reload/--no-reload", default=True, show_default=True, help="Start again when a file changes."
)
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to become ready.")
@project_option
@json_option
@click.pass_obj
def serve(
    output: Output,
    image: str | None,
    runtime: str,
    port: int | None,
    host: str,
    reload: bool,
    timeout: float,
    folder: str,
) -> int:
    """Run the service here.

    From source, or with --image a built image in the sandbox, Docker or Podman.
    """
    gc.enable()  # this command lasts
    wanted = _Wanted(output, folder, host, _port(folder, port), timeout)
    return _source(wanted, reload) if image is None else _image(wanted, image, runtime)


@dataclass(frozen=True)
class _Wanted:
    """What both ways of serving have to know."""

    output: Output
    folder: str
    host: str
    port: int
    timeout: float
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"  # noqa: S104

    def heed_signals(self) -> None:
        """From now on SIGTERM and SIGINT stop the service in good order; before, they interrupt."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())


def _port(folder: str, port: int | None) -> int:
    from serinus.errors import ProjectError
    from serinus.project import Project

    if port is None:
        try:
            return Project.load(folder).service.port
        except ProjectError:
            return 5000
    if port == 0:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return int(free.getsockname()[1])
    return port


def _source(wanted: _Wanted, reload: bool) -> int:
    from serinus.project import Project
    from serinus.runtimes.local import Local, Prepared, changes, prepare

    def prepared(project: Project) -> Prepared:
        made = prepare(project, wanted.port, host=wanted.host, observer=wanted.output.observer)
        wanted.heed_signals()
        return made

    local = Local(lambda: Project.load(wanted.folder), prepared, wanted.output.observer)
    project = Project.load(wanted.folder)
    document = {"runtime": "source", "project": str(project.root)}
    local.start()
    try:
        if not reload:
            return _until_stopped(wanted, local, document)
        watch = _Watch(wanted, local, document)
        for changed in changes(project, wanted.stop):
            watch.look(changed)
        return 0
    finally:
        local.stop()


class _Watch:
    """Serving from source while somebody works on it: says when it is ready, and starts again on a change."""

    def __init__(self, wanted: _Wanted, local: Local, document: dict[str, Any]) -> None:
        self._output = wanted.output
        self._local = local
        self._url = wanted.url
        self._document: dict[str, Any] | None = document
        self._settled = False
        self._begin = time.monotonic()

    def look(self, changed: set[str]) -> None:
        """What to do now, some files having changed or none."""
        if changed:
            names = ", ".join(sorted(Path(path).name for path in changed)[:3])
            self._output.note(f"changed: {names}; starting again")
            self._begin = time.monotonic()
            self._settled = not self._local.restart()
        elif not self._settled:
            self._settled = self._is_settled()

    def _is_settled(self) -> bool:
        """Whether there is nothing to wait for but the next change; says what has become of the start."""
        from serinus.runtimes.wait import ask

        code = self._local.wait(0)
        if code is not None:
            self._output.note(f"the service ended with exit code {code}; waiting for a change")
            return True
        status, why = ask(self._url)
        if status == 200:
            seconds = time.monotonic() - self._begin
            _say_ready(self._output, self._url, seconds, self._document)
            self._document = None
            return True
        if ": not ready: " in why:
            self._output.note(f"{why}\nwaiting for a change")
            return True
        return False


def _image(wanted: _Wanted, name: str, runtime: str) -> int:
    from serinus.image.publish import find
    from serinus.image.stages import FOLDER
    from serinus.registry.layout import Layout
    from serinus.runtimes import Replica
    from serinus.runtimes.named import runtime as named

    own = Layout(Path(wanted.folder) / FOLDER / "layout")
    layout, image = find(name, own, observer=wanted.output.observer)
    wanted.heed_signals()
    replica = Replica(f"serve-{wanted.port}", layout, image, wanted.port, wanted.host)
    running = named(runtime).start(replica)
    try:
        document = {"runtime": runtime, "image": name, "digest": image.digest}
        return _until_stopped(wanted, running, document)
    finally:
        running.stop()


def _until_stopped(wanted: _Wanted, running: Running, document: dict[str, Any]) -> int:
    """Say where it answers once it is ready; pass on its log until it ends or is stopped; the exit code."""
    from serinus.runtimes.wait import follow, ready

    def sleep(seconds: float) -> None:
        if wanted.stop.wait(seconds):
            raise KeyboardInterrupt

    seconds = ready(wanted.url, running, timeout=wanted.timeout, sleep=sleep)
    _say_ready(wanted.output, wanted.url, seconds, document)
    return follow(running, lambda new: click.echo(new, nl=False, err=True), stop=wanted.stop.is_set)


def _say_ready(output: Output, url: str, seconds: float, document: dict[str, Any] | None) -> None:
    """Say where it answers; the first time that is the command's result, ``document``."""
    line = f"ready at {url} after {seconds:.1f} s"
    if document is None:
        output.note(line)
    else:
        output.result({"url": url, "seconds": round(seconds, 3), **document}, [line])
