"""The file of a record: opened by several at the same moment, and by a version that does not know it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from serinus.errors import PipelineError
from serinus.pipeline.database import FILE, SCHEMA, Database

OPENERS = 4


def test_opening_waits_for_another_who_opens_it(tmp_path: Path) -> None:
    """SQLite itself gives up at once where another has begun to write, however long it may wait."""
    (tmp_path / FILE).parent.mkdir()
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.1, other.close)
    release.start()
    assert Database(tmp_path).read("SELECT schema FROM meta", ()) == [(SCHEMA,)]
    release.join()


@pytest.mark.parametrize("attempt", range(5))
def test_a_new_file_opened_by_several_at_once(tmp_path: Path, attempt: int) -> None:
    together = threading.Barrier(OPENERS)
    found: list[object] = []

    def open_it() -> None:
        together.wait()
        try:
            database = Database(tmp_path)
            found.append(database.read("SELECT schema FROM meta", ()))
            database.close()
        except PipelineError as error:
            found.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(OPENERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[(SCHEMA,)]] * OPENERS


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    Database(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("UPDATE meta SET schema = 99")
    with pytest.raises(PipelineError, match="has the schema 99"):
        Database(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"something else entirely" * 100)
    with pytest.raises(PipelineError, match="cannot be opened: file is not a database"):
        Database(tmp_path)
