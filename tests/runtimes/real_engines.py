"""The runtimes of this machine, as parameters of a test."""

from __future__ import annotations

import json
import subprocess

import pytest

from serinus.registry import Descriptor
from serinus.registry.layout import Layout
from serinus.runtimes import Runtime
from serinus.runtimes.docker import docker
from serinus.runtimes.podman import podman
from serinus.runtimes.sandbox import Sandbox

ENGINES = {"docker": docker, "podman": podman}
REAL = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ENGINES]
RUNTIMES = [pytest.param("sandbox", marks=pytest.mark.sandbox), *REAL]


def runtime_of(name: str) -> Runtime:
    """The runtime by its name."""
    return Sandbox() if name == "sandbox" else ENGINES[name]()


def forget(name: str, layout: Layout, image: Descriptor) -> None:
    """Take an image out of an engine."""
    config = json.loads(layout.manifest(image))["config"]["digest"]
    subprocess.run([name, "image", "rm", "--force", config], capture_output=True, check=False)
