"""What came of a check -> its verdict. Pure."""

from __future__ import annotations

import traceback
from pathlib import Path

from serinus.checks import Check, Failed, Finding, NotApplicable, Outcome, Status, Verdict, settled
from serinus.errors import RuntimeUnavailable, SerinusError, Unauthorized, Unavailable
from serinus.project import Project

OUTSIDE = (RuntimeUnavailable, Unavailable, Unauthorized)
"""Errors that say nothing of what is checked: the machine or a registry is at fault."""
_FOREIGN = ("own", "tests")
"""Layers whose checks are the project's: whatever they raise is a failure."""


def judged(
    check: Check, outcome: Outcome, error: BaseException | None, project: Project | None, warn: bool
) -> Verdict:
    """The verdict of a check that ran.

    Args:
        check: the check.
        outcome: what it returned.
        error: what it raised instead.
        project: to say where in its own checks an error arose.
        warn: whether a failure of it is a warning.
    """
    if isinstance(error, NotApplicable):
        return Verdict(check.id, Status.NOT_APPLICABLE, str(error))
    if error is not None:
        findings = _findings(check, error, project)
        if not findings:
            return Verdict(check.id, Status.BLOCKED, _told(error), _as_findings(error))
        return Verdict(check.id, Status.WARNED if warn else Status.FAILED, _first(findings), findings)
    try:
        result = settled(outcome)
    except TypeError:
        found = type(outcome).__name__
        told = Finding(
            f"the check returned a value of type {found}",
            "Return nothing, a summary, True, False, or findings.",
        )
        return Verdict(check.id, Status.FAILED, told.message, (told,))
    status = Status.PASSED
    if result.findings:
        status = Status.WARNED if warn or result.warning else Status.FAILED
    summary = result.summary or _first(result.findings)
    return Verdict(check.id, status, summary, result.findings, result.measures, result.plots)


def unmade(check: str, title: str, error: BaseException, owner: bool) -> Verdict:
    """The verdict of a check that could not be run, since what it looks at could not be had.

    Args:
        check: its id.
        title: what could not be done: ``start the image``.
        error: why.
        owner: whether it is this check that is to say so as a failure; the others are blocked.
    """
    if isinstance(error, NotApplicable):
        return Verdict(check, Status.NOT_APPLICABLE, str(error))
    findings = _as_findings(error)
    if owner and isinstance(error, SerinusError | Failed) and not isinstance(error, OUTSIDE):
        return Verdict(check, Status.FAILED, _first(findings), findings)
    return Verdict(check, Status.BLOCKED, f"could not {title}: {_told(error)}", findings)


def skipped(check: str, why: str) -> Verdict:
    """The verdict of a check that was left out on purpose."""
    return Verdict(check, Status.SKIPPED, why)


def _findings(check: Check, error: BaseException, project: Project | None) -> tuple[Finding, ...]:
    """What an error says against the thing that is checked; nothing when it is about something else."""
    match error:
        case Failed():
            return error.findings
        case _ if isinstance(error, OUTSIDE):
            return ()
        case SerinusError() | AssertionError():
            return _as_findings(error, project)
        case Exception() if check.layer in _FOREIGN:
            return _as_findings(error, project)
    return ()


def _as_findings(error: BaseException, project: Project | None = None) -> tuple[Finding, ...]:
    if isinstance(error, Failed):
        return error.findings
    file, line = _place(error, project)
    if isinstance(error, SerinusError):
        return (Finding(error.message, error.todo, file, line),)
    if isinstance(error, AssertionError):
        return (Finding(str(error) or f"this does not hold: {_line(error)}", "", file, line),)
    return (Finding(_told(error), "", file, line),) if project else (Finding(_told(error), _trace(error)),)


def _place(error: BaseException, project: Project | None) -> tuple[str, int | None]:
    """The last line of the project's own code through which an error went."""
    if project is not None:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).is_relative_to(project.root):
                return str(Path(frame.filename).relative_to(project.root)), frame.lineno
    return "", None


def _line(error: BaseException) -> str:
    """The line of source that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "assert").strip() if frames else "assert"


def _told(error: BaseException) -> str:
    if isinstance(error, SerinusError):
        return error.message.partition("\n")[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _trace(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return "".join(f"This is a fault of the check ({Path(f.filename).name}:{f.lineno})." for f in last)


def _first(findings: tuple[Finding, ...]) -> str:
    """The first finding's first line, and how many more there are."""
    if not findings:
        return ""
    first = findings[0].message.partition("\n")[0]
    return first if len(findings) == 1 else f"{first} (and {len(findings) - 1} more)"
