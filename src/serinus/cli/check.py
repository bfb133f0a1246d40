"""``serinus check``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, here, json_option, project_option

if TYPE_CHECKING:
    from serinus.checks.report import Report
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
@click.option("--source", is_flag=True, help="With --image: check the source too, which it was built from.")
@click.option("--against", metavar="REF", help="The version in charge, to compare with.")
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="sandbox", show_default=True, help="What runs it."
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="KIND[:FILE]",
    help="json, junit, sarif, github or html, to a file or standard output; may be repeated.",
)
@click.option(
    "--from-failure",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Add a request that went wrong to the examples, and check those.",
)
@click.option("--verbose", is_flag=True, help="Tell every verdict and what was measured.")
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
    source: bool,
    against: str | None,
    runtime: str,
    formats: tuple[str, ...],
    from_failure: Path | None,
    verbose: bool,
    folder: str,
) -> int:
    """Check every layer, in parallel.

    Without --image the project is built, and its image and its source are checked. The report for people is
    written to .serinus/report.html. In GitHub Actions annotations are added, unless --format is given. Ends
    with 0 when nothing failed, 1 when a check failed, 2 when one could not run.
    """
    from serinus.checks.everything import checks_of, run_checks
    from serinus.cli import checking
    from serinus.image.stages import FOLDER

    project = _project(folder, optional=(image is not None and not source) or list_)
    checks = checks_of(project)
    if list_:
        output.result(checking.catalogue(checks), [*checking.listed(checks), *checking.takeable()])
        return 0
    if from_failure is not None:
        only = _kept(output, project, from_failure)
    root = project.root if project else Path(folder)
    page = root / FOLDER / "report.html"
    asked = formats or (("json",) if output.json else ("github",) if _in_actions() else ())
    wants = checking.wanted(asked, page)
    checking.writable(wants)
    shown = checking.display(output.json)
    choice: dict[str, Any] = {"only": only, "skip": skip, "jobs": jobs, "fail_fast": fail_fast}
    about: dict[str, Any] = {
        "image": image,
        "source": source,
        "against": against,
        "runtime": runtime,
        "folder": root,
    }
    try:
        report = run_checks(project, **about, **choice, tell=shown, observer=shown.observe)
    finally:
        shown.close()
    document = checking.deliver(report, checks, wants, page, root)
    said = [f"report: {here(page)}", *shown.notes]
    _tell(report, document, said, verbose=verbose, alone=checking.spoken(wants) not in {None, "github"})
    return _code(report)


def _in_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _tell(report: Report, document: str | None, said: list[str], *, verbose: bool, alone: bool) -> None:
    """The document, and lines for people: on standard error where a document is to be alone."""
    from serinus.checks.formats.github import summary
    from serinus.checks.formats.lines import lines, plain
    from serinus.cli.checking import summarise

    stream = sys.stderr if alone else sys.stdout
    coloured = stream.isatty() and not os.environ.get("NO_COLOR")
    style = (lambda text, colour: click.style(text, fg=colour or None)) if coloured else plain
    told = [*lines(report, verbose=verbose, style=style), *said]
    click.echo("\n".join(told), err=alone)
    if document:
        click.echo(document, nl=not document.endswith("\n"))
    summarise(summary(report))


def _kept(output: Output, project: Project | None, file: Path) -> tuple[str, ...]:
    """Add a failed request to the examples, say so, and name the checks that look at them."""
    from serinus.checks.failure import add
    from serinus.errors import ProjectError

    if project is None:
        raise ProjectError("there is no project whose examples could be added to", "Name it with --project.")
    kept = add(project, file, observer=output.observer)
    done = "added" if kept.new else "there already"
    output.note(f"{here(kept.file)}: example {kept.number} {done}")
    return "contract.examples", "behaviour.golden"


def _project(folder: str, optional: bool) -> Project | None:
    from serinus.errors import ProjectError
    from serinus.project import FILE, Project

    if optional and not Path(folder).is_file() and not (Path(folder) / FILE).is_file():
        try:
            return Project.load(folder)
        except ProjectError:
            return None
    return Project.load(folder)


def _code(report: Report) -> int:
    from serinus.checks import Status
    from serinus.cli import DONE, FAILED, NO

    return {Status.FAILED: NO, Status.BLOCKED: FAILED}.get(report.status, DONE)
