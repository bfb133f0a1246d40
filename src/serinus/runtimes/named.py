"""A runtime by the name that a person gives it."""

from __future__ import annotations

from pathlib import Path

from serinus.errors import RuntimeUnavailable
from serinus.runtimes import Runtime

NAMES = ("sandbox", "docker", "podman")


def runtime(name: str, *, state: Path | None = None) -> Runtime:
    """The runtime of that name; its adapter is imported only then.

    Args:
        name: one of :data:`NAMES`.
        state: where the sandbox notes its lasting replicas; the engines note theirs themselves.

    Raises:
        RuntimeUnavailable: there is none of that name.
    """
    if name == "docker":
        from serinus.runtimes.docker import docker

        return docker()
    if name == "podman":
        from serinus.runtimes.podman import podman

        return podman()
    if name == "sandbox":
        from serinus.runtimes.sandbox import Sandbox

        return Sandbox(state=state)
    raise RuntimeUnavailable(f"there is no runtime {name!r}", f"Name one of {', '.join(NAMES)}.")
