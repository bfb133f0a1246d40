"""Threads that talk to callers, and do not wait for those that compute.

A request passes through three threads that talk: two of the HTTP server, and the event loop. Each works for
some microseconds and wakes up the next. Two habits of the kernel make them wait for milliseconds while a
model is at work. A thread that is woken up goes to the core where it ran last, also when a computing thread
has that by now and the core of whoever woke it will be idle at once. And a computing thread is not sent away
before its time slice is over, which is looked at every 4 ms where the kernel's clock ticks 250 times a
second. RoBERTa, asked 230 times a second on two cores of an Intel Xeon, evenly spaced, answered 99 of 100
within 13.5 ms in this way, and within 10.7 ms without (medians of four rounds in turns).

So the talking threads are kept off the cores on which a long call computes, as long as there are others; and
they get a short time slice, with which the kernel (Linux 6.12) has them go first. Both only say who of the
service's own threads goes where, and take nothing from others. A service that has no long calls is left as it
is: threads that only talk wake each other up in better order without.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from serinus.serving.helpers import TASKS, core_of_this_thread, threads

NAME = "serinus"
"""What talking threads are called, in ``top -H``, too: the kernel gives a new thread the name of the one that
starts it."""
SHORT = 100_000
"""Nanoseconds of their time slices: the fewest that there are."""
FRESH = 1.0
"""Seconds for which it is known which threads talk: the HTTP server starts and ends one now and then."""
_SYSTEM_CALLS = {"x86_64": 314, "aarch64": 274}


class Talkers:
    """The talking threads of this process. Any thread may call.

    Args:
        here: the number of the core that the calling thread is on, -1 where that is not known.
        tasks: the folder of this process's threads.
        clock: seconds.
    """

    def __init__(
        self,
        here: Callable[[], int] | None = None,
        tasks: Path = TASKS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._here = here or core_of_this_thread()
        self._tasks = tasks
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: Counter[int] = Counter()
        self._threads: list[int] = []
        self._looked = -FRESH
        self._cores: set[int] = set()
        self._left: set[int] = set()
        """Cores that talking threads were told to stay on; empty before they were told anything."""

    def join(self) -> None:
        """The calling thread talks, and so do those that it starts from now on."""
        self._name(NAME)

    def leave(self, name: str) -> None:
        """The calling thread computes, under this name, and so do those that it starts from now on."""
        self._name(name)
        slices(0)

    def _name(self, name: str) -> None:
        with suppress(OSError):  # then nobody is known to talk, and all stay where they are
            self._comm(threading.get_native_id()).write_text(name)

    def _called(self, thread: int) -> str:
        try:
            return self._comm(thread).read_text().rstrip("\n")
        except OSError:  # it has ended
            return ""

    def _comm(self, thread: int) -> Path:
        return self._tasks / str(thread) / "comm"

    def begin(self) -> int:
        """A long call of the calling thread begins: nobody talks on its core, which is returned.

        :meth:`end` must follow, with that core.
        """
        core = self._here()
        self._count(core, 1)
        return core

    def end(self, core: int) -> None:
        """A long call is over."""
        self._count(core, -1)

    def _count(self, core: int, calls: int) -> None:
        with self._lock:
            self._busy[core] += calls
            if self._clock() - self._looked >= FRESH:
                self._look()
            left = {one for one in self._cores if not self._busy[one]} or self._cores
            if left != self._left:
                self._left = left
                for thread in self._threads:
                    _place(thread, left)

    def _look(self) -> None:
        """Which threads talk, and on which cores a thread may be."""
        self._looked = self._clock()
        self._cores = os.sched_getaffinity(0)  # of a thread that computes, which nobody has placed
        self._left = set()  # there may be new ones
        self._threads = sorted(one for one in threads(self._tasks) if self._called(one) == NAME)
        for thread in self._threads:
            slices(SHORT, thread)


TALKERS = Talkers()
"""Those of this process; none before one has joined."""


def _place(thread: int, cores: set[int]) -> None:
    with suppress(OSError):  # the thread has ended, or a core was taken away
        os.sched_setaffinity(thread, cores)


def slices(nanoseconds: int, thread: int = 0) -> bool:
    """Ask for time slices of this length for a thread and those that it starts; 0 for the default.

    Older kernels hear that and do as ever. Whether it was heard: not on other systems and processors, not
    where system calls are filtered, and not for a thread that somebody has put into another class.

    ``sched_setattr(2)``; what it does to threads of the normal class is new in Linux 6.12
    (``Documentation/scheduler/sched-eevdf.rst``).

    Args:
        nanoseconds: from 100,000 to 100,000,000.
        thread: by its kernel number; 0 is the calling one.
    """
    number = _SYSTEM_CALLS.get(os.uname().machine)
    try:
        if number is None or os.sched_getscheduler(thread) != os.SCHED_OTHER:
            return False
        nice = os.getpriority(os.PRIO_PROCESS, thread)
    except OSError:  # it has ended
        return False
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, nanoseconds, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, thread, attributes, 0) == 0)
