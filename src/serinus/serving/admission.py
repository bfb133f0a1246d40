"""Admission: how many requests may be under way, and how long each may take."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import thread_time
from typing import Any

from serinus.serving.answers import Problem
from serinus.serving.intake import Intake
from serinus.serving.talkers import TALKERS, Talkers

RETRY_AFTER = ("retry-after", "1")
LONG = 1e-3
"""Seconds of the processor for a call, by the mean of those before it, for which others make room."""
RECENT = 1 / 8
"""Of a call in that mean."""


class Gate:
    """Lets at most ``limit`` calls in at a time; the next is turned away with 503."""

    __slots__ = ("inside", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0

    def enter(self) -> None:
        """Let one request in; :meth:`leave` must follow.

        Raises:
            Problem: 503 with ``Retry-After`` when ``limit`` are inside.
        """
        if self.inside >= self.limit:
            raise Problem(
                503, f"{self.inside} requests are under way, as many as are allowed", headers=[RETRY_AFTER]
            )
        self.inside += 1

    def leave(self) -> None:
        """One request is answered."""
        self.inside -= 1


class Deadlines:
    """Cancels tasks that take longer than ``seconds``, with one timer for all of them.

    All deadlines are the same length, so the tasks stand in the order in which they are due, and watching
    one costs a dictionary entry and no timer of its own.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> asyncio.Task[Any]:
        """Watch the running task from now on; :meth:`leave` must follow."""
        task: asyncio.Task[Any] | None = asyncio.current_task(self._loop) if self._loop else None
        if task is None:  # asking for the running loop is a system call up to Python 3.11
            self._loop = asyncio.get_running_loop()
            task = asyncio.current_task(self._loop)
        assert self._loop, "a loop runs"  # noqa: S101
        assert task is not None, "deadlines watch tasks, and this runs in none"  # noqa: S101
        due = self._due[task] = self._loop.time() + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._strike, self._loop)
        return task

    def leave(self, task: asyncio.Task[Any]) -> bool:
        """Watch the task no longer; whether its time had run out, and it was cancelled for that."""
        self._due.pop(task, None)
        if task not in self._expired:
            return False
        self._expired.discard(task)
        task.uncancel()
        return True

    def _strike(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for task, due in list(self._due.items()):
            if due > loop.time():
                self._timer = loop.call_at(due, self._strike, loop)
                return
            del self._due[task]
            self._expired.add(task)
            task.cancel()

    def problem(self) -> Problem:
        """What the caller is told."""
        return Problem(504, f"no answer within {self.seconds:g} seconds")


class Admission:
    """The work of one request, let in and before the deadline: ``with Admission(...):`` around it.

    Belongs to one task, and is good for one request.

    Raises:
        Problem: 503 at the start when there is no room; 504 at the end when the time ran out.
    """

    __slots__ = ("_deadlines", "_intake", "_probe", "_task")

    def __init__(self, intake: Intake, deadlines: Deadlines) -> None:
        self._intake = intake
        self._deadlines = deadlines

    def __enter__(self) -> None:
        self._probe = self._intake.enter()
        self._task = self._deadlines.enter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._intake.leave(self._probe)
        if self._deadlines.leave(self._task) and kind is asyncio.CancelledError:
            raise self._deadlines.problem() from None


class Here:
    """What a :class:`Pool` is without threads: runs sync functions on the event loop, one after the other."""

    size = 1

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the function.

        Raises:
            Exception: whatever the function raises.
        """
        return function(*args)


_Job = tuple["asyncio.Future[Any]", contextvars.Context, Callable[..., Any], tuple[Any, ...]]


class Pool:
    """Threads that run sync functions, so that the event loop stays free.

    A call whose time has run out keeps its thread until it returns by itself, for a thread cannot be
    stopped; such calls count against ``limit``, so that they cannot pile up without end. The threads start
    with the first call, and are daemons: a stuck one does not keep the process from ending.

    Args:
        size: how many calls run at once.
        limit: how many may run or wait.
        name: what the threads are called.
        talkers: the threads that are kept off the cores on which these compute.
    """

    def __init__(self, size: int, limit: int, name: str = "predict", talkers: Talkers = TALKERS) -> None:
        self.size = size
        self._gate = Gate(max(limit, size))
        self._name = name
        self._talkers = talkers
        self._seconds = 0.0
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._started = False

    @property
    def pending(self) -> int:
        """Calls that run or wait."""
        return self._gate.inside

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the function on a thread, in the caller's context.

        Raises:
            Problem: 503 when too many calls run or wait.
            Exception: whatever the function raises.
        """
        self._gate.enter()
        if not self._started:
            self._start()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, contextvars.copy_context(), function, args))
        return await future

    def _start(self) -> None:
        self._started = True
        for number in range(self.size):
            threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()

    def _work(self) -> None:
        self._talkers.leave(threading.current_thread().name)
        while True:
            future, context, function, args = self._jobs.get()
            result, error = None, None
            if not future.cancelled():
                result, error = self._call(context, function, args)
            future.get_loop().call_soon_threadsafe(self._settle, future, result, error)
            # An idle thread must not keep the last request's objects alive.
            del future, context, function, args, result, error

    def _call(
        self, context: contextvars.Context, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> tuple[Any, Exception | None]:
        """What the function returns, or raises."""
        begin = thread_time()
        core = self._talkers.begin() if self._seconds > LONG else None
        try:
            return context.run(function, *args), None
        except BaseException as raised:  # noqa: BLE001  (sys.exit fails its request, not the server)
            return None, _portable(raised)
        finally:
            if core is not None:
                self._talkers.end(core)
            self._seconds += (thread_time() - begin - self._seconds) * RECENT

    def _settle(self, future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        self._gate.leave()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _portable(raised: BaseException) -> Exception:
    """What a future can carry: a StopIteration, say, the caller's coroutine would take for its own end."""
    if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
        return raised
    error = RuntimeError(f"the function raised {raised!r}")
    error.__cause__ = raised
    return error
