"""The predictions, compared with those of the version in charge, and with those of a reference file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from serinus.checks import Finding, Measure, NotApplicable, Result, check
from serinus.checks.drift.features import values
from serinus.checks.drift.plots import beside
from serinus.checks.drift.samples import FEWEST, different, histogram, moved, psi
from serinus.checks.fixtures import rows
from serinus.checks.subjects import Answered, at
from serinus.project import Checks, Project


def at_prediction(responses: Iterable[Any], settings: Checks) -> list[Any]:
    """What is predicted in each response; None where there is nothing."""
    found = []
    for response in responses:
        try:
            found.append(at(response, settings.prediction))
        except LookupError:
            found.append(None)
    return found


def judged(before: Sequence[Any], now: Sequence[Any], settings: Checks, what: str, paired: bool) -> Result:
    """The result of a comparison of predictions."""
    alpha = settings.drift.alpha
    if min(len(before), len(now)) < FEWEST:
        raise NotApplicable(
            f"{min(len(before), len(now))} predictions are too few to compare",
            f"Add rows, to {FEWEST} at least.",
        )
    old, new, numeric = values(before, now)
    p = moved(old, new, numeric, alpha) if paired else different(old, new, numeric)
    index = psi(old, new, numeric)
    bars = histogram(old, new, numeric)
    told = f"{len(new):,} predictions against {len(old):,} of {what}: p = {p:.2g}, PSI {index:.3f}"
    plot = beside("Predictions", "prediction", old, new, numeric)
    measures = (Measure("p-value", p), Measure("population stability index", index))
    if p > alpha:
        return Result(told, (), measures, (plot,))
    name, a, b = max(bars, key=lambda bar: abs(bar[1] / len(old) - bar[2] / len(new)))
    message = (
        f"the predictions drift: {name[:80]} is {b / len(new):.1%}, expected {a / len(old):.1%} as of {what}"
    )
    todo = (
        "Look at what changed in the model or the data; if it is meant, deploy it, or draw a new reference."
    )
    finding = Finding(f"{message} ({told})", todo)
    return Result(message, (finding,), measures, (plot,), warning=not settings.drift.fail)


@check(
    "drift.predictions",
    why="A new model said yes to nearly everything; every answer was valid, and nobody had labels yet.",
    seconds=1.0,
)
def predictions(
    settings: Checks, answers: tuple[Answered, ...], baseline_answers: tuple[Answered, ...]
) -> Result:
    """The predictions are distributed as those of the version in charge for the same requests.

    A paired test at the level `checks.drift.alpha`; rows that one of them did not answer are left out.
    """
    both = [(a, b) for a, b in zip(answers, baseline_answers, strict=True) if not (a.fault or b.fault)]
    now = at_prediction((a.response for a, _ in both), settings)
    before = at_prediction((b.response for _, b in both), settings)
    return judged(before, now, settings, "the version in charge", paired=True)


@check(
    "drift.reference",
    why="Each new version drifted a little, and was compared only with the one before it.",
    seconds=0.5,
)
def reference(project: Project, settings: Checks, answers: tuple[Answered, ...]) -> Result:
    """The predictions are distributed as the responses in the file `checks.drift.reference`.

    A test of two samples at the level `checks.drift.alpha`: the requests need not be the same.
    """
    name = settings.drift.reference
    if name is None:
        raise NotApplicable("there is no reference file", "Set checks.drift.reference.")
    known = [row["response"] for _, row in rows(project.root / name, project) if "response" in row]
    now = at_prediction((a.response for a in answers if not a.fault), settings)
    return judged(at_prediction(known, settings), now, settings, name, paired=False)
