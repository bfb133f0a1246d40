"""The record of a project's pipelines: runs, steps, questions and results, in ``.serinus/runs.sqlite``.

SQLite in write-ahead mode. What was decided (a run begins or ends, a question is asked or answered) is synced
to the disk; how far a step is, is not: a kill at any point loses nothing, a loss of power may cost the last
steps, which are then run again.

A step in the making is in the table ``making`` from before its process is started until its outputs are
recorded; what a killed run left there is removed before anything else is done.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.pipeline.database import Database
from serinus.pipeline.plan import Outcome, State

_RUN = "id, pipeline, number, outcome, params, options, who, revision, pid, began, ended"
_STEP = "run, step, place, state, reason, began, seconds, attempts, code"
_QUESTION = "run, step, key, evidence, asked, answer, who, at, comment"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run."""

    id: str
    """``train-12``."""
    pipeline: str
    number: int
    outcome: Outcome
    params: Mapping[str, Any]
    options: Mapping[str, Any]
    """How it was started: ``force``, ``start``, ``only``."""
    who: str
    revision: str
    """The git commit, ``+`` behind it where files differed from it; empty outside a checkout."""
    pid: int
    began: float
    """Seconds since the epoch."""
    ended: float | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a run."""

    run: str
    step: str
    place: int
    state: State
    reason: str
    began: float | None
    seconds: float | None
    attempts: int
    code: int | None
    """Exit code of the last attempt; negative for the signal that ended it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a person, and the answer."""

    run: str
    step: str
    key: str
    """Changes with the question and the files that are shown."""
    evidence: Mapping[str, Any]
    """What was in front of the person."""
    asked: float
    answer: str | None
    """``yes`` or ``no``; None while nobody has answered."""
    who: str | None
    at: float | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a step made."""

    key: str
    parts: Mapping[str, Any]
    outputs: Mapping[str, Any]
    size: int
    seconds: float
    run: str


class Record:
    """The record of one project; may be used by several threads and opened by several processes.

    Args:
        root: the project's folder.
        clock: seconds since the epoch.

    Raises:
        PipelineError: it is of another version of Serinus, is damaged, or cannot be written.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._file = Database(root)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # Runs

    def new_run(
        self,
        pipeline: str,
        steps: Sequence[str],
        *,
        params: Mapping[str, Any],
        options: Mapping[str, Any],
        who: str,
        revision: str,
        pid: int,
    ) -> str:
        """Begin a run; its id."""
        with self._file.change(lasting=True) as db:
            query = "SELECT coalesce(max(number), 0) + 1 FROM runs WHERE pipeline = ?"
            (number,) = db.execute(query, (pipeline,)).fetchone()
            run = f"{pipeline}-{number}"
            told = (json.dumps(params), json.dumps(options), who, revision, pid)
            row = (run, pipeline, number, Outcome.RUNNING, *told, self.clock())
            db.execute(f"INSERT INTO runs ({_RUN}) VALUES (?,?,?,?,?,?,?,?,?,?,NULL)", row)  # noqa: S608
            _place(db, run, steps)
        return run

    def go_on(self, run: str, steps: Sequence[str], pid: int) -> None:
        """A run that was stopped goes on; what was done in it stays as it is."""
        with self._file.change(lasting=True) as db:
            db.execute(
                "UPDATE runs SET outcome = ?, pid = ?, ended = NULL WHERE id = ?", (Outcome.RUNNING, pid, run)
            )
            over = "run = ? AND state NOT IN (?, ?)"
            db.execute(f"DELETE FROM steps WHERE {over}", (run, State.DONE, State.CACHED))  # noqa: S608
            _place(db, run, steps)

    def end_run(self, run: str, outcome: Outcome) -> None:
        """A run is over, or waits."""
        with self._file.change(lasting=True) as db:
            db.execute("UPDATE runs SET outcome = ?, ended = ? WHERE id = ?", (outcome, self.clock(), run))

    def run(self, run: str) -> RunRow | None:
        """A run by its id."""
        return next(iter(self._runs("WHERE id = ?", (run,))), None)

    def runs(self, pipeline: str | None = None, limit: int = 20) -> list[RunRow]:
        """The latest runs, the last one first."""
        if pipeline is None:
            return self._runs("ORDER BY began DESC, number DESC LIMIT ?", (limit,))
        return self._runs("WHERE pipeline = ? ORDER BY number DESC LIMIT ?", (pipeline, limit))

    def open_runs(self, pipeline: str) -> list[RunRow]:
        """The runs that say that they run."""
        return self._runs("WHERE pipeline = ? AND outcome = ?", (pipeline, Outcome.RUNNING))

    def _runs(self, condition: str, values: Sequence[Any]) -> list[RunRow]:
        rows = self._file.read(f"SELECT {_RUN} FROM runs {condition}", values)  # noqa: S608
        return [
            RunRow(id_, pipeline, number, Outcome(outcome), json.loads(params), json.loads(options), *rest)
            for id_, pipeline, number, outcome, params, options, *rest in rows
        ]

    # Steps

    def steps(self, run: str) -> list[StepRow]:
        """The steps of a run, in the order of the pipeline."""
        rows = self._file.read(f"SELECT {_STEP} FROM steps WHERE run = ? ORDER BY place", (run,))  # noqa: S608
        return [StepRow(r, step, place, State(state), *rest) for r, step, place, state, *rest in rows]

    def set_steps(self, run: str, states: Mapping[str, tuple[State, str]]) -> None:
        """Steps that came into a state without being run: name -> state and reason."""
        with self._file.change() as db:
            rows = [(state, reason, run, step) for step, (state, reason) in states.items()]
            db.executemany("UPDATE steps SET state = ?, reason = ? WHERE run = ? AND step = ?", rows)

    def make(self, run: str, step: str, outputs: Sequence[str], attempt: int = 0) -> str | None:
        """A step is about to make its outputs.

        Returns:
            The run of another pipeline that makes one of them now, in which case nothing was recorded.
        """
        with self._file.change() as db:
            others = db.execute("SELECT run, outputs FROM making WHERE run <> ?", (run,)).fetchall()
            for other, text in others:
                if any(_overlap(mine, theirs) for mine in outputs for theirs in json.loads(text)):
                    return str(other)
            row = (run, step, json.dumps(list(outputs)))
            db.execute("INSERT OR REPLACE INTO making VALUES (?, ?, ?)", row)
            if attempt:
                began = "UPDATE steps SET state = ?, began = ?, attempts = ? WHERE run = ? AND step = ?"
                db.execute(began, (State.RUNNING, self.clock(), attempt, run, step))
        return None

    def made(
        self, run: str, pipeline: str, step: str, state: State, *, reason: str = "", code: int | None = None,
        seconds: float | None = None, result: Result | None = None,
    ) -> None:  # fmt: skip
        """A step is over; with its result, if it is to be taken again. Nothing of it is in the making."""
        with self._file.change() as db:
            db.execute("DELETE FROM making WHERE run = ? AND step = ?", (run, step))
            db.execute(
                "UPDATE steps SET state = ?, reason = ?, code = ?, seconds = ? WHERE run = ? AND step = ?",
                (state, reason, code, seconds, run, step),
            )
            if result is not None:
                row = (
                    pipeline, step, result.key, json.dumps(result.parts), json.dumps(result.outputs),
                    result.size, result.seconds, result.run, self.clock(),
                )  # fmt: skip
                db.execute("INSERT OR REPLACE INTO results VALUES (?,?,?,?,?,?,?,?,?)", row)

    def making(self, run: str | None = None) -> list[tuple[str, str, list[str]]]:
        """What is in the making: run, step, outputs."""
        rows = self._file.read("SELECT run, step, outputs FROM making WHERE ? IN (run, '')", (run or "",))
        return [(r, step, json.loads(outputs)) for r, step, outputs in rows]

    def give_up(self, run: str, step: str) -> None:
        """What was in the making is there no more."""
        with self._file.change() as db:
            db.execute("DELETE FROM making WHERE run = ? AND step = ?", (run, step))
            db.execute(
                "UPDATE steps SET state = ?, reason = 'killed' WHERE run = ? AND step = ?",
                (State.INTERRUPTED, run, step),
            )

    # Results

    def result(self, pipeline: str, step: str, key: str) -> Result | None:
        """What a step made under this key."""
        return self._result("AND key = ?", (pipeline, step, key))

    def last_result(self, pipeline: str, step: str) -> Result | None:
        """What a step made or was taken from last."""
        return self._result("ORDER BY used DESC LIMIT 1", (pipeline, step))

    def _result(self, condition: str, values: Sequence[Any]) -> Result | None:
        columns = "key, parts, outputs, size, seconds, run"
        query = f"SELECT {columns} FROM results WHERE pipeline = ? AND step = ? {condition}"  # noqa: S608
        for key, parts, outputs, size, seconds, run in self._file.read(query, values):
            return Result(key, json.loads(parts), json.loads(outputs), size, seconds, run)
        return None

    def take(self, run: str, pipeline: str, step: str, key: str, reason: str) -> None:
        """A step was not run: its result was taken. One that was done in this run stays so."""
        with self._file.change() as db:
            db.execute(
                "UPDATE results SET used = ? WHERE pipeline = ? AND step = ? AND key = ?",
                (self.clock(), pipeline, step, key),
            )
            db.execute("DELETE FROM making WHERE run = ? AND step = ?", (run, step))
            db.execute(
                "UPDATE steps SET state = ?, reason = ? WHERE run = ? AND step = ? AND state <> ?",
                (State.CACHED, reason, run, step, State.DONE),
            )

    def sizes(self, pipeline: str) -> list[tuple[str, str, int, float]]:
        """Every result of a pipeline: step, key, bytes, when it was used last; that used last comes first."""
        query = "SELECT step, key, size, used FROM results WHERE pipeline = ? ORDER BY used DESC"
        return [(step, key, size, used) for step, key, size, used in self._file.read(query, (pipeline,))]

    def forget(self, pipeline: str, results: Sequence[tuple[str, str]]) -> None:
        """Forget results, by step and key."""
        with self._file.change() as db:
            rows = [(pipeline, step, key) for step, key in results]
            db.executemany("DELETE FROM results WHERE pipeline = ? AND step = ? AND key = ?", rows)

    def kept(self) -> Iterator[Mapping[str, Any]]:
        """The outputs of all results of all pipelines."""
        return (json.loads(text) for (text,) in self._file.read("SELECT outputs FROM results", ()))

    # Questions

    def ask(self, run: str, step: str, key: str, evidence: Mapping[str, Any]) -> Question:
        """Ask, or take up the question that was asked in this run about the same."""
        with self._file.change(lasting=True) as db:
            db.execute(
                "DELETE FROM questions WHERE run = ? AND step = ? AND answer IS NULL AND key <> ?",
                (run, step, key),
            )
            query = "SELECT 1 FROM questions WHERE run = ? AND step = ? AND key = ? AND answer IS NOT 'no'"
            if db.execute(query, (run, step, key)).fetchone() is None:
                db.execute(
                    "INSERT INTO questions (run, step, key, evidence, asked) VALUES (?, ?, ?, ?, ?)",
                    (run, step, key, json.dumps(evidence), self.clock()),
                )
            db.execute(
                "UPDATE steps SET state = ?, began = coalesce(began, ?) WHERE run = ? AND step = ?",
                (State.ASKING, self.clock(), run, step),
            )
        return next(one for one in reversed(self.questions(run, step)) if one.key == key)

    def questions(self, run: str, step: str | None = None) -> list[Question]:
        """The questions of a run, in the order in which they were asked."""
        query = f"SELECT {_QUESTION} FROM questions WHERE run = ? AND ? IN (step, '') ORDER BY asked, rowid"  # noqa: S608
        rows = self._file.read(query, (run, step or ""))
        return [Question(r, s, key, json.loads(evidence), *rest) for r, s, key, evidence, *rest in rows]

    def answer(self, run: str, step: str, asked: float, *, answer: str, who: str, comment: str) -> bool:
        """Answer a question; False if somebody has answered it already."""
        with self._file.change(lasting=True) as db:
            cursor = db.execute(
                "UPDATE questions SET answer = ?, who = ?, at = ?, comment = ? "
                "WHERE run = ? AND step = ? AND asked = ? AND answer IS NULL",
                (answer, who, self.clock(), comment, run, step, asked),
            )
            return cursor.rowcount == 1

    # Files

    def files(self) -> dict[str, tuple[Any, str]]:
        """What is remembered of files: path -> state and digest."""
        rows = self._file.read("SELECT path, state, digest FROM files", ())
        return {path: (tuple(map(int, state.split())), digest) for path, state, digest in rows}

    def remember(self, files: Mapping[str, tuple[Sequence[int], str]]) -> None:
        """Remember states and digests of files."""
        with self._file.change() as db:
            rows = [(path, " ".join(map(str, state)), digest) for path, (state, digest) in files.items()]
            db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)

    def lose(self, files: Sequence[str]) -> None:
        """Forget files."""
        with self._file.change() as db:
            db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in files])


def _place(db: sqlite3.Connection, run: str, steps: Sequence[str]) -> None:
    """Every step of a run has its place; those that are new are pending."""
    query = (
        "INSERT INTO steps (run, step, place, state, reason, attempts) VALUES (?, ?, ?, ?, '', 0) "
        "ON CONFLICT DO UPDATE SET place = excluded.place"
    )
    db.executemany(query, [(run, step, place, State.PENDING) for place, step in enumerate(steps)])


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")
