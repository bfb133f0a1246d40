"""Threads for tests to look at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def thread(start: Callable[[], object] = lambda: None) -> Iterator[int]:
    """A thread that does something and then waits until the end of the block; its number for the kernel.

    The kernel does not know it any more after the block: that comes a moment later than Python's own word.
    """
    told, end = threading.Event(), threading.Event()

    def run() -> None:
        start()
        told.set()
        end.wait(30)

    one = threading.Thread(target=run)
    one.start()
    try:
        assert told.wait(30)
        assert one.native_id is not None
        yield one.native_id
    finally:
        end.set()
        one.join(30)
        while Path(f"/proc/self/task/{one.native_id}").exists():
            time.sleep(0.001)
