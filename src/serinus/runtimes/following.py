"""Reading what a command writes while it runs."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

Sink = Callable[[bytes], object]
"""Takes each piece that a command writes; ``b""`` says that it has ended."""


class Follow(Protocol):
    """Starts a command."""

    def __call__(self, argv: Sequence[str], sink: Sink) -> Callable[[], object]:
        """Start it; the sink is called from a thread of its own. What comes back ends the command at once."""
        ...


def follow(argv: Sequence[str], sink: Sink) -> Callable[[], object]:
    """Start a command in a session of its own; standard output and error are one stream.

    Should this process be killed, the command ends with its next word, which nobody reads: that of ``docker
    wait`` comes when the container ends.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def pump() -> None:
        with process:
            while process.stdout and (piece := process.stdout.read1()):  # type: ignore[attr-defined]
                sink(piece)
        sink(b"")

    threading.Thread(target=pump, name=f"follow {argv[0]}", daemon=True).start()
    return process.kill
