"""``serinus build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from serinus.cli.output import Output, human_size, json_option, project_option, table

if TYPE_CHECKING:
    from serinus.image import Built
    from serinus.project import Project
    from serinus.registry.layout import Layout


@click.command()
@click.option("--tag", "-t", help="Tag in the layout.  [default: latest]")
@click.option("--output", "-o", "outputs", multiple=True, metavar="KIND:FILE", help="Also write `docker-archive:FILE`, `oci-archive:FILE` or `oci:DIR`.")
@click.option("--load", "engines", multiple=True, type=click.Choice(["docker", "podman"]), help="Also load it into an engine.")
@click.option("--platform", "platforms", metavar="LIST", help="`linux/amd64,linux/arm64`; more than one makes an index.")
@click.option("--locked", is_flag=True, help="Fail where serinus.lock is missing or out of date.")
@click.option("--upgrade", is_flag=True, help="Resolve the lock and the base anew.")
@click.option("--dockerfile", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write a Dockerfile that builds the same service, instead of an image.")
@project_option
@json_option
@click.pass_obj
def build(
    output: Output,
    tag: str | None,
    outputs: tuple[str, ...],
    engines: tuple[str, ...],
    platforms: str | None,
    locked: bool,
    upgrade: bool,
    dockerfile: Path | None,
    folder: str,
) -> None:
    """Build the project into an OCI image in `.serinus/layout`, without a container engine."""
    from serinus.image.build import build as build_image
    from serinus.project import Project

    project = Project.load(folder)
    wanted = tuple(platforms.split(",")) if platforms else None
    if dockerfile is not None:
        return _dockerfile(output, project, dockerfile, locked)
