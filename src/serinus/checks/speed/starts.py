"""How long a replica takes from its start to readiness."""

from __future__ import annotations

from statistics import median

from serinus.checks import Finding, Measure, NotApplicable, Result, check
from serinus.checks.speed.measured import Loads
from serinus.checks.speed.numbers import seconds
from serinus.checks.starting import Start
from serinus.project import Checks

STARTS = 3


@check(
    "speed.cold-start",
    why="A model downloaded while the service started took two minutes: each new replica came after the peak"
    " it was meant for.",
    measuring=True,
    seconds=3.0,
)
def cold_start(loads: Loads, start: Start, rival: Start | None, settings: Checks) -> Result:
    """From start to readiness within `checks.speed.cold_start`, and `ratio` of the version in charge.

    The median of three starts; of six, where three are too slow.
    """
    budget, ratio = settings.speed.cold_start, settings.speed.ratio
    if budget is None and rival is None:
        raise NotApplicable(
            f"no budget and no version in charge to hold it to; measured {seconds(loads.ready)}",
            "Set checks.speed.cold_start, or name the version in charge: checks.against.",
        )
    took = [loads.ready]
    others: list[float] = []
    while len(took) < STARTS or (len(took) < 2 * STARTS and budget is not None and median(took) > budget):
        if rival is not None and len(others) < STARTS:
            others.append(_once(rival))
        took.append(_once(start))
    if rival is not None:
        others.append(_once(rival))
    findings = over(took, others, budget, ratio)
    measures = [Measure("cold start", median(took), "s", budget)]
    if others:
        measures.append(Measure("cold start of the version in charge", median(others), "s"))
    return Result(f"ready after {seconds(median(took))}", findings, tuple(measures))


def over(took: list[float], others: list[float], budget: float | None, ratio: float) -> tuple[Finding, ...]:
    """What is against these starts. Pure.

    Args:
        took: seconds of each start of the image.
        others: the same of the version in charge.
        budget: longest median.
        ratio: only called slower if even its fastest start took so many times the slowest of the others.
    """
    found = []
    todo = "Do less on import and in setup, or load a smaller model; or raise checks.speed.{}."
    if budget is not None and median(took) > budget:
        said = f"it is ready after {seconds(median(took))} (median of {len(took)} starts)"
        found.append(
            Finding(f"{said}, expected at most {seconds(budget)}", todo.format("cold_start"), "serinus.toml")
        )
    if others and min(took) > ratio * max(others):
        said = f"each of {len(took)} starts took at least {seconds(min(took))}"
        told = f"the version in charge at most {seconds(max(others))}; expected at most {ratio:g} times that"
        found.append(Finding(f"{said}, {told}", todo.format("ratio"), "serinus.toml"))
    return tuple(found)


def _once(start: Start) -> float:
    with start("cold") as served:
        return served.seconds
