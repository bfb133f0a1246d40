"""What happens during a run, as frozen values, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serinus.pipeline import Value
from serinus.pipeline.plan import Outcome, State


@dataclass(frozen=True, slots=True)
class Opened:
    """A run has begun, or goes on."""

    run: str
    pipeline: str
    steps: tuple[str, ...]
    params: Mapping[str, Value] = field(hash=False)
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Began:
    """A step's process is about to be started; ``attempt`` counts from 1."""

    step: str
    attempt: int = 1
    why: str = ""
    """What has changed since it ran last."""


@dataclass(frozen=True, slots=True)
class Said:
    """A step has printed whole lines; secrets are masked."""

    step: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A step is over."""

    step: str
    state: State
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A person is asked; ``evidence`` is what they see."""

    run: str
    step: str
    evidence: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody has answered."""

    step: str
    answer: str
    who: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something that a person should know."""

    text: str


Moment = Opened | Began | Said | Ended | Asked | Answered | Hint
Tell = Callable[[Moment], None]


def unheard(moment: Moment) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a step."""

    name: str
    state: State
    seconds: float = 0.0
    reason: str = ""
    attempts: int = 0
    code: int | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run."""

    id: str
    pipeline: str
    outcome: Outcome
    seconds: float
    params: Mapping[str, Value] = field(hash=False)
    steps: tuple[StepResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        steps = [
            {
                "name": step.name,
                "state": step.state.value,
                "seconds": round(step.seconds, 3),
                "reason": step.reason,
                "attempts": step.attempts,
                "code": step.code,
            }
            for step in self.steps
        ]
        return {
            "id": self.id,
            "pipeline": self.pipeline,
            "outcome": self.outcome.value,
            "seconds": round(self.seconds, 3),
            "params": dict(self.params),
            "steps": steps,
        }
