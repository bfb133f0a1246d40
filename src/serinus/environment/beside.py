"""Doing something beside: what takes its time is handed to a thread, and nobody who calls waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

Job = Callable[[], None]
"""Something that takes its time."""
Spawn = Callable[[Job], None]
"""Does something beside."""


def beside(job: Job) -> None:
    """Do it in a thread, which does not keep the process from ending."""
    threading.Thread(target=job, name="beside", daemon=True).start()
