"""Triggers: what has to happen because a model was registered or an alias moved, once each.

What was seen of a model and what follows from it are one transaction of the project's record, so that a kill
at any point loses no trigger and makes none twice. The decision (:func:`news`) is pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import time
from typing import Any

from serinus.models import ids
from serinus.pipeline import Value
from serinus.pipeline.database import Database

MODEL = "model"
"""The parameter by which a pipeline is told which version it is for."""


class Stage(StrEnum):
    """How far a trigger is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is watched: the versions of a model, or where one of its aliases points."""

    name: str
    alias: str = ""

    @classmethod
    def parse(cls, text: str) -> Subject:
        """``NAME`` or ``NAME@ALIAS``.

        Raises:
            ModelError: neither.
        """
        name, at, alias = text.partition("@")
        return cls(ids.check_name(name, text), ids.check_alias(alias, text) if at else "")

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.alias else self.name


@dataclass(frozen=True, slots=True)
class Trigger:
    """One run of a pipeline that is to be, or was."""

    number: int
    pipeline: str
    model: str
    """``NAME:VERSION``."""
    cause: str
    """``sentiment`` (a new version) or ``sentiment@production`` (where the alias points now)."""
    params: Mapping[str, Value] = field(hash=False)
    """Further parameters."""
    at: float
    """Seconds since the epoch."""
    stage: Stage
    run: str
    """The run that it led to, or nothing yet."""


def news(subject: Subject, before: int | None, found: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """The versions for which something has to happen, and what is to be remembered. Pure.

    Args:
        subject: what is watched.
        before: what was remembered: the highest version, or the one at which the alias pointed, 0 for none;
            None where nobody has looked before: what is there then is no news.
        found: the versions that there are now; of an alias the one at which it points, or none.
    """
    if subject.alias:
        now = found[0] if found else 0
        return ((now,) if now and before is not None and now != before else ()), now
    highest = max([*found, before or 0])
    fresh = () if before is None else tuple(sorted({version for version in found if version > before}))
    return fresh, highest


class Ledger:
    """The triggers of one project; may be used by several threads and opened by several processes.

    Args:
        root: the project's folder.
        clock: seconds since the epoch.

    Raises:
        PipelineError: the project's record cannot be read or written.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._file = Database(root)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def saw(
        self,
        pipeline: str,
        subject: Subject,
        found: Sequence[int],
        params: Mapping[str, Value] | None = None,
        *,
        everything: bool = False,
    ) -> tuple[str, ...]:
        """Take in what a look has shown.

        Args:
            pipeline: what a trigger is to run.
            subject: what was looked at.
            found: see :func:`news`.
            params: of the runs.
            everything: when nobody has looked before, all that is there is news.

        Returns:
            The models for which there are new triggers.
        """
        with self._file.change(lasting=True) as db:
            query = "SELECT seen FROM watched WHERE pipeline = ? AND subject = ?"
            row = db.execute(query, (pipeline, str(subject))).fetchone()
            before = row[0] if row else 0 if everything else None
            versions, seen = news(subject, before, found)
            if seen != before:
                values = (pipeline, str(subject), seen)
                db.execute("INSERT OR REPLACE INTO watched VALUES (?, ?, ?)", values)
            models = [str(ids.Id(subject.name, version)) for version in versions]
            return tuple(m for m in models if self._add(db, pipeline, m, str(subject), params))

    def told(self, pipeline: str, model: str, params: Mapping[str, Value] | None = None) -> bool:
        """Take in that somebody says that a version is there; whether that was news."""
        with self._file.change(lasting=True) as db:
            return self._add(db, pipeline, model, ids.parse(model).name, params)

    def _add(
        self, db: Any, pipeline: str, model: str, cause: str, params: Mapping[str, Value] | None
    ) -> bool:
        """Add a trigger. A version is new once, however it is heard of; an alias may come back to one."""
        if "@" not in cause:
            query = "SELECT 1 FROM triggers WHERE pipeline = ? AND model = ? AND cause = ?"
            if db.execute(query, (pipeline, model, cause)).fetchone():
                return False
        row = (pipeline, model, cause, json.dumps(dict(params or {})), self._clock(), Stage.PENDING)
        db.execute(
            "INSERT INTO triggers (pipeline, model, cause, params, at, stage, run) VALUES (?,?,?,?,?,?,'')",
            row,
        )
        return True

    def pending(self) -> Trigger | None:
        """The oldest trigger that has not led to the end of a run."""
        rows = self._triggers("WHERE stage = ? ORDER BY number LIMIT 1", (Stage.PENDING,))
        return rows[0] if rows else None

    def latest(self, limit: int = 20) -> list[Trigger]:
        """The latest triggers, the last one first."""
        return self._triggers("ORDER BY number DESC LIMIT ?", (limit,))

    def settle(self, trigger: Trigger, run: str, stage: Stage) -> None:
        """Which run a trigger has led to, and how far that is."""
        with self._file.change(lasting=True) as db:
            db.execute(
                "UPDATE triggers SET run = ?, stage = ? WHERE number = ?", (run, stage, trigger.number)
            )

    def _triggers(self, condition: str, values: Sequence[Any]) -> list[Trigger]:
        columns = "number, pipeline, model, cause, params, at, stage, run"
        rows = self._file.read(f"SELECT {columns} FROM triggers {condition}", values)  # noqa: S608
        return [
            Trigger(number, pipeline, model, cause, json.loads(params), at, Stage(stage), run)
            for number, pipeline, model, cause, params, at, stage, run in rows
        ]
