"""Which secrets and variables a workflow takes, and which step needs each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serinus.pipeline import Step
from serinus.pipeline.access import Access
from serinus.pipeline.github.plan import Plan
from serinus.registry.credentials import GITHUB


@dataclass(frozen=True, slots=True)
class Taken:
    """One secret or variable that a step takes from the repository."""

    job: str
    step: str
    name: str
    secret: bool
    """Whether it is a secret; otherwise a variable that everybody may read."""
    why: str

    @property
    def where(self) -> str:
        """Who keeps it."""
        if self.name == GITHUB:  # for every job, by GitHub itself
            return "made by GitHub"
        return "secret" if self.secret else "variable"


def taken(plan: Plan) -> tuple[Taken, ...]:
    """What each step takes, in the order of the workflow; a step that takes nothing is not among them."""
    found = [one for step in plan.checks for one in _of(plan, "check", step)]
    found += [one for stage in plan.stages for step in stage.steps for one in _of(plan, stage.job, step)]
    return tuple(dict.fromkeys(found))


def _of(plan: Plan, job: str, step: Step) -> Iterator[Taken]:
    for access in plan.access(step):
        yield from _named(job, step.name, access, (*access.secrets, *access.kept), secret=True)
        yield from _named(job, step.name, access, (*access.variables, *access.settings), secret=False)


def _named(job: str, step: str, access: Access, names: Sequence[str], *, secret: bool) -> Iterator[Taken]:
    return (Taken(job, step, name, secret, access.why) for name in names)
