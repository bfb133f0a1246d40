"""Every example in the documentation does what the page says it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from runner import PAGES_WITH_EXAMPLES, agrees, needs, run_page


def marked(page: Path) -> object:
    marks = [getattr(pytest.mark, part) for part in needs(page.read_text())]
    return pytest.param(page, id=page.stem, marks=marks)


@pytest.mark.parametrize("page", [marked(page) for page in PAGES_WITH_EXAMPLES])
def test_the_examples_of_a_page(page: Path, tmp_path: Path, shared: Path) -> None:
    run_page(page, tmp_path, {"COLUMNS": "100", "SERINUS_SHARED": str(shared)})


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("a", "a\n", True),
        ("a", "b\n", False),
        ("", "", True),
        ("", "a\n", False),
        ("took ... s", "took 1.2 s\n", True),
        ("a\n...\nz", "a\nb\nc\nz\n", True),
        ("a\n...\nz", "a\nz\n", True),
        ("a\n...\nz", "a\nb\n", False),
        ("a.b", "axb\n", False),
    ],
)
def test_dots_stand_for_anything(expected: str, found: str, same: bool) -> None:
    assert agrees(expected, found) is same
