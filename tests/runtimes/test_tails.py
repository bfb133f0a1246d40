"""Logs that grow for ever: readers who read in time get every byte once."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from serinus.runtimes.tails import Ring, TailFile, dropped, place

KEEP = 4096
"""A block of the file system: what a hole can be made of."""
STEPS = st.lists(st.one_of(st.integers(1, 5000), st.sampled_from(["a", "b"])), max_size=60)


@given(STEPS)
def test_a_reader_who_is_not_far_behind_gets_every_byte_once(steps: list[int | str]) -> None:
    ring, written = Ring(KEEP), b""
    had: dict[str, bytes] = {"a": b"", "b": b""}
    at = {"a": 0, "b": 0}
    for step in steps:
        if isinstance(step, int):
            data = bytes(i % 251 for i in range(len(written), len(written) + step))
            ring.append(data)
            written += data
            continue
        behind = len(written) - at[step]
        new = ring.read(len(had[step]))
        had[step] += new
        at[step] = len(written)
        assert written.endswith(new)
        if behind < KEEP and (had[step] != new or len(written) < KEEP):
            assert len(new) == behind
        elif had[step] != new:
            assert (behind - len(new)) % KEEP == 0
    assert len(ring.read()) <= 3 * KEEP + 5000


@given(st.integers(0, 50), st.integers(0, 10 * KEEP))
def test_what_is_dropped_is_a_multiple_and_leaves_enough(begin: int, more: int) -> None:
    begin, size = begin * KEEP, begin * KEEP + more
    after = dropped(begin, size, KEEP)
    assert after % KEEP == 0
    assert begin <= after <= size
    assert after == begin or KEEP <= size - after < 2 * KEEP


@given(st.integers(0, 100 * KEEP), st.integers(0, 100 * KEEP), st.integers(0, 50))
def test_nobody_gets_more_than_there_is(since: int, size: int, begin: int) -> None:
    begin = min(begin, size // KEEP) * KEEP
    at = place(since, begin, size, KEEP)
    assert 0 <= at <= size


def test_the_beginning_of_a_file_is_given_back_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log, writer = TailFile(path, KEEP), os.open(path, os.O_WRONLY | os.O_APPEND)
    had, written = b"", b""
    try:
        for number in range(40):
            line = f"{number:04d}".encode() * 512
            os.write(writer, line)
            written += line
            log.trim()
            had += log.read(len(had))
        assert had == written
        late = log.read()
    finally:
        os.close(writer)
    assert written.endswith(late)
    assert len(late) < 3 * KEEP
    assert path.stat().st_blocks * 512 < 4 * KEEP
    assert log.read(len(late)) == b""
