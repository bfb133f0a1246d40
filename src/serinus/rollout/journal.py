"""The journal: what is wanted, on disk before it is done, and everything that was decided.

One SQLite file in write-ahead mode. A decision, the state that it leads to and the place in the router's
record up to which was counted are one transaction, so that after a kill at any point nothing is counted twice
and nothing that was decided is forgotten. Decisions are synced to the disk; what was merely counted is not: a
loss of power may cost the last moments of evidence, and never a decision.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.errors import JournalError
from serinus.rollout.state import Entry, State, environment_json, from_json, rollout_json

SCHEMA = 1
_TABLES = """
CREATE TABLE meta (schema INTEGER NOT NULL);
INSERT INTO meta VALUES (1);
CREATE TABLE state (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE history (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    rollout INTEGER NOT NULL,
    version TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    numbers TEXT NOT NULL
);
"""

_LATEST = """
SELECT number, at, rollout, version, kind, message, numbers FROM history
WHERE number > ? AND ? IN (-1, rollout) ORDER BY number DESC LIMIT ?
"""
_FOLLOWING = _LATEST.replace("DESC", "ASC")


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry as the history has it."""

    number: int
    """From 1, growing."""
    at: float
    """Seconds since the epoch."""
    entry: Entry

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        one = self.entry
        return {
            "number": self.number,
            "at": self.at,
            "rollout": one.rollout,
            "version": one.version,
            "kind": one.kind,
            "message": one.message,
            "numbers": dict(one.numbers),
        }


Point = Callable[[str], None]
"""Called at each point at which the process might be killed: ``begin``, ``commit``, ``committed``, each with
the kinds of the entries that are written: ``begin pass switch``."""


def nowhere(point: str) -> None:
    """Nothing happens."""
    return


class Journal:
    """The journal of one environment; one process writes it at a time.

    Args:
        path: the file; made where there is none.
        clock: seconds since the epoch.
        point: see :data:`Point`.

    Raises:
        JournalError: it is of another version of Serinus, is damaged, or cannot be written.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, point: Point = nowhere) -> None:
        self.path = path
        self._clock = clock
        self._point = point
        self._lock = threading.RLock()
        self._kept: dict[str, str] = {}
        self._held = self._hold()
        with self._errors("cannot be opened"):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._prepare()

    def _hold(self) -> int:
        """Make sure that no other controller writes this journal; the kernel lets go when we end."""
        path = self.path.with_suffix(".lock")
        with self._errors("cannot be opened"):
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(held, 32, 0).decode("ascii", "replace").strip()
            os.close(held)
            raise JournalError(
                f"another controller runs this environment: process {other or 'unknown'} holds {path}",
                "There is one for each environment: use that one, or stop it first.",
            ) from None
        os.truncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
        return held

    def _prepare(self) -> None:
        found = self._db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone()
        if found is None:
            self._db.executescript(f"BEGIN;{_TABLES}COMMIT;")
        (schema,) = self._db.execute("SELECT schema FROM meta").fetchone()
        if schema != SCHEMA:
            raise JournalError(
                f"the journal {self.path} has the schema {schema}; this version of Serinus reads {SCHEMA}",
                "Use the version that wrote it, or move the file away to begin anew.",
            )

    def load(self) -> tuple[State, str]:
        """The state that is wanted, and the place in the router's record up to which was counted.

        Raises:
            JournalError: what it holds cannot be read.
        """
        with self._errors("cannot be read"):
            rows = dict(self._db.execute("SELECT name, document FROM state").fetchall())
        if not rows:
            return State(), ""
        try:
            state = from_json(json.loads(rows["environment"]), json.loads(rows["rollout"]))
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(
                f"the journal {self.path} holds a state that cannot be read: {error!r}",
                "Use the version of Serinus that wrote it, or move the file away to begin anew.",
            ) from None
        self._kept = rows
        return state, json.loads(rows["place"])

    def record(self, state: State, entries: Sequence[Entry], place: str) -> tuple[Recorded, ...]:
        """Write what is wanted now, and why.

        Args:
            state: what is wanted from now on.
            entries: what was decided.
            place: in the router's record, up to which the state has counted.

        Returns:
            The entries as they were recorded.

        Raises:
            JournalError: it could not be written; nothing of it was.
        """
        documents = {
            "environment": json.dumps(environment_json(state), sort_keys=True),
            "rollout": json.dumps(rollout_json(state), sort_keys=True),
            "place": json.dumps(place),
        }
        changed = {name: text for name, text in documents.items() if self._kept.get(name) != text}
        if not changed and not entries:
            return ()
        at = self._clock()
        lasting = bool(entries) or "environment" in changed
        kinds = "".join(f" {entry.kind}" for entry in entries)
        with self._lock, self._errors("cannot be written"):
            self._db.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            self._point(f"begin{kinds}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", changed.items())
                recorded = tuple(self._insert(at, entry) for entry in entries)
                self._point(f"commit{kinds}")
                self._db.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
        self._kept = self._kept | changed
        self._point(f"committed{kinds}")
        return recorded

    def _insert(self, at: float, entry: Entry) -> Recorded:
        numbers = json.dumps(dict(entry.numbers), sort_keys=True)
        row = (at, entry.rollout, entry.version, entry.kind, entry.message, numbers)
        cursor = self._db.execute(
            "INSERT INTO history (at, rollout, version, kind, message, numbers) VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )
        return Recorded(int(cursor.lastrowid or 0), at, entry)

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def history(self, after: int = 0, limit: int = 1000, rollout: int | None = None) -> tuple[Recorded, ...]:
        """Entries in the order in which they were decided.

        Args:
            after: the number of the last one that is known.
            limit: at most so many; with ``after`` 0 the latest.
            rollout: those about this one alone.
        """
        query = _LATEST if after <= 0 else _FOLLOWING
        with self._lock, self._errors("cannot be read"):
            rows = self._db.execute(query, (after, -1 if rollout is None else rollout, limit)).fetchall()
        rows.sort(key=lambda row: row[0])
        return tuple(
            Recorded(number, at, Entry(kind, message, json.loads(numbers), rollout, version))
            for number, at, rollout, version, kind, message, numbers in rows
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
            if self._held >= 0:
                os.close(self._held)
                self._held = -1

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"the journal {self.path} {what}: {error}",
                "See that the disk has room and the file is this user's; what serves goes on serving.",
            ) from None
