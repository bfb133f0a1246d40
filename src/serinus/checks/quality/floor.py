"""The metric over all labelled rows, held to a floor."""

from __future__ import annotations

from serinus.checks import Finding, Measure, NotApplicable, Result, check
from serinus.checks.fixtures import LABELLED
from serinus.checks.quality.compare import interval
from serinus.checks.quality.metrics import Metric, metric
from serinus.checks.quality.scores import named, refuse_unanswered, rows, unanswered, wrong_kind
from serinus.checks.subjects import Answered, Labelled
from serinus.project import Checks, Project


@check(
    "quality.floor",
    why="Two labels were swapped in training: every answer had the right type, and most were wrong.",
    seconds=1.0,
)
def floor(
    project: Project, settings: Checks, labelled: tuple[Labelled, ...], answers: tuple[Answered, ...]
) -> Result:
    """The metric over all labelled rows is no worse than `checks.quality.floor`.

    Rows that were not answered count as wrong; they are named, and a warning where the floor holds still.
    """
    file, quality = settings.labelled or LABELLED, settings.quality
    found = rows(labelled, answers, settings)
    refuse_unanswered(found, file)
    used = metric(quality.metric, project.root)
    value = used.of(found)
    told = f"{used.name} is {value:.3f} over {len(found):,} rows ({interval(used, found)})"
    if quality.floor is None:
        raise NotApplicable(f"{told}, and there is no floor to hold it to", "Set checks.quality.floor.")
    missing = unanswered(found, file)
    measures = (measure(used, used.name, value, quality.floor),)
    if used.holds(value, quality.floor):
        return Result(told, missing, measures, warning=True)
    wrong = [row.line for row in found if not row.right]
    todo = f"Compare the predictions with the labels: {named(wrong)} are wrong. {wrong_kind(found)}".rstrip()
    message = f"{told}, expected {used.side} {quality.floor:g}"
    return Result(message, (Finding(message, todo, file, wrong[0] if wrong else None), *missing), measures)


def measure(used: Metric, name: str, value: float, bound: float | None) -> Measure:
    """The value of a metric beside its floor."""
    if used.higher:
        return Measure(name, value, at_least=bound)
    return Measure(name, value, at_most=bound)
