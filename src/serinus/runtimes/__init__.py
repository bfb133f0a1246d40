"""Runtimes: what runs a replica of an image.

A :class:`Runtime` has three adapters: ``sandbox`` (bubblewrap and the image's own root file system,
unprivileged), ``docker`` and ``podman``. A replica ends with the process that started it, unless it is
*lasting*: then it stays when that process ends or is killed, and the next one finds it by ``list``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from serinus.registry import Descriptor
from serinus.registry.layout import Layout


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder or file of the host that is to be seen inside, read-only unless ``writable``."""

    source: Path
    target: str
    """Absolute path inside."""
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Replica:
    """What to run: an image of a layout, under a name, on a loopback port."""

    name: str
    """Of a lasting one: unique on this machine, for it is found and replaced by its name."""
    layout: Layout
    image: Descriptor
    port: int
    """Port on 127.0.0.1 at which the service is to answer."""
    address: str = "127.0.0.1"
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Variables beside those of the image."""
    binds: tuple[Bind, ...] = ()
    memory: int | None = None
    """Bytes that it may take."""
    cpus: float | None = None
    """Cores that it may keep busy."""
    lasting: bool = False
    """Whether it stays when the process that started it ends."""
    environment: str = ""
    """What lasting replicas are listed by."""
    number: int = 0
    """Which of the replicas of its version it is."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What its starter wants to find again beside a lasting one."""


class Running(Protocol):
    """A replica that was started. Its methods may be called from several threads."""

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds.

        Of a lasting one ``wait(0)`` costs microseconds, so that it can be asked many times a second.
        """
        ...

    def stop(self, grace: float = 30.0) -> int:
        """SIGTERM, and SIGKILL after ``grace`` seconds; the exit code."""
        ...

    def logs(self, since: int = 0) -> bytes:
        """What it has written so far, from that byte on.

        Of a lasting one the last megabytes are kept; see :mod:`serinus.runtimes.tails` for ``since``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Survivor:
    """A lasting replica that was started some time ago, by this process or by one that is gone."""

    name: str
    version: str
    """Digest of its image."""
    number: int
    port: int
    labels: Mapping[str, str] = field(hash=False)
    alive: bool
    """Whether it runs; one that does not is to be cleared away by ``running.stop()``."""
    running: Running = field(compare=False)


class Runtime(Protocol):
    """Runs images. ``start`` returns at once; whether the service is ready is asked over HTTP."""

    @property
    def name(self) -> str:
        """What a person calls it: ``sandbox``, ``docker``, ``podman``."""
        ...

    def start(self, replica: Replica) -> Running:
        """Start a replica. What is left of a lasting one of this name makes way, alive or not.

        Raises:
            RuntimeUnavailable: the runtime is not there or refused; the message says what to install.
        """
        ...

    def list(self, environment: str) -> tuple[Survivor, ...]:
        """The lasting replicas of an environment that run, and those that ended and were not cleared away.

        Raises:
            RuntimeUnavailable: the runtime is not there or does not answer.
        """
        ...

    def check_limits(self, memory: int | None, cpus: float | None) -> None:
        """Make sure that these limits of a replica would be held.

        Raises:
            RuntimeUnavailable: one would not; the message says which, and what to do.
        """
        ...
