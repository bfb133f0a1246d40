"""The logs of a version's replicas as one: whole lines, in the order in which they were read."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from serinus.runtimes import Running
from serinus.runtimes.tails import KEEP, Ring

_OLD = 4
"""Logs kept of versions that do not run any more."""


class Logs:
    """The logs of all versions. Belongs to the lock of whoever has it."""

    def __init__(self) -> None:
        self._versions: dict[str, MergedLog] = {}

    def of(self, version: str) -> MergedLog:
        """That of a version that runs."""
        return self._versions.setdefault(version, MergedLog())

    def kept(self, version: str) -> MergedLog | None:
        """That of any version, if it is still there."""
        return self._versions.get(version)

    def drop_old(self, running: Collection[str]) -> None:
        """Keep those of the versions that run, and of the last few that did."""
        old = [version for version in self._versions if version not in running]
        for version in old[:-_OLD]:
            del self._versions[version]


class MergedLog:
    """What the replicas of one version have written.

    Args:
        keep: see :mod:`serinus.runtimes.tails`.
    """

    def __init__(self, keep: int = KEEP) -> None:
        self._ring = Ring(keep)
        self._parts: dict[str, tuple[int, bytes]] = {}
        self._ended: set[str] = set()
        self._lock = threading.Lock()

    def read(self, running: Iterable[tuple[str, Running]], since: int = 0) -> bytes:
        """What came after the first ``since`` bytes that a reader has had.

        Args:
            running: the replicas that may have written more, each under a name that no other has had.
            since: sum of the lengths of what the reader was given before.
        """
        with self._lock:
            for name, one in running:
                self._take(name, one)
            return self._ring.read(since)

    def end(self, name: str, running: Running) -> None:
        """Take the rest of what a replica has written, which has ended."""
        with self._lock:
            self._take(name, running)
            self._ended.add(name)
            _, rest = self._parts.pop(name, (0, b""))
            if rest:
                self._ring.append(rest + b"\n")

    def _take(self, name: str, running: Running) -> None:
        if name in self._ended:
            return
        seen, rest = self._parts.get(name, (0, b""))
        new = running.logs(seen)
        lines, end, rest = (rest + new).rpartition(b"\n")
        self._ring.append(lines + end)
        self._parts[name] = seen + len(new), rest
