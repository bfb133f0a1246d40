"""The report of a run is attached to the image that was looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from serinus.checks import Status, Verdict
from serinus.checks.everything import attached
from serinus.checks.report import Report
from serinus.checks.subjects import Given
from serinus.cli import run
from serinus.registry import CONFIG, MANIFEST, Descriptor
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout
from serinus.runtimes.named import runtime


def test_an_image_that_the_layout_has_not_is_left_alone(tmp_path: Path) -> None:
    given = Given(Layout(tmp_path / "layout"), runtime("sandbox"))
    assert not attached(given, Report("mood", "sha256:" + "0" * 64, (), 1.0))
    assert not attached(given, Report("mood", None, (), 1.0))


def test_what_was_attached_is_read_by_its_tag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout(tmp_path / ".serinus" / "layout")
    with layout.new_blob() as blob:
        blob.write(b"{}")
    config = Descriptor(CONFIG, digest_of(b"{}"), 2).to_json()
    body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}).encode()
    image = Descriptor(MANIFEST, digest_of(body), len(body))
    layout.write_manifest(image, body, ["mood:checked"])
    given = Given(layout, runtime("sandbox"))
    report = Report("mood:checked", image.digest, (Verdict("code.a", Status.PASSED, "fine"),), 1.0)
    assert not attached(replace(given, url="http://127.0.0.1:1"), report)
    assert attached(given, report)
    assert run(["report", "mood:checked", "-C", str(tmp_path)]) == 0
    assert "code.a" in capsys.readouterr().out
