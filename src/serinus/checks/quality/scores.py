"""Labels and predictions, row by row. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from serinus.checks import Failed, Finding, NotApplicable
from serinus.checks.fixtures import LABELLED
from serinus.checks.subjects import Answered, Labelled, at
from serinus.project import Checks

SHOWN = 5
"""Rows that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of labelled data, answered or not."""

    line: int
    """In the file of labelled data, from 1."""
    label: Any
    prediction: Any = None
    fault: str = ""
    """Why there is no prediction."""
    file: str = LABELLED
    """The file of labelled data."""

    @property
    def key(self) -> str:
        """The prediction as text; "" where there is none."""
        return "" if self.fault else text(self.prediction)

    @property
    def right(self) -> bool:
        """Whether the prediction is the label; a row that was not answered is wrong."""
        return not self.fault and text(self.prediction) == text(self.label)


def text(value: Any) -> str:
    """A JSON value as text that is equal for equal values: 1 and 1.0, but not 1 and true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def rows(labelled: Sequence[Labelled], answers: Sequence[Answered], settings: Checks) -> tuple[Row, ...]:
    """Each row with the part of the response that is held against its label.

    Raises:
        NotApplicable: there are no rows.
    """
    if not labelled:
        raise NotApplicable("the labelled data has no rows", "Add some, one a line.")
    quality = settings.quality
    ranked = quality.metric == "auc" and quality.score is not None
    path = quality.score if ranked and quality.score is not None else settings.prediction
    key = "checks.quality.score" if ranked else "checks.prediction"
    file = settings.labelled or LABELLED
    found = []
    for row, answer in zip(labelled, answers, strict=True):
        prediction, fault = None, answer.fault
        if not fault:
            try:
                prediction = at(answer.response, path)
            except LookupError:
                fault = f"the response has nothing at {path!r}, which {key} names"
        found.append(Row(row.line, row.label, prediction, fault, file))
    return tuple(found)


def named(lines: Iterable[int]) -> str:
    """Line numbers for a sentence: the first few, and how many more."""
    known = list(lines)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"line{'s' * (len(known) != 1)} {', '.join(map(str, known[:SHOWN]))}{more}"


def unanswered(found: Sequence[Row], file: str) -> tuple[Finding, ...]:
    """One finding for the rows that were not answered, if there are any."""
    faulty = [row for row in found if row.fault]
    if not faulty:
        return ()
    return (
        Finding(
            f"{len(faulty):,} of {len(found):,} rows were not answered and count as wrong "
            f"({named(row.line for row in faulty)}); the first: {faulty[0].fault}",
            "Correct the service, or the requests of these rows, or checks.prediction.",
            file,
            faulty[0].line,
        ),
    )


def wrong_kind(found: Sequence[Row]) -> str:
    """What to do when no prediction is of a kind that the labels have; "" when some is."""
    labels = {_kind(row.label) for row in found}
    predictions = {_kind(row.prediction) for row in found if not row.fault}
    if not predictions or labels & predictions:
        return ""
    expected, seen = " or ".join(sorted(labels)), " or ".join(sorted(predictions))
    return f"The labels are {expected} and what is at checks.prediction is {seen}: set checks.prediction."


def _kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def refuse_unanswered(found: Sequence[Row], file: str) -> None:
    """Stop when no row at all was answered.

    Raises:
        Failed: it says why.
    """
    if all(row.fault for row in found):
        raise Failed(*unanswered(found, file))
