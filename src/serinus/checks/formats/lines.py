"""The report as lines for a terminal or a log: what failed first, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from serinus.checks import Status, Verdict
from serinus.checks.formats.text import (
    MARKS,
    clean,
    clock,
    counts,
    duration,
    measured,
    one_line,
    place,
    slowest,
)
from serinus.checks.report import Report

Style = Callable[[str, str], str]
"""Gives a text a colour, ``red``, ``yellow`` or ``green``."""

COLOURS = {Status.FAILED: "red", Status.BLOCKED: "red", Status.WARNED: "yellow", Status.PASSED: "green"}


def plain(text: str, colour: str) -> str:
    """No colour."""
    return text


def lines(report: Report, *, verbose: bool = False, style: Style = plain) -> list[str]:
    """The report in lines.

    Args:
        report: the report.
        verbose: whether every verdict is told, those that passed with their measures.
        style: colours a text.
    """
    told: list[str] = []
    if verbose:
        for verdict in report.of(Status.PASSED):
            told.append(line(verdict, style))
            told += [f"    {measured(measure)}" for measure in verdict.measures]
    for status in (Status.FAILED, Status.BLOCKED, Status.WARNED):
        for verdict in report.of(status):
            told += [line(verdict, style), *_findings(verdict)]
    told += _missing(report, verbose)
    told += [line(verdict, style) for verdict in report.of(Status.SKIPPED)]
    return [*told, last(report, style)]


def line(verdict: Verdict, style: Style = plain) -> str:
    """One verdict on one line: mark, id, seconds, summary."""
    mark = style(f"{MARKS[verdict.status]} {verdict.status.value:<14}", COLOURS.get(verdict.status, ""))
    told = f"{mark} {one_line(verdict.check):<26} {clock(verdict.seconds):>9}  {one_line(verdict.summary)}"
    return told.rstrip()


def _findings(verdict: Verdict) -> Iterator[str]:
    for finding in verdict.findings:
        first, *rest = clean(finding.message).splitlines() or [""]
        where = f"{place(finding)}: " if place(finding) else ""
        yield f"    {where}{first}"
        yield from (f"      {text}" for text in rest)
        yield from (f"      -> {text}" for text in clean(finding.todo).splitlines())
    for measure in verdict.measures:
        if not measure.holds:
            yield f"    {measured(measure)}"


def _missing(report: Report, verbose: bool) -> Iterator[str]:
    """What is not applicable: a line each reason, since many checks share one."""
    verdicts = report.of(Status.NOT_APPLICABLE)
    if not verdicts:
        return
    yield f"{MARKS[Status.NOT_APPLICABLE]} {len(verdicts)} not applicable; to have them checked:"
    reasons: dict[str, list[str]] = {}
    for verdict in verdicts:
        reasons.setdefault(one_line(verdict.summary), []).append(one_line(verdict.check))
    for reason, names in reasons.items():
        named = ", ".join(names) if verbose or len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        yield f"    {named}: {reason}"


def last(report: Report, style: Style = plain) -> str:
    """Counts, time, and the slowest check."""
    found = [
        style(f"{number} {status.value}", COLOURS.get(status, ""))
        for status, number in counts(report.verdicts).items()
    ]
    told = (
        f"{one_line(report.name)}: {', '.join(found) or 'nothing was checked'} in {duration(report.seconds)}"
    )
    longest = slowest(report)
    return f"{told}; slowest {longest.check} {clock(longest.seconds)}" if longest else told
