"""Docker: replicas as containers of a Docker daemon, through its command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from serinus.environment import Replica, Running
from serinus.environment.engine import Engine, Load, Runner, bring, run

REMEDY = (
    "Install Docker (apt-get install docker.io), start its daemon, and let this user reach it (group docker)."
)


class Docker:
    """Runs images in Docker.

    Docker's own variables hold (``DOCKER_HOST``, ``DOCKER_CONTEXT``). Global arguments of the program
    (``--context``, ``--host``) are taken from ``SERINUS_DOCKER_ARGS``.

    Args:
        runner: runs the program.
        load: brings an image into the engine.
        environ: where the arguments stand.
    """

    name = "docker"

    def __init__(
        self, *, runner: Runner = run, load: Load | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        command = ("docker", *shlex.split(environ.get("SERINUS_DOCKER_ARGS", "")))
        self._engine = Engine(self.name, command, REMEDY, load or bring, runner)

    def start(self, replica: Replica) -> Running:
        """Start a replica.

        Raises:
            RuntimeUnavailable: Docker is not there or refused; the message says what to do.
        """
        return self._engine.start(replica)
