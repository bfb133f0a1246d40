"""``serinus build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, human_size, json_option, project_option, table

if TYPE_CHECKING:
    from serinus.image import Built
    from serinus.image.archive import Engine
    from serinus.project import Project
    from serinus.registry.layout import Layout


@click.command()
@click.option("--tag", "-t", default="latest", show_default=True, help="Tag in the layout.")
@click.option(
    "--output",
    "-o",
    "outputs",
    multiple=True,
    metavar="KIND:PATH",
    help="Also write docker-archive:FILE, oci-archive:FILE or oci:DIR.",
)
@click.option(
    "--load", "engines", multiple=True, type=click.Choice(["docker", "podman"]), help="Also load it there."
)
@click.option(
    "--platform",
    "platforms",
    metavar="LIST",
    help="Such as linux/amd64,linux/arm64; more than one makes an index.",
)
@click.option("--locked", is_flag=True, help="Fail if serinus.lock is missing or out of date.")
@click.option("--upgrade", is_flag=True, help="Resolve the dependencies and the base anew.")
@click.option(
    "--dockerfile",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a Dockerfile that builds the same service, instead of an image.",
)
@project_option
@json_option
@click.pass_obj
def build(
    output: Output,
    tag: str,
    outputs: tuple[str, ...],
    engines: tuple[Engine, ...],
    platforms: str | None,
    locked: bool,
    upgrade: bool,
    dockerfile: Path | None,
    folder: str,
) -> None:
    """Build the project into an OCI image.

    The image goes into the layout in `.serinus/layout`; no container engine is asked.
    """
    from serinus.image.build import build as build_image
    from serinus.image.build import layout_of
    from serinus.project import Project

    project = Project.load(folder)
    if dockerfile is not None:
        _dockerfile(output, project, dockerfile, locked)
        return
    built = build_image(
        project,
        tag=tag,
        locked=locked,
        upgrade=upgrade,
        platforms=tuple(platforms.split(",")) if platforms else None,
        observer=output.observer,
    )
    written = _hand_on(output, layout_of(project), built, outputs, engines) if outputs or engines else []
    output.result(_document(built, written), _lines(built, written))


def _hand_on(
    output: Output, layout: Layout, built: Built, outputs: tuple[str, ...], engines: tuple[Engine, ...]
) -> list[str]:
    from serinus.image.archive import load, parse_output, write

    for text in outputs:
        write(layout, built.descriptor, built.reference, parse_output(text), observer=output.observer)
    for engine in engines:
        load(engine, layout, built.descriptor, built.reference, observer=output.observer)
    return [*outputs, *engines]


def _document(built: Built, written: list[str]) -> dict[str, Any]:
    layers = [
        {
            "name": layer.name,
            "digest": layer.descriptor.digest,
            "size": layer.descriptor.size,
            "diff_id": layer.diff_id,
            "cached": layer.cached,
        }
        for layer in built.layers
    ]
    return {
        "digest": built.descriptor.digest,
        "reference": built.reference,
        "size": built.size,
        "layers": layers,
        "written": written,
    }


def _lines(built: Built, written: list[str]) -> list[str]:
    rows = [
        (f"  {layer.name}", human_size(layer.descriptor.size), "cached" if layer.cached else "new")
        for layer in built.layers
    ]
    return [
        *table(rows),
        f"{built.reference}  {human_size(built.size)}",
        built.descriptor.digest,
        *(f"written: {text}" for text in written),
    ]


def _dockerfile(output: Output, project: Project, folder: Path, locked: bool) -> None:
    from serinus.image import lock as locks
    from serinus.image.dockerfile import export
    from serinus.image.promises import of_project
    from serinus.image.sources import with_model

    project = with_model(project, output.observer)
    lock, inputs = locks.ensure(project, locked=locked, observer=output.observer)
    contract = of_project(project, output.observer)
    files = [folder / file for file in export(project, lock, contract, folder, index=inputs.index)]
    lines = [*(f"wrote {path}" for path in files), f"Next: docker build {folder}"]
    output.result({"files": [str(path) for path in files]}, lines)
