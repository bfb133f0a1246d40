"""Every check of a project or an image, with all that they look at: what ``serinus check`` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from serinus.checks import Check
from serinus.checks.report import Report
from serinus.checks.run import Moment, run
from serinus.checks.subjects import Given
from serinus.errors import NotFound
from serinus.events import Noted, Observer, ignore
from serinus.files import scripts_folder
from serinus.image.stages import FOLDER
from serinus.project import Project
from serinus.registry.layout import Layout
from serinus.runtimes import Runtime
from serinus.runtimes.named import runtime as named


def checks_of(project: Project | None) -> tuple[Check, ...]:
    """The checks that Serinus brings, and those of a project.

    Raises:
        ProjectError: a file of the project's checks cannot be imported.
    """
    from serinus.checks.catalogue import CHECKS
    from serinus.checks.own import find

    return (*CHECKS, *find(project.root)) if project else CHECKS


def run_checks(
    project: Project | str | Path | None = ".",
    *,
    image: str | None = None,
    source: bool = False,
    against: str | None = None,
    runtime: str | Runtime = "sandbox",
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    jobs: int | None = None,
    fail_fast: bool = False,
    tell: Callable[[Moment], None] = lambda moment: None,
    observer: Observer = ignore,
    folder: Path = Path(),
) -> Report:
    """Check every layer, in parallel; the report is attached to the image where the project's layout has it.

    Args:
        project: the project, or its folder; None where an image is checked without one.
        image: a built image to check: a tag of the layout, ``oci:PATH[:TAG]`` or a reference. Without it
            the project is built, and its image and its source tree are checked.
        source: the named image was built from the project as it is, whose source tree is checked too.
        against: the image of the version in charge, to compare with; default ``checks.against``.
        runtime: what starts replicas: ``sandbox``, ``docker``, ``podman``, or one of your own.
        only: ids, layers or patterns of the checks to run; none runs all.
        skip: those to leave out; the report says so.
        jobs: how many run at once; default twice the cores.
        fail_fast: start nothing more once a check has failed.
        tell: told what happens: ``Planned``, ``Began``, ``Ended``.
        observer: told of the steps of a build or a download, and that the report was attached.
        folder: where ``.serinus`` is, if there is no project.

    Raises:
        ProjectError: the project's file, its own checks, or a name in ``only`` or ``skip`` is wrong.
        RuntimeUnavailable: there is no such runtime.
    """
    loaded = project if isinstance(project, Project) or project is None else Project.load(project)
    root = loaded.root if loaded else folder
    given = Given(
        Layout(root / FOLDER / "layout"),
        named(runtime) if isinstance(runtime, str) else runtime,
        loaded,
        image,
        against,
        with_source=source,
        observer=observer,
    )
    checks = checks_of(loaded)
    scripts_folder()  # the tools of some checks ask for it without waiting for each other
    report = run(checks, given, only=only, skip=skip, jobs=jobs, fail_fast=fail_fast, tell=tell)
    if attached(given, report):
        observer(Noted(f"report: attached to {report.name}, {report.digest}"))
    return report


def attached(given: Given, report: Report) -> bool:
    """Attach a report to its image, and say whether that was done.

    It is not done where a running service was looked at, and where the project's layout has no such image.
    """
    from serinus.checks.statement import attach

    if report.digest is None or given.url is not None:
        return False
    try:
        given.layout.resolve(report.digest)
    except NotFound:
        return False
    attach(given.layout, report)
    return True
