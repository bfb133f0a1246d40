"""Threads that help another one, on other cores than its own.

A thread that is woken up starts on the core of whoever woke it, more often than not, also when another core
is idle; and whoever waits for it awake, as a model runtime does within a call, keeps it from that core. The
kernel finds out after some milliseconds. Of sentences that RoBERTa was asked after pauses of 8 ms, one in a
hundred took 16 ms in two threads, 9.5 ms in one, and takes 7.0 ms in two that are kept apart (two cores of an
Intel Xeon, ``bench/serving/pauses.py``).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TASKS = Path("/proc/self/task")
"""This process's threads."""


@contextmanager
def started(count: int, tasks: Path = TASKS) -> Iterator[list[int]]:
    """The threads that are started within the block, as the kernel knows them, when it is over.

    None where the kernel does not say, or where they are not ``count``: then somebody else started some, too,
    and they cannot be told apart.
    """
    found: list[int] = []
    before = threads(tasks)
    yield found
    new = threads(tasks) - before
    if len(new) == count:
        found += sorted(new)


def threads(tasks: Path = TASKS) -> set[int]:
    """The threads of this process, by their kernel numbers; none where the kernel does not say."""
    try:
        return {int(task.name) for task in tasks.iterdir()}
    except OSError:
        return set()


class Helpers:
    """Threads that help whoever calls :meth:`spread`.

    Args:
        threads: by their kernel numbers.
        here: the number of the core that the calling thread is on, -1 where that is not known.
    """

    def __init__(self, threads: Sequence[int], here: Callable[[], int] | None = None) -> None:
        self.threads = threads
        self._here = here or core_of_this_thread()
        self._away_from = -1  # no core: who is on an unknown one has nothing to keep them off

    def spread(self) -> None:
        """Keep the helpers off the core that the calling thread is on.

        Costs a microsecond; when that thread has changed its core, another one for each helper. What cannot
        be done is left: it makes calls slower, not wrong.
        """
        if not self.threads or (core := self._here()) == self._away_from:
            return
        self._away_from = core
        try:
            others = os.sched_getaffinity(0) - {core}
            for thread in self.threads if others else ():
                os.sched_setaffinity(thread, others)
        except OSError:  # the thread is gone, or the cores have been taken away in this moment
            self.threads = ()


def core_of_this_thread() -> Callable[[], int]:
    """``sched_getcpu(3)``, without letting go of Python's lock for it; -1 where there is none."""
    function: Callable[[], int] | None = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
    return function or (lambda: -1)
