"""Podman: replicas as containers of Podman, with or without root, through its command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from serinus.environment import Replica, Running
from serinus.environment.engine import Engine, Load, Runner, bring, run

REMEDY = (
    "Install Podman (apt-get install podman runc containernetworking-plugins); if its OCI runtime fails, "
    "name another: SERINUS_PODMAN_ARGS='--runtime runc', or runtime and default_ulimits in containers.conf."
)


class Podman:
    """Runs images in Podman.

    Podman's own configuration holds: ``containers.conf`` (``CONTAINERS_CONF``), ``CONTAINER_HOST``. Global
    arguments of the program (``--runtime``, ``--cgroup-manager``) are taken from ``SERINUS_PODMAN_ARGS``.

    Args:
        runner: runs the program.
        load: brings an image into the engine.
        environ: where the arguments stand.
    """

    name = "podman"

    def __init__(
        self, *, runner: Runner = run, load: Load | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        command = ("podman", *shlex.split(environ.get("SERINUS_PODMAN_ARGS", "")))
        self._engine = Engine(self.name, command, REMEDY, load or bring, runner)

    def start(self, replica: Replica) -> Running:
        """Start a replica.

        Raises:
            RuntimeUnavailable: Podman is not there or refused; the message says what to do.
        """
        return self._engine.start(replica)
