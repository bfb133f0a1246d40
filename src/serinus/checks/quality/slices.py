"""The metric of each slice of the labelled data: held to a floor, compared with the version in charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serinus.checks import Finding, Measure, NotApplicable, Plot, Result, check
from serinus.checks.fixtures import LABELLED
from serinus.checks.quality.compare import Paired, paired
from serinus.checks.quality.floor import measure
from serinus.checks.quality.metrics import metric
from serinus.checks.quality.scores import named, refuse_unanswered, rows
from serinus.checks.quality.statistics import holm
from serinus.checks.subjects import Answered, Labelled
from serinus.project import Checks, Project

FEWEST = 30
"""Rows of a slice that is judged."""


def groups(labelled: Sequence[Labelled]) -> tuple[Mapping[str, tuple[int, ...]], tuple[str, ...]]:
    """The slices with enough rows, by name (``source: film``) with the places of their rows; and the others.

    Raises:
        NotApplicable: no row names a slice, or every slice is too small.
    """
    found: dict[str, list[int]] = {}
    for place, row in enumerate(labelled):
        for key, value in row.slice.items():
            found.setdefault(f"{key}: {value}", []).append(place)
    if not found:
        raise NotApplicable(
            "the labelled data names no slices", 'Add "slice": {"group": "name"} to its rows.'
        )
    large = {name: tuple(places) for name, places in sorted(found.items()) if len(places) >= FEWEST}
    small = tuple(
        f"{name} ({len(places)} rows)" for name, places in sorted(found.items()) if name not in large
    )
    if not large:
        raise NotApplicable(
            f"every slice has fewer than {FEWEST} rows: {', '.join(small)}", "Add labelled rows to them."
        )
    return large, small


def _and_small(told: str, small: tuple[str, ...]) -> str:
    return f"{told}; too small to be judged: {', '.join(small)}" if small else told


@check(
    "quality.slice-floor",
    why="An average hid that one kind of customer was served badly.",
    seconds=0.5,
)
def slice_floor(
    project: Project, settings: Checks, labelled: tuple[Labelled, ...], answers: tuple[Answered, ...]
) -> Result:
    """The metric of each slice of at least 30 rows is no worse than `checks.quality.slice_floor`."""
    large, small = groups(labelled)
    bound, file = settings.quality.slice_floor, settings.labelled or LABELLED
    if bound is None:
        raise NotApplicable("there is no floor to hold slices to", "Set checks.quality.slice_floor.")
    found = rows(labelled, answers, settings)
    refuse_unanswered(found, file)
    used = metric(settings.quality.metric, project.root)
    values = {name: used.of([found[place] for place in places]) for name, places in large.items()}
    faults = []
    for name, value in values.items():
        if not used.holds(value, bound):
            message = f"{used.name} of {name} is {value:.3f} over {len(large[name]):,} rows, "
            wrong = named(found[place].line for place in large[name] if not found[place].right)
            todo = f"Compare these predictions with their labels: {wrong} are wrong."
            faults.append(Finding(f"{message}expected {used.side} {bound:g}", todo, file))
    told = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    measures = tuple(measure(used, name, value, bound) for name, value in values.items())
    plot = Plot(f"{used.name} by slice", (("now", tuple(values.items())),), "slice", used.name, "bars")
    summary = "" if faults else _and_small(f"{used.name}: {told}", small)
    return Result(summary, tuple(faults), measures, (plot,))


@check(
    "quality.slices",
    why="A new model was better on average, and much worse for one kind of customer.",
    seconds=2.0,
)
def slices(
    project: Project,
    settings: Checks,
    labelled: tuple[Labelled, ...],
    answers: tuple[Answered, ...],
    baseline_answers: tuple[Answered, ...],
) -> Result:
    """No slice of at least 30 labelled rows is worse than with the version in charge.

    The tests are those of `quality.against`, corrected by Holm so that `checks.quality.alpha` holds over all.
    """
    large, small = groups(labelled)
    file, alpha = settings.labelled or LABELLED, settings.quality.alpha
    now, before = rows(labelled, answers, settings), rows(labelled, baseline_answers, settings)
    refuse_unanswered(now, file)
    used = metric(settings.quality.metric, project.root)
    found = {
        name: paired(used, [now[i] for i in places], [before[i] for i in places], alpha, len(large))
        for name, places in large.items()
    }
    adjusted = dict(zip(found, holm([pair.p for pair in found.values()]), strict=True))
    faults = tuple(
        _worse(name, pair, adjusted[name], used.name, file)
        for name, pair in found.items()
        if adjusted[name] <= alpha
    )
    told = ", ".join(f"{name} {pair.now:.3f} against {pair.before:.3f}" for name, pair in found.items())
    measures = tuple(Measure(name, pair.now) for name, pair in found.items())
    plot = Plot(
        f"{used.name} by slice",
        (
            ("now", tuple((name, pair.now) for name, pair in found.items())),
            ("version in charge", tuple((name, pair.before) for name, pair in found.items())),
        ),
        "slice",
        used.name,
        "bars",
    )
    summary = "" if faults else _and_small(f"{used.name}: {told}", small)
    return Result(summary, faults, measures, (plot,))


def _worse(name: str, pair: Paired, adjusted: float, metric: str, file: str) -> Finding:
    lost = f": {named(pair.lost)} were right before" if pair.lost else ""
    return Finding(
        f"{name} got worse: {metric} is {pair}, {adjusted:.2g} after Holm's correction",
        f"Look at what changed for {name}{lost}.",
        file,
        pair.lost[0] if pair.lost else None,
    )
