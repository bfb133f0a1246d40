"""The file of a project's record: SQLite in write-ahead mode, its tables, and transactions."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serinus.errors import PipelineError

FILE = Path(".serinus") / "runs.sqlite"
SCHEMA = 1
_WAIT_S = 30.0
_TABLES = """
CREATE TABLE meta (schema INTEGER NOT NULL);
INSERT INTO meta VALUES (1);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, number INTEGER NOT NULL, outcome TEXT NOT NULL,
    params TEXT NOT NULL, options TEXT NOT NULL, who TEXT NOT NULL, revision TEXT NOT NULL,
    pid INTEGER NOT NULL,
    began REAL NOT NULL, ended REAL, UNIQUE (pipeline, number)
);
CREATE TABLE steps (
    run TEXT NOT NULL, step TEXT NOT NULL, place INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    began REAL, seconds REAL, attempts INTEGER NOT NULL, code INTEGER, PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE TABLE making (
    run TEXT NOT NULL, step TEXT NOT NULL, outputs TEXT NOT NULL, PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE TABLE results (
    pipeline TEXT NOT NULL, step TEXT NOT NULL, key TEXT NOT NULL, parts TEXT NOT NULL, outputs TEXT NOT NULL,
    size INTEGER NOT NULL, seconds REAL NOT NULL, run TEXT NOT NULL, used REAL NOT NULL,
    PRIMARY KEY (pipeline, step, key)
) WITHOUT ROWID;
CREATE TABLE questions (
    run TEXT NOT NULL, step TEXT NOT NULL, key TEXT NOT NULL, evidence TEXT NOT NULL, asked REAL NOT NULL,
    answer TEXT, who TEXT, at REAL, comment TEXT, PRIMARY KEY (run, step, asked)
);
CREATE TABLE files (path TEXT PRIMARY KEY, state TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE watched (
    pipeline TEXT NOT NULL, subject TEXT NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (pipeline, subject)
) WITHOUT ROWID;
CREATE TABLE triggers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, model TEXT NOT NULL,
    cause TEXT NOT NULL, params TEXT NOT NULL, at REAL NOT NULL, stage TEXT NOT NULL, run TEXT NOT NULL
);
"""


class Database:
    """The open file; may be used by several threads, and opened by several processes.

    Args:
        root: the project's folder.

    Raises:
        PipelineError: it is of another version of Serinus, is damaged, or cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / FILE
        self._lock = threading.RLock()
        with self._errors("cannot be opened"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=_WAIT_S
            )
            self._write_ahead()
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._prepare()

    def _write_ahead(self) -> None:
        """Set the mode, for which SQLite itself does not wait while another sets it."""
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.005)
            else:
                return

    def _prepare(self) -> None:
        known = "SELECT name FROM sqlite_master WHERE name = 'meta'"
        if self._db.execute(known).fetchone() is None:
            with self.change():
                if self._db.execute(known).fetchone() is None:  # nobody else was faster
                    for statement in _TABLES.split(";")[:-1]:
                        self._db.execute(statement)
        (schema,) = self._db.execute("SELECT schema FROM meta").fetchone()
        if schema != SCHEMA:
            raise PipelineError(
                f"the record {self.path} has the schema {schema}; this version of Serinus reads {SCHEMA}",
                "Use the version that wrote it, or move the file away to begin anew.",
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def read(self, query: str, values: Sequence[Any]) -> list[Any]:
        """The rows that a query gives."""
        with self._lock, self._errors("cannot be read"):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def change(self, *, lasting: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; ``lasting`` survives a loss of power."""
        with self._lock, self._errors("cannot be written"):
            if lasting:
                self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if lasting:
                    self._db.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise PipelineError(
                f"the record {self.path} {what}: {error}",
                "See that the disk has room and the file is this user's.",
            ) from None
