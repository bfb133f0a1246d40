"""The report of a run is attached to the image that was looked at."""

from __future__ import annotations

from pathlib import Path

from serinus.checks.everything import attached
from serinus.checks.report import Report
from serinus.checks.subjects import Given
from serinus.registry.layout import Layout
from serinus.runtimes.named import runtime


def test_an_image_that_the_layout_has_not_is_left_alone(tmp_path: Path) -> None:
    given = Given(Layout(tmp_path / "layout"), runtime("sandbox"))
    assert not attached(given, Report("mood", "sha256:" + "0" * 64, (), 1.0))
    assert not attached(given, Report("mood", None, (), 1.0))
