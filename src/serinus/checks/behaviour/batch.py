"""The same answer alone and among others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from serinus.checks import Finding, Result, check
from serinus.checks.asked import ask
from serinus.checks.behaviour.answers import MOST, none_answered, place, unlike
from serinus.checks.contract.asking import shown
from serinus.checks.subjects import Alone, Answered, Service
from serinus.contract import Contract, violations
from serinus.project import Checks

CALLERS = 16
"""Requests under way at once."""


@check(
    "behaviour.batch",
    why="Padding of a batch leaked into the answers of its shorter texts: right alone, wrong under load.",
    seconds=2.0,
)
def batch(settings: Checks, contract: Contract, alone: Alone, service: Service) -> Result:
    """A request is answered among 16 others, and in one request with others, as it is alone.

    Numbers may differ by ``behaviour.batch_tolerance``: a quantised model rounds otherwise in a batch. Labels
    may not, unless the numbers beside them say that it was a tie: one is 0.5, or the two largest of an array
    are equal, within that tolerance.
    """
    tolerance = settings.behaviour.batch_tolerance
    times = max(1, -(-CALLERS // len(alone.requests)))
    asked = list(alone.requests) * times
    found = [
        _finding(f"the request {shown(request, 200)} among others", fault)
        for request, one, other in zip(
            asked, list(alone.rounds[0]) * times, ask(service, asked, CALLERS), strict=True
        )
        for fault in told(one, other, tolerance)
    ]
    pairs = [(r, a.response) for r, a in zip(alone.requests, alone.rounds[0], strict=True) if not a.fault]
    together = joined(pairs)
    if together is not None and violations.compile(contract.request).ok(together[0]):
        (answer,) = ask(service, [together[0]])
        what = f"{len(pairs)} requests in one"
        found += [_finding(what, fault) for fault in told(Answered(together[1]), answer, tolerance)]
    found += none_answered(alone.rounds[0])
    return Result("" if found else f"{len(asked)} requests, {CALLERS} at a time", tuple(found[:MOST]))


def _finding(what: str, fault: tuple[str, str]) -> Finding:
    return Finding(
        f"{what}: {place(fault[0])}{fault[1]} as alone",
        "Let the items of a batch not touch each other: mask the padding, keep no state between calls. If "
        'they are meant to, leave it out: checks.skip = ["behaviour.batch"].',
        pointer=fault[0],
    )


def joined(pairs: Sequence[tuple[Any, Any]]) -> tuple[Any, Any] | None:
    """Several requests as one, with the response that it must get; None where there is no such request. Pure.

    That is so for lists that are answered by lists as long, and for objects of such lists, all of one length.
    """
    if len(pairs) < 2:
        return None
    if all(isinstance(r, list) and isinstance(a, list) and len(r) == len(a) for r, a in pairs):
        return [i for r, _ in pairs for i in r], [i for _, a in pairs for i in a]
    if not all(_in_step(r, a) for r, a in pairs):
        return None
    asked, answered = pairs[0]
    if any(r.keys() != asked.keys() or a.keys() != answered.keys() for r, a in pairs):
        return None
    return (
        {name: [i for r, _ in pairs for i in r[name]] for name in asked},
        {name: [i for _, a in pairs for i in a[name]] for name in answered},
    )


def _in_step(request: Any, answer: Any) -> bool:
    if not (isinstance(request, dict) and isinstance(answer, dict) and request and answer):
        return False
    members = [*request.values(), *answer.values()]
    return all(isinstance(m, list) and len(m) == len(members[0]) for m in members)


def told(one: Answered, other: Answered, tolerance: float) -> tuple[tuple[str, str], ...]:
    """How an answer differs from that alone, ties left out. Pure."""
    faults = unlike(one, other, tolerance)
    numeric = {p for p, _ in faults if one.fault or other.fault or _is_number(one.response, p)}
    if numeric:
        return faults
    return tuple(f for f in faults if not tied(one.response, f[0], tolerance))


def tied(document: Any, pointer: str, tolerance: float) -> bool:
    """Whether the numbers beside a label say that another label was as near. Pure.

    Args:
        document: a response.
        pointer: of a label in it.
        tolerance: of numbers.
    """
    parts = pointer.split("/")[1:]
    for depth in range(len(parts) - 1, -1, -1):
        parent = _at(document, parts[:depth])
        if not isinstance(parent, dict):
            continue
        indices = [int(p) for p in parts[depth + 1 :] if p.isdecimal()]
        beside = [_within(member, indices) for name, member in parent.items() if name != parts[depth]]
        if any(_near(numbers, tolerance) for numbers in map(list, map(_numbers, beside)) if numbers):
            return True
    return False


def _near(numbers: list[float], tolerance: float) -> bool:
    if len(numbers) == 1:
        return abs(numbers[0] - 0.5) <= tolerance
    first, second = sorted(numbers, reverse=True)[:2]
    return first - second <= 2 * tolerance * max(1.0, abs(first))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)


def _within(value: Any, indices: Sequence[int]) -> Any:
    for index in indices:
        if isinstance(value, list) and index < len(value):
            value = value[index]
    return value


def _is_number(document: Any, pointer: str) -> bool:
    value = _at(document, pointer.split("/")[1:])
    return isinstance(value, float)


def _at(document: Any, parts: Sequence[str]) -> Any:
    from serinus.checks.subjects import at, joined

    return at(document, joined(*(p.replace("~1", "/").replace("~0", "~") for p in parts)))
