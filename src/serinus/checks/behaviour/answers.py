"""Answers, compared with the examples, with each other, and with those of the source tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.asked import answered
from serinus.checks.contract.asking import shown
from serinus.checks.places import example_lines
from serinus.checks.subjects import Alone, Answered, Given, Service
from serinus.contract import UNKNOWN, Example
from serinus.contract.differences import differences
from serinus.project import Checks

MOST = 10
"""Findings of one check that are shown."""
SOURCE = 20
"""So many requests are put to the service from source."""


@check(
    "behaviour.golden", why="Labels swapped in training passed every other check: only an answer shows it."
)
def golden(given: Given, settings: Checks, examples: tuple[Example, ...], alone: Alone) -> Result:
    """Each example with a response is answered with that response, numbers within ``behaviour.tolerance``."""
    file, lines = example_lines(given, len(examples))
    found: list[Finding] = []
    known = 0
    for index, (example, answer) in enumerate(zip(examples, alone.rounds[0], strict=False)):
        if example.response is UNKNOWN:
            continue
        known += 1
        for pointer, message in unlike(Answered(example.response), answer, settings.behaviour.tolerance):
            found.append(
                Finding(
                    f"example {index + 1}: {place(pointer)}{message}",
                    "Mend the service or its model; if the new answer is right, correct the example.",
                    file,
                    lines[index],
                    pointer,
                )
            )
    if not known:
        raise NotApplicable("no example names its response", 'Add a member "response" to one.')
    return Result("" if found else f"{known} answers as expected", tuple(found[:MOST]))


@check(
    "behaviour.repeat", why="A counter, a clock or a random number in a service makes its tests mean nothing."
)
def repeat(settings: Checks, alone: Alone) -> Result:
    """The same request gets the same answer each time, numbers within ``behaviour.tolerance``."""
    first, *others = alone.rounds
    found = [
        Finding(
            f"the request {shown(request, 200)}, asked again: {place(pointer)}{message}",
            "Take out what changes from call to call: state, time, random numbers without a seed.",
            pointer=pointer,
        )
        for again in others
        for request, one, other in zip(alone.requests, first, again, strict=False)
        for pointer, message in unlike(one, other, settings.behaviour.tolerance)
    ]
    found += none_answered(first)
    return Result(
        "" if found else f"{len(others[0])} requests, {len(alone.rounds)} times", tuple(found[:MOST])
    )


@check(
    "behaviour.source",
    why="A file that was left out of the image changed its answers, and only there.",
    seconds=2.0,
)
def source(settings: Checks, alone: Alone, from_source: Service) -> Result:
    """The image answers as the service from the source tree does, numbers within ``behaviour.tolerance``."""
    requests = alone.requests[:SOURCE]
    found = [
        Finding(
            f"the request {shown(request, 200)}, answered by the image: {place(pointer)}{message} "
            "by the service from source",
            "Find what the image lacks or has otherwise: ignored files, environment variables, versions.",
            pointer=pointer,
        )
        for request, inside in zip(requests, alone.rounds[0], strict=False)
        for pointer, message in unlike(answered(from_source, request), inside, settings.behaviour.tolerance)
    ]
    found += none_answered(alone.rounds[0])
    return Result("" if found else f"{len(requests)} requests answered alike", tuple(found[:MOST]))


def unlike(expected: Answered, got: Answered, tolerance: float) -> tuple[tuple[str, str], ...]:
    """Where two answers differ, as pointers and messages. Two faults are alike. Pure.

    Args:
        expected: what it should be.
        got: what it is.
        tolerance: of numbers, relative or absolute.
    """
    if expected.fault and got.fault:
        return ()
    if expected.fault or got.fault:
        return (("", f"found {got.fault or 'an answer'}, expected {expected.fault or 'an answer'}"),)
    return tuple(differences(expected.response, got.response, (), tolerance))


def place(pointer: str) -> str:
    """The beginning of a message about a place."""
    return f"at {pointer}: " if pointer else ""


def none_answered(answers: Iterable[Answered]) -> list[Finding]:
    """A finding if all that was asked failed: nothing can be compared, and that is no pass. Pure."""
    faults: list[Any] = [answer.fault for answer in answers]
    if all(faults):
        return [
            Finding(
                f"no request was answered: {faults[0] if faults else 'none was asked'}",
                "Mend the service; see contract.examples.",
            )
        ]
    return []
