"""``serinus serve``."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, json_option, project_option

if TYPE_CHECKING:
    from serinus.environment import Running, Runtime
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
    """Run the service here: from source, or a built image in the sandbox, Docker or Podman."""
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
    root = Project.load(folder).root
    local.start()
    try:
        _when_ready(output, local, host, port, timeout, stop, {"runtime": "source", "project": str(root)})
        if not reload:
            return _until(local, stop)
        for changed in changes(root, stop):
            names = ", ".join(sorted(Path(path).name for path in changed)[:3])
            output.note(f"changed: {names}; starting again")
            if local.restart():
                _when_ready(output, local, host, port, timeout, stop, None)
        return 0
    finally:
        local.stop()


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
    document: dict[str, Any] | None,
) -> None:
    """Wait until it is ready, and say where; ``document`` is the result of the command, once."""
    from serinus.environment.wait import ready

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise KeyboardInterrupt

    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
    seconds = ready(url, running, timeout=timeout, sleep=sleep)
    lines = [f"ready at {url} after {seconds:.1f} s"]
    if document is None:
        output.note(lines[0])
    else:
        output.result({"url": url, "seconds": round(seconds, 3), **document}, lines)


def _until(running: Running, stop: threading.Event) -> int:
    """Pass on the log until the service ends, or until we are told to stop; the exit code."""
    seen = 0
    while True:
        code = running.wait(0.2)
        text = running.logs()
        click.echo(text[seen:], nl=False, err=True)
        seen = len(text)
        if code is not None:
            return code
        if stop.is_set():
            return running.stop()
