"""The words that all formats share: marks, places, numbers with their units, counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from serinus.checks import Finding, Measure, Status, Verdict
from serinus.checks.report import Report

MARKS: Mapping[Status, str] = {
    Status.PASSED: "✓",
    Status.WARNED: "!",
    Status.FAILED: "✗",
    Status.NOT_APPLICABLE: "–",
    Status.SKIPPED: "»",
    Status.BLOCKED: "?",
}
"""One sign for each status, that says the same without colour."""

_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)
_LONE = re.compile(r"[\ud800-\udfff]")


def clean(text: str) -> str:
    r"""A text without what steers a terminal, turns the direction of writing, or XML cannot hold.

    Control characters but tabulator and line feed, marks of direction, halves of surrogate pairs and what is
    no character are written as Python would write them, ``\x1b``. What is left are characters of XML 1.0
    (section 2.2).
    """
    text = text.replace("\r\n", "\n")
    return _LONE.sub(_written, _STEERING.sub(_written, text))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """A clean text on one line."""
    return " ".join(clean(text).split())


def place(finding: Finding) -> str:
    """Where a finding is: ``service.py:12``, ``examples.jsonl:3, at /positive`` or ``at /positive``."""
    where = finding.file
    if where and finding.line is not None:
        where = f"{where}:{finding.line}"
    if finding.pointer is not None:
        pointer = f"at {finding.pointer}" if finding.pointer else "at the whole of it"
        where = f"{where}, {pointer}" if where else pointer
    return one_line(where)


def from_checkout(file: str, folder: str) -> str:
    """A finding's file as the checkout names it.

    Args:
        file: named from the project's folder.
        folder: the project's folder in the checkout; empty where they are the same.
    """
    return clean(str(PurePosixPath(folder) / file))


def duration(seconds: float) -> str:
    """Seconds as a person reads them: ``3.4 ms``, ``1.24 s``, ``2 min 5 s``."""
    if not math.isfinite(seconds):
        return f"{seconds} s"
    if abs(seconds) < 1:
        return f"{seconds * 1e6:.3g} µs" if 0 < abs(seconds) < 1e-3 else f"{seconds * 1000:.3g} ms"
    if abs(seconds) < 10:
        return f"{seconds:.2f} s"
    if abs(seconds) < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def clock(seconds: float) -> str:
    """Seconds in one form, so that they can stand below each other: ``1.24 s``."""
    return f"{seconds:.2f} s" if seconds < 100 else duration(seconds)


def quantity(value: float, unit: str = "") -> str:
    """A number with its unit, in three or four digits: ``12.3 ms``, ``57.1 MB``, ``1,250 /s``."""
    if unit == "s":
        return duration(value)
    if not math.isfinite(value):
        return f"{value} {unit}".rstrip()
    if unit == "B":
        return _size(value)
    if unit == "1/s":
        return f"{_number(value)} /s"
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            return (
                f"{size:.0f} B"
                if unit == "B"
                else f"{size:.3g} {unit}"
                if abs(size) < 1000
                else f"{size:,.0f} GB"
            )
        size /= 1000
    raise AssertionError("the last unit takes all")


def bounds(measure: Measure) -> str:
    """What a measure is held to: ``at most 20 ms``; empty where there is no bound."""
    told = []
    if measure.at_least is not None:
        told.append(f"at least {quantity(measure.at_least, measure.unit)}")
    if measure.at_most is not None:
        told.append(f"at most {quantity(measure.at_most, measure.unit)}")
    return ", ".join(told)


def measured(measure: Measure) -> str:
    """A measure with its bounds: ``p95 12.3 ms (at most 20 ms)``."""
    told = one_line(f"{measure.name} {quantity(measure.value, measure.unit)}")
    return f"{told} ({bounds(measure)})" if bounds(measure) else told


def several(number: int, word: str) -> str:
    """``1 check``, ``2 checks``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def counts(verdicts: Iterable[Verdict]) -> dict[Status, int]:
    """How many verdicts have each status that any has, in the order of the statuses."""
    found = [verdict.status for verdict in verdicts]
    return {status: found.count(status) for status in Status if status in found}


def headline(report: Report) -> str:
    """The report in one sentence."""
    found = counts(report.verdicts)
    ran = sum(found.get(status, 0) for status in (Status.PASSED, Status.WARNED, Status.FAILED))
    match report.status:
        case Status.FAILED:
            return f"{found[Status.FAILED]} of {several(ran, 'check')} failed"
        case Status.BLOCKED:
            return f"{several(found[Status.BLOCKED], 'check')} could not run"
        case Status.WARNED:
            passed = found.get(Status.PASSED, 0)
            return f"{several(passed, 'check')} passed, {found[Status.WARNED]} warned"
        case Status.PASSED:
            return "the one check passed" if ran == 1 else f"all {ran} checks passed"
        case _:
            return "nothing was checked"


def slowest(report: Report) -> Verdict | None:
    """The check that took longest; None where none took any time."""
    longest = max(report.verdicts, key=lambda verdict: verdict.seconds, default=None)
    return longest if longest is not None and longest.seconds > 0 else None
