"""The page in a browser: its text is there, it asks for nothing, its policy lets its own style in."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import files
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


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_paper(theme: int) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    css = (files("serinus.checks.formats") / "report.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[theme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    least = dict.fromkeys(("ink", "quiet", "link", "passed", "warned", "failed", "other"), 4.5)
    least |= dict.fromkeys(("made", "s0", "s1", "s2", "s3", "s4", "s5"), 3.0)
    assert colours.keys() == {*least, "paper", "card", "line"}
    for name, bound in least.items():
        for ground in ("paper", "card"):
            assert contrast(colours[name], colours[ground]) >= bound, (name, ground)
