"""Threads for what can be done at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

_K = TypeVar("_K")
_T = TypeVar("_T")


class Crew:
    """Threads that work beside the one who called. All are waited for before the block is left."""

    def __init__(self) -> None:
        self._at_work: list[Later[Any]] = []

    def __enter__(self) -> Self:
        return self

    def start(self, work: Callable[[], _T]) -> Later[_T]:
        """Begin something; its outcome is asked for later."""
        later = Later(work)
        self._at_work.append(later)
        return later

    def __exit__(self, *exc: object) -> None:
        for later in self._at_work:
            later.wait()


class Once(Generic[_K, _T]):
    """What is made for a key once, whichever thread asks first; the others wait for it.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[_K], _T]) -> None:
        self._make = make
        self._made: dict[_K, _T] = {}
        self._lock = threading.Lock()

    def __call__(self, key: _K) -> _T:
        """What is made for this key."""
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(key)
            return self._made[key]


class Later(Generic[_T]):
    """The outcome of something that another thread does."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._outcome: list[_T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="serinus-crew", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that asks for the result
            self._error = error

    def wait(self) -> None:
        """Wait until it is over, however it ended."""
        self._thread.join()

    def result(self) -> _T:
        """What came of it, once it is over.

        Raises:
            BaseException: what was raised there.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        return self._outcome[0]
