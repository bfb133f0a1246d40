"""What happens while Serinus works, as frozen values, and the one who looks on.

The library prints nothing: it tells an :data:`Observer`, a callable that takes an event. The command
line's progress bars are one observer, a notebook's display can be another, a test's list another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Started:
    """A step has begun. ``step`` is unique among the steps under way."""

    step: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A step has moved on: ``done`` of ``total`` bytes; ``total`` is None where it is not known."""

    step: str
    done: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A step is over after ``seconds``; ``detail`` says what came of it (``cached``, ``mounted``, a size)."""

    step: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something a person should know that is not an error."""

    message: str


Event = Started | Progress | Finished | Noted
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer that looks away: the default everywhere."""


class Step:
    """A step under way: moved on by :meth:`progress`, and its outcome put into ``detail``."""

    def __init__(self, name: str, observer: Observer) -> None:
        self.name = name
        self.detail = ""
        self._observer = observer

    def progress(self, done: int, total: int | None = None) -> None:
        """Tell the observer that ``done`` of ``total`` bytes are through."""
        self._observer(Progress(self.name, done, total))


@contextmanager
def step(name: str, observer: Observer) -> Iterator[Step]:
    """Announce a step, and its end when the block leaves without an error."""
    observer(Started(name))
    begin = perf_counter()
    current = Step(name, observer)
    yield current
    observer(Finished(name, perf_counter() - begin, current.detail))
