"""What Docker and Podman have in common: the same commands, a container per replica.

An :class:`Engine` is the program, its own arguments, and a way to load an image into it. A container runs as
the sandbox does: root file system read-only, its own ``/tmp``, no capability, none to be gained. It is
named after its replica and its port, labelled with the process that started it, and removed with its
volumes when the replica has ended, or at the latest when that process ends. What a killed process left is
removed when the same replica starts again.

The container of a lasting replica has the replica's name, and labels by which it is found again. Whatever
bears that name makes way when the replica starts, so there are never two of them: not even if a process is
killed while the engine, which goes on by itself, is making the first.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from serinus.errors import RegistryError, RuntimeUnavailable
from serinus.registry.reference import parse
from serinus.runtimes import Bind, Replica, Running, Survivor
from serinus.runtimes import launch as launching
from serinus.runtimes.containers import COMMAND_TIMEOUT, Container, LastingContainer, Ran, words
from serinus.runtimes.following import Follow, follow
from serinus.runtimes.launch import Image, plain

LABEL = "dev.serinus.replica"
"""Label of every container that Serinus starts; its value is the replica's name."""
OWNER = "dev.serinus.owner"
"""Label: the process that started it, see :func:`owner`."""
ENVIRONMENT, VERSION, NUMBER, PORT = (
    f"dev.serinus.{word}" for word in ("environment", "version", "number", "port")
)
"""Labels of lasting ones: what :class:`~serinus.runtimes.Survivor` says."""
_OTHER = "dev.serinus.label."
"""How the names of the labels begin that the starter of a replica wants to find again."""
_TMP = "/tmp"  # noqa: S108 (the container's own)


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
    tags = (tag for tag, image in replica.layout.tags().items() if image.digest == digest)
    reference = next(filter(_is_reference, tags), f"serinus:{digest.partition(':')[2][:12]}")
    kind: Literal["docker", "podman"] = "docker" if engine.name == "docker" else "podman"
    program, *arguments = engine.command
    load(kind, replica.layout, replica.image, reference, program=program, arguments=arguments)


def _is_reference(tag: str) -> bool:
    """Whether an engine takes a name; a layout takes any."""
    try:
        return not parse(tag).digest
    except RegistryError:
        return False


def run(argv: Sequence[str], timeout: float | None = None) -> Ran:
    """Run a command in a session of its own, so that the Ctrl-C that ends us leaves it to us to end it.

    And away from the project: where Podman was started it leaves a file ``oom`` for a container that took
    more memory than it may.
    """
    done = subprocess.run(
        list(argv),
        cwd=tempfile.gettempdir(),
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
    follow: Follow = follow
    """Runs what is to be read while it runs."""

    def call(self, *arguments: str, timeout: float | None = COMMAND_TIMEOUT) -> Ran:
        """One command of the engine.

        Raises:
            RuntimeUnavailable: the program is not installed.
        """
        try:
            return self.runner([*self.command, *arguments], timeout)
        except (FileNotFoundError, PermissionError) as error:
            raise RuntimeUnavailable(f"{self.command[0]} cannot be run: {error}", self.remedy) from None

    def start(self, replica: Replica) -> Running:
        """Start a replica in a container of its own; its image is loaded first if the engine lacks it.

        Raises:
            RuntimeUnavailable: the engine is not there, does not answer, or refused; its own words are given.
            NotFound: the image is not for this machine.
        """
        self.check_limits(replica.memory, replica.cpus)
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
            self._remove(replica, name)
            raise RuntimeUnavailable(
                f"{self.name} did not start replica {replica.name!r}: {words(done)}", _advice(done, self)
            )
        identity = done.out.split()[-1]
        return LastingContainer(self, identity) if replica.lasting else Container(self, identity)

    def list(self, environment: str) -> tuple[Survivor, ...]:
        """The lasting replicas of an environment, by their containers' labels."""
        done = self.call(
            "ps", "--all", "--no-trunc", "--quiet", "--filter", f"label={ENVIRONMENT}={environment}"
        )
        if done.code != 0:
            raise RuntimeUnavailable(f"{self.name} does not answer: {words(done)}", self.remedy)
        if not done.out.split():
            return ()
        told = self.call("container", "inspect", *done.out.split())  # leaves out what has gone meanwhile
        return tuple(self._survivor(container) for container in json.loads(told.out or "[]"))

    def _survivor(self, container: Mapping[str, Any]) -> Survivor:
        labels = container["Config"]["Labels"]
        alive = bool(container["State"]["Running"])
        others = {k.removeprefix(_OTHER): v for k, v in labels.items() if k.startswith(_OTHER)}
        running = LastingContainer(self, container["Id"], ended=not alive)
        number, port = int(labels[NUMBER]), int(labels[PORT])
        return Survivor(labels[LABEL], labels[VERSION], number, port, others, alive, running)

    def check_limits(self, memory: int | None, cpus: float | None) -> None:
        """Make sure that the engine and its kernel hold these limits: they are known to drop them in silence.

        Raises:
            RuntimeUnavailable: they do not.
        """
        if memory is None and cpus is None:
            return
        info = self._check_alive()
        controllers = info.get("host", {}).get("cgroupControllers")
        if controllers is None:
            held = {"memory": info.get("MemoryLimit", True), "cpu": info.get("CpuCfsQuota", True)}
        else:
            held = {name: name in controllers for name in ("memory", "cpu")}
        for name, given in (("memory", memory), ("cpu", cpus)):
            if given is not None and not held[name]:
                raise RuntimeUnavailable(
                    f"{self.name} cannot limit the {name} of a replica: the kernel gives it no control group",
                    "Leave the limit out, or enable the group (cgroup_enable=memory, systemd's Delegate=).",
                )

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
        if not replica.lasting and lives((json.loads(done.out) or {}).get(OWNER, "")):
            raise RuntimeUnavailable(
                f"replica {replica.name!r} runs already on port {replica.port} in {self.name}, as {name}",
                "Stop it, or give this one another name or port.",
            )
        self._remove(replica, name)

    def _remove(self, replica: Replica, name: str) -> None:
        if replica.lasting:  # it may run, and Podman would give it ten seconds
            self.call("kill", name)
        self.call("rm", "--force", "--volumes", name)

    def _check_alive(self) -> dict[str, Any]:
        done = self.call("info", "--format", "{{json .}}")
        if done.code != 0:
            raise RuntimeUnavailable(f"{self.name} does not answer: {words(done)}", self.remedy)
        return dict(json.loads(done.out))


def container_name(replica: Replica) -> str:
    """The name of a replica's container: one per name and port, of a lasting one per name.

    >>> from serinus.registry.layout import Layout
    >>> from serinus.registry import Descriptor
    >>> container_name(Replica("my app", Layout("x"), Descriptor("", "", 0), 5000))
    'serinus-my-app-5000'
    """
    name = f"serinus-{plain(replica.name)}"
    return name if replica.lasting else f"{name}-{replica.port}"


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
        *_flags("--label", _labels(replica)),
        *("--read-only", "--tmpfs", _TMP, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--publish", f"{replica.address}:{replica.port}:{image.launch.ports[0]}"),
        *_flags("--env", {"SERINUS_VERSION": replica.image.digest, **replica.env}),
        *(() if replica.memory is None else ("--memory", f"{replica.memory}b")),
        *(() if replica.cpus is None else ("--cpus", f"{replica.cpus:g}")),
        *(part for bind in replica.binds for part in ("--volume", _volume(bind))),
    ]


def _labels(replica: Replica) -> dict[str, str]:
    if not replica.lasting:
        return {LABEL: replica.name, OWNER: owner()}
    return {
        LABEL: replica.name,
        ENVIRONMENT: replica.environment,
        VERSION: replica.image.digest,
        NUMBER: str(replica.number),
        PORT: str(replica.port),
        **{_OTHER + name: value for name, value in replica.labels.items()},
    }


def _flags(flag: str, pairs: Mapping[str, str]) -> Iterator[str]:
    for name, value in pairs.items():
        yield from (flag, f"{name}={value}")


def _volume(bind: Bind) -> str:
    return f"{bind.source.resolve()}:{bind.target}{'' if bind.writable else ':ro'}"


def _advice(done: Ran, engine: Engine) -> str:
    if re.search(r"port is already allocated|address already in use", done.err):
        return "Choose another port, or stop what listens there."
    return engine.remedy
