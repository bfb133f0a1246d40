"""``serinus check --image REF --source``: the image as it was built, and the source it was built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from serinus.checks import Status
from serinus.checks.everything import run_checks
from serinus.image.build import build
from serinus.project import Project
from serinus.project.start import start

ONLY = ("code.lint", "dependencies.pinned", "image.reproducible")


@pytest.mark.network
@pytest.mark.mmdebstrap
def test_an_image_is_checked_with_the_source_that_it_was_built_from(tmp_path: Path) -> None:
    start(tmp_path, name="greeting")
    project = Project.load(tmp_path)
    built = build(project, tag="1")

    def statuses(*, source: bool) -> set[Status]:
        report = run_checks(project, image="greeting:1", source=source, only=ONLY)
        assert report.digest == built.descriptor.digest
        return {verdict.status for verdict in report.verdicts}

    assert statuses(source=True) == {Status.PASSED}
    assert statuses(source=False) == {Status.NOT_APPLICABLE}
    with (tmp_path / "service.py").open("a") as file:
        file.write("\n# changed since\n")
    report = run_checks(project, image="greeting:1", source=True, only=["image.reproducible"])
    assert report.status is Status.FAILED
