"""The reference is complete: generated pages are fresh, and nothing that a user can set is left out."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))
PAGES = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_generated_page_is_fresh(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run `make docs`"


def test_every_environment_variable_is_documented_and_every_documented_one_is_read() -> None:
    page = (ROOT / "docs/reference/environment.md").read_text()
    read = set(re.findall(r"\bSERINUS_[A-Z]+(?:_[A-Z]+)*\b", SOURCES))
    documented = set(re.findall(r"\bSERINUS_[A-Z]+(?:_[A-Z]+)*\b", page))
    assert documented == read


def test_every_exit_code_is_documented() -> None:
    from serinus import cli

    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    codes = {cli.DONE, cli.NO, cli.FAILED, cli.WAITS, cli.FAULT, cli.INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| `(\d+)`", page, re.MULTILINE)} == codes


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [
        *project["project"]["dependencies"],
        *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
        *project["dependency-groups"]["dev"],
    ]
    names = {re.split(r"[\[<>=~ ]", requirement)[0] for requirement in named}
    page = (ROOT / "docs/explanation/dependencies.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)`", page, re.MULTILINE)) == names


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*/*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken
