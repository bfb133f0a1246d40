"""Where the examples stand in the project's files."""

from __future__ import annotations

from contextlib import suppress

from serinus.checks.subjects import Given, relative
from serinus.image.contracts import examples_file


def example_lines(given: Given, count: int) -> tuple[str, tuple[int | None, ...]]:
    """The file of the project's examples and the line of each; empty and None where they are not at hand.

    Args:
        given: with the project, or none.
        count: how many examples the contract has; a file with another number of them is not theirs.
    """
    unknown = "", (None,) * count
    file = examples_file(given.project) if given.project is not None and given.image is None else None
    if file is None:
        return unknown
    with suppress(OSError):
        lines = [n for n, line in enumerate(file.read_bytes().split(b"\n"), 1) if line.strip()]
        if len(lines) == count:
            return relative(file, given.project), tuple(lines)
    return unknown
