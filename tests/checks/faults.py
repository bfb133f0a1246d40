"""Faults that are seeded into the examples, one at a time, and the check that must catch each.

A module ``faults_LAYER.py`` beside this one holds those of a layer in a tuple ``FAULTS``; ``test_faults.py``
runs them all, and ``docs/reference/faults.md`` has a row for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    """What is wrong, as the documentation says it: "an undefined name in a branch that no test runs"."""
    example: str
    """Folder of the example that it is seeded into."""
    check: str
    """Id of the check that must catch it."""
    message: str
    """Part of what the check must say, in its summary or a finding."""
    seed: Callable[[Path], object]
    """Puts the fault into a copy of the example."""
    warns: bool = False
    """Whether the check warns rather than fails."""
    against: bool = False
    """Whether the clean example, built before, is the version in charge to compare with."""
    image: str | None = None
    """Tag of the image to look at, which ``seed`` makes; None builds the example."""


def replace(file: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = file.read_text()
    assert old in text, f"{file} has no {old!r}"
    file.write_text(text.replace(old, new))


def append(file: Path, text: str) -> None:
    """Add to the end of a file."""
    file.write_text((file.read_text() if file.exists() else "") + text)


def lines(*rows: object) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)
