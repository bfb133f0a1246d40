"""``serinus serve``."""

from __future__ import annotations

import gc
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, json_option, project_option

if TYPE_CHECKING:
    from serinus.environment import Running, Runtime
    from serinus.environment.local import Local
    from serinus.project import Project

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
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if image is not None:
        return _image(output, image, runtime, host, _port(folder, port), timeout, folder, stop)
    return _source(output, host, _port(folder, port), reload, timeout, folder, stop)


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


def _source(
    output: Output, host: str, port: int, reload: bool, timeout: float, folder: str, stop: threading.Event
) -> int:
    from serinus.environment.local import Local, changes, prepare
    from serinus.project import Project

    def prepared(project: Project) -> Any:
        return prepare(project, port, host=host, observer=output.observer)

    local = Local(lambda: Project.load(folder), prepared, output.observer)
    project = Project.load(folder)
    document = {"runtime": "source", "project": str(project.root)}
    local.start()
    try:
        if not reload:
            _when_ready(output, local, host, port, timeout, stop, document)
            return _until(local, stop)
        watch = _Watch(output, local, _url(host, port), document)
        for changed in changes(project, stop):
            watch.look(changed)
        return 0
    finally:
        local.stop()


class _Watch:
    """Serving from source while somebody works on it: says when it is ready, and starts again on a change."""

    def __init__(self, output: Output, local: Local, url: str, document: dict[str, Any]) -> None:
        self._output = output
        self._local = local
        self._url = url
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
        from serinus.environment.wait import ask

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


def _image(
    output: Output,
    name: str,
    runtime: str,
    host: str,
    port: int,
    timeout: float,
    folder: str,
    stop: threading.Event,
) -> int:
    from serinus.environment import Replica
    from serinus.image.publish import find
    from serinus.image.stages import FOLDER
    from serinus.registry.layout import Layout

    layout, image = find(name, Layout(Path(folder) / FOLDER / "layout"), observer=output.observer)
    running = _runtime(runtime).start(Replica(f"serve-{port}", layout, image, port, host))
    try:
        document = {"runtime": runtime, "image": name, "digest": image.digest}
        _when_ready(output, running, host, port, timeout, stop, document)
        return _until(running, stop)
    finally:
        running.stop()


def _runtime(name: str) -> Runtime:
    if name == "docker":
        from serinus.environment.docker import Docker

        return Docker()
    if name == "podman":
        from serinus.environment.podman import Podman

        return Podman()
    from serinus.environment.sandbox import Sandbox

    return Sandbox()


def _when_ready(
    output: Output,
    running: Running,
    host: str,
    port: int,
    timeout: float,
    stop: threading.Event,
    document: dict[str, Any],
) -> None:
    """Wait until it is ready, and say where."""
    from serinus.environment.wait import ready

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise KeyboardInterrupt

    url = _url(host, port)
    _say_ready(output, url, ready(url, running, timeout=timeout, sleep=sleep), document)


def _url(host: str, port: int) -> str:
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104


def _say_ready(output: Output, url: str, seconds: float, document: dict[str, Any] | None) -> None:
    """Say where it answers; the first time that is the command's result, ``document``."""
    line = f"ready at {url} after {seconds:.1f} s"
    if document is None:
        output.note(line)
    else:
        output.result({"url": url, "seconds": round(seconds, 3), **document}, [line])


def _until(running: Running, stop: threading.Event) -> int:
    """Pass on the log until the service ends, or until we are told to stop; the exit code."""
    from serinus.environment.wait import follow

    return follow(running, lambda new: click.echo(new, nl=False, err=True), stop=stop.is_set)
