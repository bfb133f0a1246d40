"""The gate: whether an image's report shows what is required before the image goes anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serinus.checks import Status, Verdict, chosen
from serinus.checks.report import Report
from serinus.errors import CheckError
from serinus.registry import Descriptor, Source

_FINE = (Status.PASSED, Status.WARNED)
_AGAINST = (Status.FAILED, Status.BLOCKED, Status.SKIPPED)


def unmet(report: Report, require: Sequence[str]) -> tuple[str, ...]:
    """What a report does not show of what is required, a sentence each; empty if it shows all. Pure.

    A check that is required by its id must have passed or warned: who lets a check warn has decided that its
    failure stops nothing. A layer (or a pattern such as ``speed.*``) must have at least one check that
    passed, and none that failed, was blocked or was skipped; those that are not applicable count for
    nothing. Since checks that were never run are in no report, a layer needs a report of all checks.

    Args:
        report: about the image.
        require: ids, layers or patterns.
    """
    return tuple(fault for name in dict.fromkeys(require) for fault in _faults(report, name))


def _faults(report: Report, name: str) -> Iterator[str]:
    exact = [verdict for verdict in report.verdicts if verdict.check == name]
    if exact:
        yield from (_said(verdict) for verdict in exact if verdict.status not in _FINE)
        return
    found = [verdict for verdict in report.verdicts if chosen(verdict.check, [name])]
    if not found:
        yield f"{name}: there is no such check in the report"
    elif not report.complete:
        yield f"{name}: the report is of some checks alone (--only), so it shows no whole layer"
    elif against := [verdict for verdict in found if verdict.status in _AGAINST]:
        yield from map(_said, against)
    elif not any(verdict.status is Status.PASSED for verdict in found):
        yield f"{name}: none of its checks passed ({', '.join(sorted({v.status.value for v in found}))})"


def _said(verdict: Verdict) -> str:
    told = f"{verdict.check}: {verdict.status.value}"
    return f"{told}: {verdict.summary}" if verdict.summary else told


def admit(source: Source, image: Descriptor, require: Sequence[str]) -> None:
    """Let an image pass, or refuse it.

    Args:
        source: holds the image and its report.
        image: the descriptor that its name stands for.
        require: ids or layers; with none, every image passes.

    Raises:
        CheckError: there is no report, or it does not show what is required; each unmet check is named.
        DigestMismatch: the report was changed.
    """
    if not require:
        return
    from serinus.checks.statement import read

    faults = unmet(read(source, image), require)
    if faults:
        raise CheckError(
            f"the report about {image.digest} does not show what is required:"
            + "".join(f"\n  {fault}" for fault in faults),
            "Correct it, run `serinus check`, and publish again; `[deploy] require` says what is required.",
        )
