"""Docker: replicas as containers of a Docker daemon, through its command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from serinus.runtimes.engine import Engine, Load, Runner, bring, run

REMEDY = (
    "Install Docker (apt-get install docker.io), start its daemon, and let this user reach it (group docker)."
)


def docker(*, runner: Runner = run, load: Load = bring, environ: Mapping[str, str] = os.environ) -> Engine:
    """The runtime that runs images in Docker.

    Docker's own variables hold (``DOCKER_HOST``, ``DOCKER_CONTEXT``). Global arguments of the program
    (``--context``, ``--host``) are taken from ``SERINUS_DOCKER_ARGS``.

    Args:
        runner: runs the program.
        load: brings an image into the engine.
        environ: where the arguments stand.
    """
    command = ("docker", *shlex.split(environ.get("SERINUS_DOCKER_ARGS", "")))
    return Engine("docker", command, REMEDY, load, runner)
