"""The policy of a rollout: the table ``[rollout]`` in the units of the decisions, and what it must fit.

Shares are 0 to 1 here, times seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from serinus.errors import RolloutError
from serinus.project import Project
from serinus.rollout import Sticky

_LEAST_TIMEOUT = 1.0
_TIMEOUT = 10.0
"""The first attempt's time-out, in multiples of stable's 95th percentile."""
_SLOWER, _NOTICED = 1.2, 0.001


class Strategy(StrEnum):
    """How the traffic moves."""

    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    SHADOW = "shadow"
    UNDO = "undo"
    """Back to the version before: in charge as soon as it is ready."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a rollout is held to. It is fixed when the rollout starts."""

    strategy: Strategy = Strategy.CANARY
    steps: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 1.0)
    gates: tuple[float, ...] = ()
    """Steps before which a person must agree."""
    minimum: float = 30.0
    bake: float = 600.0
    margin: float = 0.01
    alpha: float = 0.01
    errors: float | None = None
    violations: float | None = None
    slow: str = "hold"
    drift: str = "hold"
    mirror: float = 1.0
    answers: int = 300
    agreement: float = 0.99
    tolerance: float = 1e-4
    """Numbers of two answers are equal within this, relative or absolute."""
    then: str = "wait"
    timeout: float | None = None
    deadline: float = 30.0
    """Of the service: no answer takes longer."""
    route: str = "/predict"
    idempotent: bool = True
    sticky: Sticky | None = None

    def try_timeout(self, p95: float | None) -> float:
        """Seconds that the candidate's answer may take before stable is asked."""
        if self.timeout is not None:
            return min(self.timeout, self.deadline)
        if p95 is None:
            return self.deadline
        return min(max(_LEAST_TIMEOUT, _TIMEOUT * p95), self.deadline)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Policy:
        """What :meth:`to_json` gave."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in document.items() if name in known}
        values["strategy"] = Strategy(values["strategy"])
        values |= {name: tuple(values[name]) for name in ("steps", "gates")}
        values["sticky"] = Sticky(**values["sticky"]) if values["sticky"] else None
        return cls(**values)


def policy(project: Project, strategy: str | None = None) -> Policy:
    """The policy of a project.

    Args:
        project: the project.
        strategy: in place of ``rollout.strategy``.

    Raises:
        RolloutError: there is no such strategy, or the policy does not fit itself.
    """
    table = project.rollout
    kind, _, name = (table.sticky or "").partition(":")
    made = Policy(
        strategy=_strategy(strategy or table.strategy),
        steps=tuple(_share(step) for step in table.steps),
        gates=tuple(_share(gate) for gate in table.gates),
        minimum=table.minimum,
        bake=table.bake,
        margin=table.margin,
        alpha=table.alpha,
        errors=table.errors,
        violations=table.violations,
        slow=table.slow,
        drift=table.drift,
        mirror=_share(table.shadow.mirror),
        answers=table.shadow.answers,
        agreement=table.shadow.agreement,
        tolerance=project.checks.behaviour.tolerance,
        then=table.shadow.then,
        timeout=table.timeout,
        deadline=project.service.deadline,
        route=project.service.route,
        idempotent=table.idempotent,
        sticky=Sticky(kind, name) if table.sticky else None,
    )
    if faults := tuple(_misfits(made)):
        raise RolloutError("; ".join(faults), "Correct the table [rollout].")
    return made


def _share(per_cent: float) -> float:
    """A share as the router has it: in ten-thousandths."""
    return round(per_cent * 100) / 10_000


def _strategy(name: str) -> Strategy:
    chosen = (Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.SHADOW)
    if name not in chosen:
        raise RolloutError(f"there is no strategy {name!r}", f"Name one of {', '.join(chosen)}.")
    return Strategy(name)


def _misfits(made: Policy) -> Iterator[str]:
    """What the policy promises and the router could not do: nothing is silently ignored."""
    if made.timeout is not None and made.timeout > made.deadline:
        yield (
            f"rollout.timeout is {made.timeout:g} s and service.deadline {made.deadline:g} s: no answer takes"
            " longer than the deadline"
        )
    if made.strategy is Strategy.SHADOW and not made.idempotent:
        yield "the strategy shadow asks every mirrored request twice, and rollout.idempotent is false"
    for step in made.steps:
        if round(step * 10_000) < 1:
            yield f"rollout.steps has {step * 100:g}; the router splits in hundredths of a per cent"


def per_cent(share: float) -> str:
    """A share for people: ``5 %``, ``0.25 %``."""
    return f"{share * 100:.4g} %"


def slow_beyond(p95: float | None) -> float | None:
    """Seconds beyond which an answer is slow; None while stable's 95th percentile is not known.

    A fifth and a millisecond more than that: what nobody notices is no reason to send anything back.
    """
    return None if p95 is None else _SLOWER * p95 + _NOTICED


def as_undo(policy: Policy) -> Policy:
    """The same, for the way back to the version before."""
    return replace(policy, strategy=Strategy.UNDO)
