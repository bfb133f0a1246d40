"""``serinus check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from serinus.cli.output import Output, json_option, project_option, table

if TYPE_CHECKING:
    from serinus.checks import Check
    from serinus.checks.report import Report
    from serinus.checks.subjects import Given
    from serinus.project import Project

RUNTIMES = ("sandbox", "docker", "podman")


@click.command()
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check or layer; may be repeated.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Not this check or layer; the report says so.")
@click.option("--list", "list_", is_flag=True, help="Every check: its id, what it looks at, why it exists.")
@click.option("--fail-fast", is_flag=True, help="Start nothing more once a check has failed.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Checks at a time.  [default: twice the cores]")
@click.option(
    "--image", metavar="REF", help="Check a built image: a tag of the layout, oci:PATH, a reference."
)
@click.option("--against", metavar="REF", help="The version in charge, to compare with.")
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="sandbox", show_default=True, help="What runs it."
)
@project_option
@json_option
@click.pass_obj
def check(
    output: Output,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    list_: bool,
    fail_fast: bool,
    jobs: int | None,
    image: str | None,
    against: str | None,
    runtime: str,
    folder: str,
) -> int:
    """Check every layer, in parallel.

    Without --image the project is built, and its image and its source are checked.
    """
    from serinus.checks.run import run

    project = _project(folder, optional=image is not None or list_)
    checks = _all(project)
    if list_:
        output.result(
            [{"id": c.id, "looks_at": c.looks_at, "why": c.why} for c in checks],
            table([(c.id, c.looks_at, c.why) for c in checks]),
        )
        return 0
    given = _given(output, folder, project, image, against, runtime)
    report = run(checks, given, only=only, skip=skip, jobs=jobs, fail_fast=fail_fast)
    output.result(report.to_json(), _lines(report))
    return _code(report)


def _project(folder: str, optional: bool) -> Project | None:
    from serinus.errors import ProjectError
    from serinus.project import FILE, Project

    if optional and not Path(folder).is_file() and not (Path(folder) / FILE).is_file():
        try:
            return Project.load(folder)
        except ProjectError:
            return None
    return Project.load(folder)


def _all(project: Project | None) -> tuple[Check, ...]:
    from serinus.checks.catalogue import CHECKS
    from serinus.checks.own import find

    return (*CHECKS, *find(project.root)) if project else CHECKS


def _given(
    output: Output, folder: str, project: Project | None, image: str | None, against: str | None, runtime: str
) -> Given:
    from serinus.checks.subjects import Given
    from serinus.image.stages import FOLDER
    from serinus.registry.layout import Layout
    from serinus.runtimes.named import runtime as named

    root = project.root if project else Path(folder)
    return Given(Layout(root / FOLDER / "layout"), named(runtime), project, image, against)


def _lines(report: Report) -> list[str]:
    rows = [(v.status.value, v.check, f"{v.seconds:.2f} s", v.summary) for v in report.verdicts]
    return [*table(rows), f"{report.name}: {report.status.value} in {report.seconds:.1f} s"]


def _code(report: Report) -> int:
    from serinus.checks import Status
    from serinus.cli import DONE, FAILED, NO

    return {Status.FAILED: NO, Status.BLOCKED: FAILED}.get(report.status, DONE)
