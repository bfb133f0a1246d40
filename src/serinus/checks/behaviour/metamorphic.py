"""What changes of a request's texts do to the prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serinus.checks import Finding, Measure, NotApplicable, Result, check
from serinus.checks.asked import ask
from serinus.checks.behaviour.transforms import TRANSFORMS, changed
from serinus.checks.contract.asking import shown
from serinus.checks.subjects import Answered, Service, at
from serinus.contract import Contract, violations
from serinus.contract.differences import differences
from serinus.project import Checks

WORST = 5
"""Cases of one change that are shown."""
CASES = 60
"""Changed requests of one kind that are asked, at most; of more, an even choice."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and the same with its texts changed."""

    request: Any
    changed: Any


@check(
    "behaviour.metamorphic",
    why="A classifier read capitals as another language: right on clean data, wrong on what users type.",
    seconds=4.0,
)
def metamorphic(settings: Checks, contract: Contract, requests: tuple[Any, ...], service: Service) -> Result:
    """What ``behaviour.invariant`` names leaves the prediction, what ``behaviour.flips`` names changes it.

    Texts are strings of at least two words; all of a request are changed. Of a prediction the labels are
    compared (booleans, strings, whole numbers), and its numbers if it has no labels. The requests are those
    of the examples and up to 50 of the labelled data.
    """
    wanted = [*settings.behaviour.invariant, *settings.behaviour.flips]
    if not wanted:
        raise NotApplicable(
            "no change is declared whose effect is known",
            'Name some: checks.behaviour.invariant = ["case"], flips = ["negation"].',
        )
    fits = violations.compile(contract.request).ok
    before: dict[str, Answered] = {}
    found: list[Finding] = []
    measures: list[Measure] = []
    for name in wanted:
        cases = [case for case in cases_of(requests, name) if fits(case.changed)]
        cases = cases[:: max(1, -(-len(cases) // CASES))]
        if not cases:
            continue
        flips = name in settings.behaviour.flips
        wrong = list(_wrong(cases, service, settings, flips, before))
        share = len(wrong) / len(cases)
        measures.append(Measure(name, share, at_most=settings.behaviour.allowed))
        if share > settings.behaviour.allowed:
            found += [_finding(name, flips, case, answer) for case, answer in wrong[:WORST]]
    if not measures:
        raise NotApplicable(f"{', '.join(wanted)} apply to no request", "Add an example with a sentence.")
    told = ", ".join(f"{m.name} {m.value:.0%}" for m in measures)
    return Result(f"behaves otherwise: {told}", tuple(found), tuple(measures))


def cases_of(requests: tuple[Any, ...], name: str) -> list[Case]:
    """The requests to which a change applies, in each form of it. Pure."""
    whole = name == "negation"  # of several texts, one negated need not turn the prediction
    return [Case(r, form) for r in requests for form in changed(r, TRANSFORMS[name], whole)]


def _wrong(
    cases: list[Case], service: Service, settings: Checks, flips: bool, before: dict[str, Answered]
) -> Iterator[tuple[Case, Answered]]:
    """The cases that behave otherwise, with their answers; ``before`` keeps those of unchanged requests."""
    asked = {text: c.request for c in cases if (text := json.dumps(c.request)) not in before}
    before.update(zip(asked, ask(service, list(asked.values())), strict=True))
    after = ask(service, [case.changed for case in cases])
    for case, other in zip(cases, after, strict=True):
        one = before[json.dumps(case.request)]
        if one.fault or other.fault:
            yield case, Answered(fault=one.fault or other.fault)
        elif same(one.response, other.response, settings) is flips:
            yield case, other


def same(one: Any, other: Any, settings: Checks) -> bool:
    """Whether two responses make the same prediction. Pure."""
    try:
        before, after = at(one, settings.prediction), at(other, settings.prediction)
    except LookupError:
        return False
    if labels := list(_labels(before)):
        return labels == list(_labels(after))
    return not list(differences(before, after, (), settings.behaviour.tolerance))


def _labels(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _labels(member, f"{path}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _labels(item, f"{path}/{index}")
    elif value is not None and not isinstance(value, float):
        yield path, type(value).__name__, value


def _finding(name: str, flips: bool, case: Case, answer: Answered) -> Finding:
    did = "does not change" if flips else "changes"
    got = answer.fault or shown(answer.response, 200)
    return Finding(
        f"{name} {did} the prediction: {shown(case.request, 200)} as {shown(case.changed, 200)} gets {got}",
        "Train on such texts, or bring texts into one form before the model; or allow a share of them: "
        "checks.behaviour.allowed.",
    )
