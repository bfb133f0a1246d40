"""Who gives way: what measures time keeps its priority, everything else lowers its own.

A measurement need not wait until all other checks are over: on Linux a thread has a nice value of its own
(``setpriority(2)``), what it starts inherits it, and a process of nice 0 gets about nine times the share of
one of nice 10. Where the kernel groups processes by session (``sched(7)``, "The autogroup feature"), the
value of the group counts instead, so it is lowered too. Containers of an engine are started by its daemon
and keep their priority.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from serinus.runtimes import Running

LOW = 10
"""Nice value of what gives way."""


def give_way() -> None:
    """From now on this thread, and what it starts, gives way to others."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW)


def pass_on(running: Running) -> None:
    """Give the session of a replica the priority of the thread that started it."""
    process = getattr(running, "init", 0)
    with suppress(OSError, AttributeError):
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        if process and nice > 0:
            Path(f"/proc/{process}/autogroup").write_text(str(nice), "ascii")
