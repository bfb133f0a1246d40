"""The requests of the labelled data, compared with those of a reference file."""

from __future__ import annotations

from serinus.checks import Finding, Measure, NotApplicable, Result, check
from serinus.checks.drift.features import Column, columns
from serinus.checks.drift.plots import beside
from serinus.checks.drift.samples import FEWEST, different, psi
from serinus.checks.fixtures import LABELLED, rows
from serinus.checks.quality.statistics import holm
from serinus.checks.subjects import Labelled
from serinus.project import Checks, Project

DRAWN = 6
"""Features that are drawn: those that differ most."""


@check(
    "drift.inputs",
    why="A client began to cut texts off at 40 characters; the model had never seen such texts.",
    seconds=1.0,
)
def inputs(project: Project, settings: Checks, labelled: tuple[Labelled, ...]) -> Result:
    """The requests of the labelled data are distributed as those in the file `checks.drift.reference`.

    Numbers, categories, lengths, missing members and unknown words: a test of two samples each, corrected by
    Holm so that the level `checks.drift.alpha` holds over all of them.
    """
    name, alpha = settings.drift.reference, settings.drift.alpha
    if name is None:
        raise NotApplicable(
            "there is no reference file to compare requests with", "Set checks.drift.reference."
        )
    known = [row["request"] for _, row in rows(project.root / name, project)]
    found = [c for c in columns(known, [row.request for row in labelled]) if _enough(c)]
    if not found:
        raise NotApplicable(
            f"no feature of the requests has {FEWEST} values in both files, or all are equal", "Add rows."
        )
    adjusted = holm([different(c.reference, c.seen, c.numeric) for c in found])
    pairs = sorted(zip(found, adjusted, strict=True), key=lambda pair: pair[1])
    faults = tuple(_drifted(c, p, settings.labelled or LABELLED, name) for c, p in pairs if p <= alpha)
    measures = tuple(Measure(f"PSI of {c.name}", psi(c.reference, c.seen, c.numeric)) for c, _ in pairs[:20])
    told = f"{len(found)} features of {len(labelled):,} requests against {len(known):,} of {name}"
    summary = "" if faults else f"{told}: smallest p = {pairs[0][1]:.2g} after Holm's correction"
    plots = tuple(beside(c.name, c.name, c.reference, c.seen, c.numeric) for c, _ in pairs[:DRAWN])
    return Result(summary, faults, measures, plots, warning=not settings.drift.fail)


def _enough(column: Column) -> bool:
    return min(len(column.reference), len(column.seen)) >= FEWEST


def _drifted(column: Column, p: float, file: str, name: str) -> Finding:
    return Finding(
        f"{column.name} drifts: {_typical(column.seen, column.numeric)}, expected "
        f"{_typical(column.reference, column.numeric)} as in {name} (p = {p:.2g} after Holm's correction)",
        "Look at where these requests come from; if they are right, draw a new reference file.",
        file,
    )


def _typical(values: tuple[object, ...], numeric: bool) -> str:
    from statistics import median, multimode

    if numeric:
        return f"a median of {median(values):.4g}"  # type: ignore[type-var]
    most = multimode(values)[0]
    return f"{most} in {values.count(most) / len(values):.1%}"
