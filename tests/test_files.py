"""Files that appear all or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serinus.files import write_atomically


def test_a_file_appears_with_its_folders_and_the_umasks_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a/b/file", b"one")
    finally:
        os.umask(before)
    assert (tmp_path / "a/b/file").read_bytes() == b"one"
    assert (tmp_path / "a/b/file").stat().st_mode & 0o777 == 0o640


def test_a_mode_that_is_given_holds_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "file", b"", durable=True, mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "place", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 50_000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: write_atomically(tmp_path / "file", data), contents))
    assert (tmp_path / "file").read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


ASKING = """
import sys, threading
from serinus.image.uv import program
sys.setswitchinterval(1e-6)
wait, found = threading.Barrier(8), []
def ask():
    wait.wait()
    try:
        found.append(program())
    except TypeError as error:
        found.append(repr(error))
threads = [threading.Thread(target=ask) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*sorted(set(found)))
"""


def test_threads_that_ask_for_programs_at_once_find_them() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", ASKING], capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()).name == "uv"
