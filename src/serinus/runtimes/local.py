"""The service from its source tree: what ``serinus serve`` runs while somebody works on it.

It runs with the locked packages and nothing else that is installed here, as the image will, and is started
again when a file of the project changes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serinus.contract import Contract
from serinus.errors import SerinusError
from serinus.events import Noted, Observer, ignore
from serinus.files import cache_folder, write_atomically
from serinus.image import contracts, lock, promises
from serinus.image.settings import settings
from serinus.image.sources import ModelPlace, find_model, is_elsewhere, with_model
from serinus.image.stages import FOLDER
from serinus.project import Project


@dataclass(frozen=True, slots=True)
class Prepared:
    """How the service is started from source."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(hash=False)


def prepare(project: Project, port: int, *, host: str = "127.0.0.1", observer: Observer = ignore) -> Prepared:
    """Lock, install and infer what the service needs, and write its settings.

    Args:
        project: the project.
        port: to listen on; 0 takes a free one.
        host: address to listen on.
        observer: told of each step.

    Raises:
        LockError: the dependencies cannot be locked or installed.
        ContractError: the contract cannot be had, or an example breaks it.
        ProjectError, ModelError: the model is not there, or cannot be fetched.
    """
    project = with_model(project, observer)
    installed = promises.packages(project, observer)
    contract = promises.of_project(project, observer)
    folder = project.root / FOLDER / "serve"
    model = find_model(project)
    file = str(folder / "contract.json") if contract else None
    own = settings(project, model=model.path if model else None, contract=file)
    _write(folder, own.to_json(), contract)
    runtime = contracts.runtime_copy(cache_folder())
    contracts.forget_bytecode(cache_folder() / "bytecode", project.root)
    argv = (sys.executable, "-S", "-s", "-m", "serinus.serving", "--settings", str(folder / "service.json"))
    return Prepared(
        (*argv, "--host", host, "--port", str(port)),
        _workplace(project, model, folder / "here"),
        contracts.environment(os.environ, f"{runtime}:{installed}", cache_folder() / "bytecode"),
    )


def _write(folder: Path, service: str, contract: Contract | None) -> None:
    write_atomically(folder / "service.json", service.encode())
    if contract is not None:
        write_atomically(folder / "contract.json", contract.to_json().encode())


def _workplace(project: Project, model: ModelPlace | None, folder: Path) -> Path:
    """The folder in which the service finds its code, and its model under the path that it has in the image.

    That is the project's folder, unless the model comes from elsewhere: then a folder of links.
    """
    if model is None or model.source.resolve() == (project.root / model.path).resolve():
        return project.root
    shutil.rmtree(folder, ignore_errors=True)
    _mirror(project.root, folder, Path(model.path).parts, model.source.resolve())
    return folder


def _mirror(source: Path, target: Path, path: tuple[str, ...], model: Path) -> None:
    """Link all of a folder into another, but put the model at a path below it."""
    target.mkdir(parents=True)
    for entry in source.iterdir() if source.is_dir() else ():
        if entry.name not in (path[0], FOLDER):
            (target / entry.name).symlink_to(entry)
    if len(path) == 1:
        (target / path[0]).symlink_to(model)
    else:
        _mirror(source / path[0], target / path[0], path[1:], model)


class Local:
    """The service from source, started again on every change; a :class:`~serinus.runtimes.Running`.

    Args:
        project: loads the project anew, so that a change of its file counts.
        prepare: makes it startable; its errors are told, and the next change is tried.
        tell: told what a person should know.
    """

    def __init__(
        self, project: Callable[[], Project], prepare: Callable[[Project], Prepared], tell: Observer = ignore
    ) -> None:
        self._project = project
        self._prepare = prepare
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service.

        Raises:
            SerinusError: as ``prepare``.
        """
        prepared = self._prepare(self._project())
        self._process = subprocess.Popen(
            prepared.argv, cwd=prepared.cwd, env=dict(prepared.env), stdin=subprocess.DEVNULL
        )

    def restart(self) -> bool:
        """Stop the service and start it anew; whether that went well."""
        self.stop()
        try:
            self.start()
        except SerinusError as error:
            self._tell(Noted(f"not started: {error}"))
            return False
        return True

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace: float = 35.0) -> int:
        """SIGTERM, and SIGKILL after ``grace`` seconds; the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def logs(self, since: int = 0) -> bytes:
        """Nothing: it writes to our own standard error."""
        return b""


WATCHED = (".py", ".toml", ".json", ".jsonl", ".txt", ".yaml", ".yml", ".onnx", ".lock")
"""Endings of the files whose change starts the service again; so does any change of the model."""


def changes(project: Project, stop: threading.Event) -> Iterator[set[str]]:
    """The files of a project that changed, in groups, until ``stop`` is set.

    Between the changes, several times a second, an empty group.
    """
    from watchfiles import watch

    # A model from elsewhere lies in the cache, where nobody works on it.
    model = None if is_elsewhere(project) else find_model(project)
    places = [project.root, *([model.source] if model else [])]
    for group in watch(
        *places, stop_event=stop, debounce=200, rust_timeout=200, yield_on_timeout=True, raise_interrupt=False
    ):
        paths = {path for _, path in group}
        found = {
            path for path in paths if is_watched(Path(path), project.root, model.source if model else None)
        }
        if found or not paths:
            yield found


def is_watched(path: Path, root: Path, model: Path | None) -> bool:
    """Whether a change of a file is one of the service's: its model, or a source; not what Serinus writes."""
    if model is not None and path.is_relative_to(model):
        return True
    inside = path.relative_to(root).parts if path.is_relative_to(root) else ()
    hidden = any(part.startswith(".") for part in inside)
    return bool(inside) and not hidden and path.suffix in WATCHED and path.name != lock.FILE
