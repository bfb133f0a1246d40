"""What Docker and Podman have in common: the same commands, a container per replica.

An :class:`Engine` is the program, its own arguments, and a way to load an image into it. A container runs as
the sandbox does: root file system read-only, its own ``/tmp``, no capability, none to be gained. It is
named after its replica and its port, labelled with the process that started it, and removed with its
volumes when the replica has ended, or at the latest when that process ends. What a killed process left is
removed when the same replica starts again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from serinus.errors import RuntimeUnavailable
from serinus.runtimes import Replica
from serinus.runtimes import launch as launching
from serinus.runtimes.launch import Image

LABEL = "dev.serinus.replica"
"""Label of every container that Serinus starts; its value is the replica's name."""
OWNER = "dev.serinus.owner"
"""Label: the process that started it, see :func:`owner`."""
_KILLED = 137
_TMP = "/tmp"  # noqa: S108 (the container's own)
_COMMAND_TIMEOUT = 600.0
"""Seconds that an engine may take for one command: starting a first container can take long, for ever not."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str


class Runner(Protocol):
    """Runs a command to its end."""

    def __call__(self, argv: Sequence[str], timeout: float | None = None) -> Ran:
        """Run it; ``TimeoutExpired`` after ``timeout`` seconds, FileNotFoundError without the program."""
        ...


Load = Callable[["Engine", Replica], object]
"""Brings the image of a replica into an engine."""


def bring(engine: Engine, replica: Replica) -> None:
    """Load an image from its layout, streamed; it gets the name that it has there, or one by its digest."""
    from serinus.image.archive import load

    digest = replica.image.digest
    named = (tag for tag, image in replica.layout.tags().items() if image.digest == digest)
    reference = next(named, f"serinus:{digest.partition(':')[2][:12]}")
    kind: Literal["docker", "podman"] = "docker" if engine.name == "docker" else "podman"
    program, *arguments = engine.command
    load(kind, replica.layout, replica.image, reference, program=program, arguments=arguments)


def run(argv: Sequence[str], timeout: float | None = None) -> Ran:
    """Run a command in a session of its own, so that the Ctrl-C that ends us leaves it to us to end it."""
    done = subprocess.run(
        list(argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        start_new_session=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine behind its command line; a :class:`~serinus.runtimes.Runtime`."""

    name: str
    command: tuple[str, ...]
    """The program and its global arguments."""
    remedy: str
    """What to install or start when it is not there."""
    load: Load
    runner: Runner = run

    def call(self, *arguments: str, timeout: float | None = _COMMAND_TIMEOUT) -> Ran:
        """One command of the engine.

        Raises:
            RuntimeUnavailable: the program is not installed.
        """
        try:
            return self.runner([*self.command, *arguments], timeout)
        except (FileNotFoundError, PermissionError) as error:
            raise RuntimeUnavailable(f"{self.command[0]} cannot be run: {error}", self.remedy) from None

    def start(self, replica: Replica) -> Container:
        """Start a replica in a container of its own; its image is loaded first if the engine lacks it.

        Raises:
            RuntimeUnavailable: the engine is not there, does not answer, or refused; its own words are given.
            NotFound: the image is not for this machine.
        """
        image = launching.read(replica.layout, replica.image)
        found = self._find(image)
        if not found:
            self._check_alive()
            self.load(self, replica)
            found = self._find(image)
        if not found:
            raise RuntimeUnavailable(
                f"{self.name} loaded image {replica.image.digest}, and does not have it afterwards under "
                f"{image.config.digest} or {image.manifest.digest}",
                f"See with `{self.name} image ls --no-trunc --digests` what it has.",
            )
        name = container_name(replica)
        self._make_way(replica, name)
        done = self.call(*arguments(replica, image, name), found)
        if done.code != 0:
            self.call("rm", "--force", "--volumes", name)
            raise RuntimeUnavailable(
                f"{self.name} did not start replica {replica.name!r}: {_words(done)}", _advice(done, self)
            )
        return Container(self, done.out.split()[-1])

    def _find(self, image: Image) -> str:
        """The name under which the engine has the image; empty if it has not."""
        for digest in (image.config.digest, image.manifest.digest):
            if self.call("image", "inspect", "--format", "{{.Id}}", digest).code == 0:
                return digest
        return ""

    def _make_way(self, replica: Replica, name: str) -> None:
        """Remove what a process that is gone has left under this name."""
        done = self.call("container", "inspect", "--format", "{{json .Config.Labels}}", name)
        if done.code != 0:
            return
        if lives((json.loads(done.out) or {}).get(OWNER, "")):
            raise RuntimeUnavailable(
                f"replica {replica.name!r} runs already on port {replica.port} in {self.name}, as {name}",
                "Stop it, or give this one another name or port.",
            )
        self.call("rm", "--force", "--volumes", name)

    def _check_alive(self) -> None:
        done = self.call("info", "--format", "{{json .}}")
        if done.code != 0:
            raise RuntimeUnavailable(f"{self.name} does not answer: {_words(done)}", self.remedy)


class Container:
    """A replica in a container. Once it has ended its container is gone, and its log kept here."""

    def __init__(self, engine: Engine, identity: str) -> None:
        self._engine = engine
        self._id = identity
        self._code: int | None = None
        self._log = b""
        self._removal = weakref.finalize(self, engine.call, "rm", "--force", "--volumes", identity)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds."""
        if self._code is not None:
            return self._code
        running, code = self._state()
        if running and timeout != 0:
            try:
                self._engine.call("wait", self._id, timeout=timeout)
            except subprocess.TimeoutExpired:
                return None
            running, code = self._state()
        return None if running else self._end(code)

    def stop(self, grace: float = 30.0) -> int:
        """Its stop signal, and SIGKILL after ``grace`` seconds; the exit code."""
        if self._code is not None:
            return self._code
        self._engine.call(
            "stop", "--time", str(max(0, round(grace))), self._id, timeout=grace + _COMMAND_TIMEOUT
        )
        return self._end(self._state()[1])

    def logs(self, since: int = 0) -> bytes:
        """What it has written so far from that byte on, standard output before standard error."""
        if self._code is None:
            done = self._engine.call("logs", self._id)
            return (done.out + done.err).encode()[since:]
        return self._log[since:]

    def _state(self) -> tuple[bool, int]:
        done = self._engine.call("inspect", "--format", "{{json .State}}", self._id)
        if done.code != 0:
            return False, _KILLED  # somebody else removed it
        state = json.loads(done.out)
        return bool(state["Running"]), int(state["ExitCode"])

    def _end(self, code: int) -> int:
        self._log = self.logs()
        self._code = code
        self._removal()
        return code


def container_name(replica: Replica) -> str:
    """The name of a replica's container: one per name and port.

    >>> from serinus.registry.layout import Layout
    >>> from serinus.registry import Descriptor
    >>> container_name(Replica("my app", Layout("x"), Descriptor("", "", 0), 5000))
    'serinus-my-app-5000'
    """
    return f"serinus-{re.sub(r'[^A-Za-z0-9_.-]+', '-', replica.name)}-{replica.port}"


def owner(pid: int | None = None) -> str:
    """A process, by number and start, ``PID-TICKS`` (``proc(5)``): no later one has the same."""
    pid = os.getpid() if pid is None else pid
    text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return f"{pid}-{text.rpartition(')')[2].split()[19]}"


def lives(label: str) -> bool:
    """Whether the process of :func:`owner` is still there."""
    pid = label.partition("-")[0]
    if not pid.isdecimal():
        return False
    try:
        return owner(int(pid)) == label
    except (FileNotFoundError, ProcessLookupError):
        return False


def arguments(replica: Replica, image: Image, name: str) -> list[str]:
    """What the engine is told, up to the image.

    Raises:
        RuntimeUnavailable: the image says of no port that it listens on it.
    """
    if not image.launch.ports:
        raise RuntimeUnavailable(
            f"image {replica.image.digest} exposes no TCP port, so none can be published",
            "Build it with serinus build, or add EXPOSE to its Dockerfile.",
        )
    return [
        *("run", "--detach", "--pull", "never", "--name", name),
        *("--label", f"{LABEL}={replica.name}", "--label", f"{OWNER}={owner()}"),
        *("--read-only", "--tmpfs", _TMP, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--publish", f"{replica.address}:{replica.port}:{image.launch.ports[0]}"),
        *("--env", f"SERINUS_VERSION={replica.image.digest}"),
        *(part for name, value in replica.env.items() for part in ("--env", f"{name}={value}")),
    ]


def _words(done: Ran) -> str:
    lines = [line.strip() for line in (done.err or done.out).splitlines() if line.strip()]
    return " ".join(lines[-3:]) or f"exit code {done.code}"


def _advice(done: Ran, engine: Engine) -> str:
    if re.search(r"port is already allocated|address already in use", done.err):
        return "Choose another port, or stop what listens there."
    return engine.remedy
