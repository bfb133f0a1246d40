"""Compare two contracts: which changes break callers? Pure.

A request must go on being accepted: whatever the old schema allowed, the new one must allow. A response must
be what was promised: whatever the new schema allows, the old one must have allowed. So a new member of a
response breaks nobody as long as the old schema left its objects open, as those drawn from typed functions
and ONNX graphs do: callers read the members they know. Where the old one said ``additionalProperties: false``
it promised that there are no others, and a caller may have been written to rely on that.

What cannot be decided is reported as breaking, and says that it cannot be shown to be compatible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serinus.contract import Contract, Schema
from serinus.contract.containment import Problem, problems
from serinus.contract.shape import Document, canonical
from serinus.contract.wire import pointer
from serinus.errors import ContractError

Side = Literal["request", "response"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two contracts."""

    side: Side
    pointer: str
    """JSON Pointer into the *documents* that the schemas describe, not into the schemas: ``/positive`` is the
    member ``positive`` of the request or response. ``*`` stands for every item or every further member."""
    kind: str
    """The keyword it is about: ``type``, ``required``, ``enum``, ``maximum``, ..."""
    breaking: bool
    why: str
    """A sentence for a person."""


def compare(old: Contract, new: Contract) -> tuple[Change, ...]:
    """The changes from one contract to the other, breaking ones first; empty when callers cannot tell.

    Examples, titles, descriptions and defaults are no part of what callers rely on.
    """
    changes = [*_side("request", old.request, new.request), *_side("response", old.response, new.response)]
    return tuple(sorted(changes, key=lambda change: not change.breaking))


def _side(side: Side, old: Schema, new: Schema) -> list[Change]:
    if canonical(old) == canonical(new):
        return []
    try:
        before, after = Document.read(old), Document.read(new)
    except ContractError as error:
        return [Change(side, "", "schema", True, f"cannot be shown to be compatible: {error.message}")]
    if canonical([before.root, before.definitions]) == canonical([after.root, after.definitions]):
        return []
    narrow, wide = (before, after) if side == "request" else (after, before)
    broken = problems(narrow, wide)
    known = {(problem.path, problem.keyword) for problem in broken}
    eased = [p for p in problems(wide, narrow) if (p.path, p.keyword) not in known]
    return [*(_change(side, p, True) for p in broken), *(_change(side, p, False) for p in eased)]


def _change(side: Side, problem: Problem, breaking: bool) -> Change:
    if not problem.decided:
        why = "cannot be shown to be compatible" if breaking else "changed, without breaking callers"
        why = f"{why}: {problem.gap}"
    elif side == "request":
        why = "callers may send {}, which is no longer accepted" if breaking else "{} is accepted now"
        why = why.format(problem.gap)
    else:
        why = "callers may now get {}, which was not possible before" if breaking else "{} is no longer sent"
        why = why.format(problem.gap)
    return Change(side, pointer(problem.path), problem.keyword, breaking, why)
