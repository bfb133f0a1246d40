"""Shadows: what stable and candidate answered to the same request, side by side (pure).

Answers are joined by the request's id, which the router gives to a request and to its copy alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serinus.contract.differences import same
from serinus.contract.wire import pointer as token

_KEPT = 5
"""Disagreements that are kept as examples."""
_LONGEST = 2000
"""Characters of an answer that an example shows."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, as the log of a replica has it."""

    request_id: str
    status: int
    seconds: float
    answer: Any = None
    """The decoded body; None where it was no JSON or too long."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An example of two answers that differ."""

    request_id: str
    stable: str
    candidate: str
    where: str
    """JSON Pointer of the first difference."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the pairs have shown so far."""

    pairs: int = 0
    agreed: int = 0
    logs: float = 0.0
    """Sum of the logarithms of the ratios of the latencies, candidate's to stable's."""
    examples: tuple[Disagreement, ...] = ()

    @property
    def agreement(self) -> float:
        """Share of the pairs that agree; not a number without pairs."""
        return self.agreed / self.pairs if self.pairs else math.nan

    @property
    def latency_ratio(self) -> float:
        """Geometric mean of the ratios of the latencies; not a number without pairs."""
        return math.exp(self.logs / self.pairs) if self.pairs else math.nan

    def after(self, stable: Answered, candidate: Answered, tolerance: float) -> Comparison:
        """With one more pair.

        Args:
            stable: what the caller got.
            candidate: what the copy of the request got.
            tolerance: numbers are equal within this, relative or absolute.
        """
        where = differs(stable.answer, candidate.answer, tolerance)
        if stable.status != candidate.status:
            where = ""
        ratio = max(candidate.seconds, 1e-6) / max(stable.seconds, 1e-6)
        made = replace(self, pairs=self.pairs + 1, logs=self.logs + math.log(ratio))
        if where is None:
            return replace(made, agreed=self.agreed + 1)
        if len(self.examples) >= _KEPT:
            return made
        example = Disagreement(stable.request_id, _shown(stable), _shown(candidate), where)
        return replace(made, examples=(*self.examples, example))

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Comparison:
        """What ``dataclasses.asdict`` made of one."""
        examples = tuple(Disagreement(**one) for one in told["examples"])
        return cls(told["pairs"], told["agreed"], told["logs"], examples)


def _shown(answered: Answered) -> str:
    text = json.dumps(answered.answer, ensure_ascii=False)
    return f"{answered.status} {text}"[:_LONGEST]


def differs(one: Any, other: Any, tolerance: float, pointer: str = "") -> str | None:
    """JSON Pointer of the first place where two decoded documents differ; None if they are equal.

    Types are strict: ``true`` is not ``1``; an integer is a number.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return _members(one, other, tolerance, pointer)
    if isinstance(one, list) and isinstance(other, list):
        return _items(one, other, tolerance, pointer)
    return None if same(one, other, tolerance) else pointer


def _members(one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float, pointer: str) -> str | None:
    for name in [*one, *(name for name in other if name not in one)]:
        below = pointer + token((name,))
        if name not in one or name not in other:
            return below
        if (found := differs(one[name], other[name], tolerance, below)) is not None:
            return found
    return None


def _items(one: Sequence[Any], other: Sequence[Any], tolerance: float, pointer: str) -> str | None:
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if (found := differs(mine, theirs, tolerance, f"{pointer}/{index}")) is not None:
            return found
    return None if len(one) == len(other) else f"{pointer}/{min(len(one), len(other))}"


class Pairing:
    """Joins the answers of both versions by request id. What finds no partner is forgotten, oldest first.

    Args:
        limit: answers of each version that may wait.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._waiting: tuple[dict[str, Answered], dict[str, Answered]] = ({}, {})

    def add(
        self, stable: Sequence[Answered], candidate: Sequence[Answered]
    ) -> tuple[tuple[Answered, Answered], ...]:
        """Take further answers; the pairs (stable's, candidate's) that are whole now."""
        pairs = []
        for side, found in enumerate((stable, candidate)):
            mine, theirs = self._waiting[side], self._waiting[1 - side]
            for answered in found:
                partner = theirs.pop(answered.request_id, None)
                if partner is None:
                    mine[answered.request_id] = answered
                    if len(mine) > self._limit:
                        del mine[next(iter(mine))]
                else:
                    pairs.append((answered, partner) if side == 0 else (partner, answered))
        return tuple(pairs)
