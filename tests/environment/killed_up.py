"""``serinus up`` that ends without a word at a point of its journal, as if the power failed there.

    python killed_up.py POINT KIND up -C PROJECT

POINT is ``begin``, ``commit`` or ``committed``: it ends there, at the first decision of that KIND;
``counted`` is a write that decides nothing, while the candidate has traffic.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from serinus.environment.up import run
from serinus.project import Project

COUNTED = "counted"


def main() -> None:
    point, kind, *_, project = sys.argv[1:]

    def at(name: str) -> None:
        here, *kinds = name.split()
        if here == point and kind in (kinds or [COUNTED]):
            os.kill(os.getpid(), signal.SIGKILL)

    run(Project.load(Path(project)), stop=threading.Event(), point=at)


if __name__ == "__main__":
    main()
