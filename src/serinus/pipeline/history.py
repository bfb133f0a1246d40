"""Runs of the past, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from serinus.errors import PipelineError
from serinus.pipeline.record import Question, Record, RunRow, StepRow
from serinus.pipeline.work import log_of


@dataclass(frozen=True, slots=True)
class Past:
    """A run with its steps and questions."""

    run: RunRow
    steps: tuple[StepRow, ...]
    questions: tuple[Question, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **run_json(self.run),
            "steps": [
                {name: value for name, value in asdict(step).items() if name not in {"run", "place"}}
                for step in self.steps
            ],
            "approvals": [
                {name: value for name, value in asdict(question).items() if name not in {"run", "key"}}
                for question in self.questions
            ],
        }


def run_json(run: RunRow) -> dict[str, Any]:
    """A run as plain values."""
    return asdict(run) | {"outcome": run.outcome.value, "params": dict(run.params)}


def runs(root: Path, pipeline: str | None = None, limit: int = 20) -> list[RunRow]:
    """The latest runs of a project, the last one first.

    Raises:
        PipelineError: the record cannot be read.
    """
    with _recorded(root) as record:
        return record.runs(pipeline, limit)


def show(root: Path, run: str) -> Past:
    """A run by its id.

    Raises:
        PipelineError: there is none of this id.
    """
    with _recorded(root) as record:
        row = _one(record, run)
        return Past(row, tuple(record.steps(run)), tuple(record.questions(run)))


def log(root: Path, run: str, step: str) -> bytes:
    """What a step printed, secrets masked; nothing where it printed nothing or was not run.

    Raises:
        PipelineError: there is no such run or step.
    """
    with _recorded(root) as record:
        _one(record, run)
        names = [row.step for row in record.steps(run)]
    if step not in names:
        raise PipelineError(
            f"{run} has no step {step!r}; it has {', '.join(names)}", "Name one of its steps."
        )
    path = log_of(root, run, step)
    return path.read_bytes() if path.exists() else b""


def _one(record: Record, run: str) -> RunRow:
    row = record.run(run)
    if row is not None:
        return row
    known = [one.id for one in record.runs(limit=100)]
    close = get_close_matches(run, known, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]}?" if close else f"the latest are {', '.join(known[:5]) or 'none'}"
    raise PipelineError(f"there is no run {run!r}; {hint}", "`serinus runs` lists them.")


@contextmanager
def _recorded(root: Path) -> Iterator[Record]:
    record = Record(root)
    try:
        yield record
    finally:
        record.close()
