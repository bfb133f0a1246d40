"""Podman: replicas as containers of Podman, with or without root, through its command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from serinus.runtimes.engine import Engine, Load, Runner, bring, run

REMEDY = (
    "Install Podman (apt-get install podman runc containernetworking-plugins); if its OCI runtime fails, "
    "name another: SERINUS_PODMAN_ARGS='--runtime runc', or runtime and default_ulimits in containers.conf."
)


def podman(*, runner: Runner = run, load: Load = bring, environ: Mapping[str, str] = os.environ) -> Engine:
    """The runtime that runs images in Podman.

    Podman's own configuration holds: ``containers.conf`` (``CONTAINERS_CONF``), ``CONTAINER_HOST``. Global
    arguments of the program (``--runtime``, ``--cgroup-manager``) are taken from ``SERINUS_PODMAN_ARGS``.

    Args:
        runner: runs the program.
        load: brings an image into the engine.
        environ: where the arguments stand.
    """
    command = ("podman", *shlex.split(environ.get("SERINUS_PODMAN_ARGS", "")))
    return Engine("podman", command, REMEDY, load, runner)
