"""GitHub Actions: annotations by workflow commands, and the summary of a job in Markdown.

Commands are ``::error file=F,line=N,title=T::message``, escaped as the runner reads them: ``%``, CR and LF
everywhere, ``:`` and ``,`` in properties too (GitHub, "Workflow commands for GitHub Actions"; the escapes are
those of actions/toolkit). GitHub shows the first ten errors and ten warnings of a step.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from serinus.checks import Check, Finding, Status, Verdict
from serinus.checks.formats.text import (
    MARKS,
    clean,
    clock,
    counts,
    duration,
    from_checkout,
    headline,
    measured,
    one_line,
    place,
    several,
)
from serinus.checks.report import Report

_LEVELS = {Status.FAILED: "error", Status.BLOCKED: "error", Status.WARNED: "warning"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$@:.-])")


def commands(report: Report, checks: Sequence[Check] = (), folder: str = "") -> str:
    """A command for every finding of what failed, could not run or warns; a line each.

    Args:
        report: the report.
        checks: not used: an annotation has little room.
        folder: the project's folder in the checkout.
    """
    order = (Status.FAILED, Status.BLOCKED, Status.WARNED)
    verdicts = [verdict for status in order for verdict in report.of(status)]
    return "".join(f"{line}\n" for verdict in verdicts for line in _commands(verdict, folder))


def _commands(verdict: Verdict, folder: str) -> Iterator[str]:
    for finding in verdict.findings or (Finding(verdict.summary or verdict.status.value),):
        properties = {"title": f"{verdict.check} {verdict.status}"}
        if finding.file:
            line = {} if finding.line is None else {"line": str(finding.line)}
            properties = {"file": from_checkout(finding.file, folder), **line, **properties}
        where = "" if finding.file and finding.pointer is None else place(finding)
        if verdict.status is Status.BLOCKED:
            where = verdict.summary if verdict.summary != finding.message else ""
        told = "\n".join(part for part in (finding.message, where, finding.todo) if part)
        named = ",".join(f"{key}={property_value(value)}" for key, value in properties.items())
        yield f"::{_LEVELS[verdict.status]} {named}::{data(told)}"


def data(text: str) -> str:
    """A message as a workflow command holds it."""
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def property_value(text: str) -> str:
    """The value of a property of a workflow command."""
    return data(text).replace(":", "%3A").replace(",", "%2C")


def summary(report: Report) -> str:
    """The report as Markdown, to be added to the file that ``GITHUB_STEP_SUMMARY`` names."""
    parts = [
        f"### {MARKS[report.status]} {markdown(report.name)}: {headline(report)}",
        f"{_counted(report)} in {duration(report.seconds)}"
        + (f", of {markdown(report.digest)}" if report.digest else ""),
    ]
    wrong = [*report.of(Status.FAILED), *report.of(Status.BLOCKED), *report.of(Status.WARNED)]
    if wrong:
        rows = [row for verdict in wrong for row in _rows(verdict)]
        parts.append(
            "\n".join(["| | check | what was found | where | what to do |", "|---|---|---|---|---|", *rows])
        )
    parts.append(_all(report))
    return "\n\n".join(parts) + "\n"


def _counted(report: Report) -> str:
    return ", ".join(f"{number} {status.value}" for status, number in counts(report.verdicts).items())


def _rows(verdict: Verdict) -> Iterator[str]:
    for finding in verdict.findings or (Finding(verdict.summary),):
        message = (
            f"{verdict.summary}: {finding.message}" if verdict.status is Status.BLOCKED else finding.message
        )
        cells = (
            MARKS[verdict.status],
            *map(markdown, (verdict.check, message, place(finding), finding.todo)),
        )
        yield f"| {' | '.join(cells)} |"


def _all(report: Report) -> str:
    rows = [
        f"| {MARKS[v.status]} {v.status.value} | {markdown(v.check)} | {markdown(v.summary)} "
        f"| {markdown(', '.join(map(measured, v.measures)))} | {clock(v.seconds)} |"
        for v in report.verdicts
    ]
    table = "\n".join(["| | check | | measured | time |", "|---|---|---|---|---|", *rows])
    title = several(len(report.verdicts), "verdict")
    return f"<details><summary>All {title}</summary>\n\n{table}\n\n</details>"


def markdown(text: str) -> str:
    """A text on one line, with nothing that Markdown (GitHub's) or HTML would take for markup."""
    return _SPECIAL.sub(r"\\\1", html.escape(one_line(text), quote=False))
