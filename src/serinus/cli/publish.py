"""``serinus publish`` and ``serinus pull``."""

from __future__ import annotations

from pathlib import Path

import click

from serinus.cli.output import Output, json_option, project_option, table


@click.command()
@click.argument("references", nargs=-1, metavar="[REF]...")
@click.option("--image", metavar="NAME", help="Tag or digest in the layout.  [default: NAME:latest]")
@click.option("--jobs", default=4, show_default=True, type=click.IntRange(1, 32), help="Blobs at a time.")
@project_option
@json_option
@click.pass_obj
def publish(output: Output, references: tuple[str, ...], image: str | None, jobs: int, folder: str) -> int:
    """Push the image to one or more registries.

    Its SBOM and its report go along. Where `deploy.require` names checks, an image whose report does not show
    them as passed is refused with exit code 1, before anything is pushed.
    Without REF it goes to `image.repository` of the project, as `latest`.
    """
    from serinus.checks.gate import admit
    from serinus.cli import DONE, NO
    from serinus.errors import CheckError
    from serinus.image.build import layout_of
    from serinus.image.publish import publish as push
    from serinus.project import Project

    project = Project.load(folder)
    name = image or f"{project.service.name}:latest"
    layout = layout_of(project)
    try:
        if project.deploy.require:
            admit(layout, layout.resolve(name), project.deploy.require)
    except CheckError as error:
        output.error(type(error).__name__, error.message, error.todo)
        return NO
    pushed = push(project, layout, name, references, jobs=jobs, observer=output.observer)
    output.result(
        [{"reference": str(p.reference), "digest": p.digest, "bytes": p.sent} for p in pushed],
        table([(str(p.reference), p.digest) for p in pushed]),
    )
    return DONE


@click.command()
@click.argument("reference", metavar="REF")
@click.option(
    "--layout",
    "to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".serinus/layout"),
    show_default=True,
    metavar="DIR",
    help="The OCI layout that it is brought to.",
)
@click.option("--platform", help="Only this platform of a multi-platform index.")
@json_option
@click.pass_obj
def pull(output: Output, reference: str, to: Path, platform: str | None) -> None:
    """Bring an image from a registry.

    It goes to an OCI layout; every byte is verified by digest.
    """
    from serinus.image.publish import pull as fetch
    from serinus.registry.layout import Layout

    descriptor = fetch(reference, Layout(to), platform=platform, observer=output.observer)
    document = {"reference": reference, "digest": descriptor.digest, "layout": str(to)}
    output.result(document, [f"{reference}  {descriptor.digest}", f"in {to}"])
