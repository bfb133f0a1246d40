"""The end of a log that grows for ever: the last megabytes are kept, and readers need not know.

A reader asks for what came after the bytes that it has had, and adds the length of each answer. Once the
beginning is dropped that sum is no place any more; but only multiples of :data:`KEEP` are ever dropped, so it
is still the right place *modulo* ``KEEP``. A reader that asks for byte 0 gets all that is kept; one that is
further behind than ``KEEP`` misses a multiple of it; nobody gets a byte twice.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from pathlib import Path

KEEP = 8 << 20
"""Bytes of which nobody who reads in time misses one; three times as many are held at most."""
_KEEP_SIZE, _PUNCH_HOLE = 1, 2


def place(since: int, begin: int, size: int, keep: int = KEEP) -> int:
    """Where a reader goes on who has had ``since`` bytes.

    Args:
        since: what it has had.
        begin: where what is kept begins, a multiple of ``keep``.
        size: where it ends.
        keep: as in the module's text.
    """
    if since == 0 or size == begin:
        return begin
    if begin == 0:
        return min(since, size)
    return size - (size - since) % keep


def dropped(begin: int, size: int, keep: int = KEEP) -> int:
    """Where what is kept begins from now on."""
    return begin if size - begin < 3 * keep else (size // keep - 1) * keep


class Ring:
    """Such a log in memory. Belongs to one thread, or to those that share a lock."""

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = keep
        self._begin = 0
        self._data = bytearray()

    def append(self, data: bytes) -> None:
        """Add to its end."""
        self._data += data
        begin = dropped(self._begin, self._begin + len(self._data), self._keep)
        del self._data[: begin - self._begin]
        self._begin = begin

    def read(self, since: int = 0) -> bytes:
        """What came after the first ``since`` bytes that a reader has had."""
        at = place(since, self._begin, self._begin + len(self._data), self._keep)
        return bytes(self._data[at - self._begin :])


class TailFile:
    """Such a log in a file that other processes append to (``O_APPEND``).

    Its beginning is given back to the file system as a hole (``fallocate(2)``, ``FALLOC_FL_PUNCH_HOLE``):
    writers notice nothing, and no line is lost, as it would be by truncating. Where the file system cannot
    make holes, the file grows.

    Args:
        path: of the file; it may be removed later.
        keep: as in the module's text.
    """

    def __init__(self, path: Path, keep: int = KEEP) -> None:
        self._keep = keep
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, self._file)

    def read(self, since: int = 0) -> bytes:
        """What came after the first ``since`` bytes that a reader has had."""
        begin, size = self._extent()
        at = place(since, begin, size, self._keep)
        return os.pread(self._file, size - at, at)

    def trim(self) -> None:
        """Drop what is old; costs one system call while there is nothing to drop."""
        if os.fstat(self._file).st_size < 3 * self._keep:
            return
        begin, size = self._extent()
        end = dropped(begin, size, self._keep)
        if end > begin:
            _punch(self._file, end)

    def _extent(self) -> tuple[int, int]:
        size = os.fstat(self._file).st_size
        if size < 3 * self._keep:
            return 0, size
        begin = os.lseek(self._file, 0, os.SEEK_DATA)
        return begin - begin % self._keep, size


def _punch(file: int, end: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    offset = ctypes.c_int64
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, offset, offset]
    libc.fallocate(file, _PUNCH_HOLE | _KEEP_SIZE, 0, end)
