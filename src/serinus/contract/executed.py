"""Which functions of a project run while its module is imported.

The contract of a typed function follows from its module's statements and from the functions that these call.
The body of every other function may change without changing it; a build that knows which those are need not
import the module again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def executed(folder: str) -> Iterator[set[str]]:
    """Collect the functions below a folder that run in the block, in this thread, as ``file:qualified.name``.

    Args:
        folder: absolute path; files are named relative to it.
    """
    prefix = folder.rstrip("/") + "/"
    found: set[str] = set()

    def trace(frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(prefix) and code.co_qualname != "<module>":
            found.add(f"{code.co_filename[len(prefix) :]}:{code.co_qualname}")

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield found
    finally:
        sys.settrace(before)
