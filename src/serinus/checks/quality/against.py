"""The metric, compared with that of the version in charge on the same rows."""

from __future__ import annotations

from serinus.checks import Finding, Measure, Result, check
from serinus.checks.fixtures import LABELLED
from serinus.checks.quality.compare import paired
from serinus.checks.quality.metrics import metric
from serinus.checks.quality.scores import named, refuse_unanswered, rows
from serinus.checks.subjects import Answered, Labelled
from serinus.project import Checks, Project


@check(
    "quality.against",
    why="A new model was above the floor and worse than the old one, and nobody compared them.",
    seconds=2.0,
)
def against(
    project: Project,
    settings: Checks,
    labelled: tuple[Labelled, ...],
    answers: tuple[Answered, ...],
    baseline_answers: tuple[Answered, ...],
) -> Result:
    """The metric is not worse than that of the version in charge, by a paired test on the same rows.

    One-sided, at the level `checks.quality.alpha`: McNemar's exact test for `accuracy`, a permutation test
    for the others.
    """
    file = settings.labelled or LABELLED
    now, before = rows(labelled, answers, settings), rows(labelled, baseline_answers, settings)
    refuse_unanswered(now, file)
    used = metric(settings.quality.metric, project.root)
    found = paired(used, now, before, settings.quality.alpha)
    told = f"{used.name} is {found}"
    measures = (
        Measure(f"{used.name} now", found.now),
        Measure(f"{used.name} of the version in charge", found.before),
        Measure("p-value", found.p),
    )
    if found.p > settings.quality.alpha:
        return Result(told, measures=measures)
    lost = f": {named(found.lost)} were right before" if found.lost else ""
    message = f"worse than the version in charge: {told}"
    return Result(message, (Finding(message, f"Look at what changed{lost}.", file),), measures)
