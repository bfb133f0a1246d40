"""The page in a browser: its text is there, it asks for nothing, its policy lets its own style in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from serinus.checks import Finding, Plot, Status, Verdict
from serinus.checks.formats import FORMATS
from serinus.checks.report import Report, Span

PLOT = Plot("Latency", (("this", ((50, 0.004), (99, 0.9))),), "percentile", "seconds")
REPORT = Report(
    "mood",
    None,
    (Verdict("code.lint", Status.FAILED, "x", (Finding("<b>&amp;", "Mend it."),), (), (PLOT,)),),
    1.0,
    spans=(Span("code.lint", "lint", 0.0, 1.0, 1),),
)


def test_the_page_names_no_address() -> None:
    page = FORMATS["html"](REPORT, (), "")
    assert not re.search(r"https?:|url\(|@import|src=", page)
    assert "default-src 'none'" in page


@pytest.mark.chromium
def test_a_browser_shows_it_and_complains_of_nothing(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(FORMATS["html"](REPORT, (), ""))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in found.stderr
    assert "&lt;b&gt;&amp;amp;" in found.stdout
    assert "Mend it." in found.stdout
    assert 'class="timeline"' in found.stdout
    assert 'class="curve s0"' in found.stdout
