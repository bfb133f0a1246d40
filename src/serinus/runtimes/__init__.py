"""Runtimes: what runs a replica of an image.

A :class:`Runtime` has three adapters: ``sandbox`` (bubblewrap and the image's own root file system,
unprivileged), ``docker`` and ``podman``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from serinus.registry import Descriptor
from serinus.registry.layout import Layout


@dataclass(frozen=True, slots=True)
class Replica:
    """What to run: an image of a layout, under a name, on a loopback port."""

    name: str
    layout: Layout
    image: Descriptor
    port: int
    """Port on 127.0.0.1 at which the service is to answer."""
    address: str = "127.0.0.1"
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Variables beside those of the image."""


class Running(Protocol):
    """A replica that was started."""

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds."""
        ...

    def stop(self, grace: float = 30.0) -> int:
        """SIGTERM, and SIGKILL after ``grace`` seconds; the exit code."""
        ...

    def logs(self, since: int = 0) -> bytes:
        """What it has written so far, from that byte on."""
        ...


class Runtime(Protocol):
    """Runs images. ``start`` returns at once; whether the service is ready is asked over HTTP."""

    @property
    def name(self) -> str:
        """What a person calls it: ``sandbox``, ``docker``, ``podman``."""
        ...

    def start(self, replica: Replica) -> Running:
        """Start a replica.

        Raises:
            RuntimeUnavailable: the runtime is not there or refused; the message says what to install.
        """
        ...
