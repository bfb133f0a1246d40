"""A report for people and machines: pure functions, a module each; a report goes in, a text comes out.

``lines`` is what the command line says. The texts that the report brings are other people's: each format
escapes them in its own way, after ``text.clean`` has taken out what could steer a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from serinus.checks import Check
from serinus.checks.formats.github import commands
from serinus.checks.formats.html import page
from serinus.checks.formats.json import document
from serinus.checks.formats.junit import suites
from serinus.checks.formats.sarif import log
from serinus.checks.report import Report

Format = Callable[[Report, Sequence[Check], str], str]
"""Takes a report; the checks that it is of, as far as they are known (a report holds only their ids); and the
project's folder in the checkout, ``services/sentiment``, where files are to be named from there."""

FORMATS: Mapping[str, Format] = {
    "json": document,
    "junit": suites,
    "sarif": log,
    "github": commands,
    "html": page,
}
"""Every format by the name that ``--format`` takes."""
