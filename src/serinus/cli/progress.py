"""How far the work is: bars in a terminal, a line for each finished step elsewhere. Both are observers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from serinus.events import Event, Finished, Noted, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

Write = Callable[[str], object]


class Lines:
    """A line for each step that ended, and each note.

    Args:
        write: takes one line; called from one thread at a time.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Tell of one event; from any thread."""
        with self._lock:
            match event:
                case Finished(step, seconds, detail):
                    self._write(f"{step:<32} {seconds:7.2f} s  {detail}".rstrip())
                case Noted(message):
                    self._write(message)

    def close(self) -> None:
        """Nothing is open."""


class Bars:
    """A bar for each step under way that knows how far it is, above them the lines of :class:`Lines`.

    Nothing is drawn, and rich is not imported, before a step reports progress.

    Args:
        write: takes one line while no bars are shown.
    """

    def __init__(self, write: Write) -> None:
        self._lines = Lines(self._line)
        self._write = write
        self._lock = threading.Lock()
        self._display: Display | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Tell of one event; from any thread."""
        with self._lock:
            match event:
                case Progress(step, done, total):
                    self._move(step, done, total)
                case Finished(step) if step in self._tasks and self._display is not None:
                    self._display.remove_task(self._tasks.pop(step))
            self._lines(event)

    def close(self) -> None:
        """Take the bars away."""
        with self._lock:
            if self._display is not None:
                self._display.stop()
            self._display = None
            self._tasks.clear()

    def _move(self, step: str, done: int, total: int | None) -> None:
        if self._display is None:
            self._display = _display()
            self._display.start()
        if step not in self._tasks:
            self._tasks[step] = self._display.add_task(step, total=total)
        self._display.update(self._tasks[step], completed=done, total=total)

    def _line(self, text: str) -> None:
        if self._display is None:
            self._write(text)
        else:
            self._display.console.print(text, markup=False, highlight=False)


def _display() -> Display:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Display

    columns = (TextColumn("{task.description:<32}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Display(*columns, console=Console(stderr=True), transient=True)
