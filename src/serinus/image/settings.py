"""What the server is told of a project: ``service.json``."""

from __future__ import annotations

from dataclasses import asdict

from serinus.project import Project
from serinus.serving import Settings


def settings(project: Project, *, model: str | None, contract: str | None, build: str = "") -> Settings:
    """The settings of a project's service.

    Args:
        project: the project.
        model: path of the model, relative to the working directory of the service.
        contract: path of the contract file, where the service finds it.
        build: digest over the image's layers.
    """
    told = asdict(project.service)
    del told["version"]  # of the promise: the server gives out the digest
    return Settings(**told, model=model, contract=contract, build=build)
