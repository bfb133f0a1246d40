"""Dynamic batching: many callers with one item each, one call of a function over lists.

:func:`batched` marks a function, and changes nothing about calling it. :class:`Batcher` is what the server
puts before it: a free worker takes what is queued, at once and as it is (greedy). So a lone request waits for
nobody, and batches grow by themselves when requests come faster than they are answered. ``max_wait`` trades
the first caller's time for larger batches.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Set, Sized
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from serinus.errors import ServiceError
from serinus.serving.admission import Pool

F = TypeVar("F", bound=Callable[..., Any])
Item = TypeVar("Item")
Result = TypeVar("Result")

MARK = "__serinus_batched__"
"""The attribute by which a batched function is known."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How a function over lists is called.

    With at most ``max_size`` items, the first of which has waited at most ``max_wait`` seconds for others.
    """

    max_size: int = 32
    max_wait: float = 0.0


def batched(max_size: int = 32, max_wait: float = 0.0) -> Callable[[F], F]:
    """Mark a function over lists, sync or async, so that the server calls it with many requests at once.

    ``def predict(texts: list[str]) -> list[Label]`` then answers requests that are one ``str`` each with one
    ``Label`` each. Called directly it stays the function it is.

    Args:
        max_size: the largest number of items in one call.
        max_wait: seconds that a first item waits for others while a worker is free.

    Raises:
        ServiceError: a size below 1, a negative time, or the parentheses are missing.
    """
    if type(max_size) is not int or max_size < 1:
        raise ServiceError(
            f"batched(max_size={max_size!r}): expected a whole number of items, at least 1",
            "Write @serinus.batched() or @serinus.batched(max_size=32).",
        )
    if not 0 <= max_wait < float("inf"):
        raise ServiceError(
            f"batched(max_wait={max_wait!r}): expected a number of seconds, 0 or more",
            "Write @serinus.batched(max_wait=0.005) for five milliseconds.",
        )

    def mark(function: F) -> F:
        setattr(function, MARK, Batching(max_size, max_wait))
        return function

    return mark


def batching_of(function: object) -> Batching | None:
    """How the function asked to be batched; None when it did not."""
    found = getattr(function, MARK, None)
    return found if isinstance(found, Batching) else None


Observe = Callable[[int, int], None]
"""Told of each batch when it starts: its size, and how many items are still queued."""


def _look_away(size: int, queued: int) -> None:
    """The observer that counts nothing."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    """An item in the queue: the one thing here that changes, hence its future."""

    item: Item
    since: float
    result: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """Gathers single items into calls of a function over lists. Belongs to one event loop.

    At most one worker gathers at a time, and whenever it has taken its batch and something is left, the next
    free worker begins. So an item is in the queue only while a worker gathers or all of them are busy, and no
    wake-up can be lost. The queue has no bound of its own: the server bounds the requests under way.

    Args:
        function: sync or async; takes a list of items, returns as many results in the same order.
        batching: the largest batch and the longest wait.
        workers: how many batches may be under way at once.
        run: calls a sync function on a thread; by default one of ``workers`` threads of its own.
        observe: told of each batch.
    """

    def __init__(
        self,
        function: Callable[[list[Item]], Any],
        batching: Batching,
        *,
        workers: int = 1,
        run: Callable[..., Awaitable[Any]] | None = None,
        observe: Observe = _look_away,
    ) -> None:
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        )
        self._batching = batching
        self._free = workers
        self._on_thread = run or Pool(workers, workers, "batch").run
        self._observe = observe
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._gathering = False
        self._full = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def queued(self) -> int:
        """How many items wait for a worker."""
        return len(self._queue)

    async def submit(self, item: Item) -> Result:
        """The result for one item.

        Cancelled while it waits, the item is taken out of the queue and never run; cancelled later, its
        result is dropped and the others of its batch get theirs.

        Raises:
            ServiceError: the function did not return one result for each item.
            Exception: whatever the function raised; all of its batch get it, and nobody else.
        """
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Item, Result] = _Waiting(item, loop.time(), loop.create_future())
        self._queue.append(waiting)
        if len(self._queue) >= self._batching.max_size:
            self._full.set()
        self._start_worker()
        try:
            return await waiting.result
        except asyncio.CancelledError:
            if waiting in self._queue:
                self._queue.remove(waiting)
            raise

    def _start_worker(self) -> None:
        if self._queue and self._free and not self._gathering:
            self._free -= 1
            self._gathering = True
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        """Gather one batch, hand the gathering on, run it, and look for more."""
        try:
            batch = await self._gather()
            self._gathering = False
            self._start_worker()
            if batch:
                self._observe(len(batch), len(self._queue))
                await self._run(batch)
        finally:
            self._free += 1
            self._start_worker()

    async def _gather(self) -> list[_Waiting[Item, Result]]:
        """Up to ``max_size`` items; none when all of them were cancelled in the meantime."""
        size, wait = self._batching.max_size, self._batching.max_wait
        if wait > 0 and self._queue:
            until = self._queue[0].since + wait
            await self._wait_until_full(until)
        taken = [self._queue.popleft() for _ in range(min(size, len(self._queue)))]
        return [waiting for waiting in taken if not waiting.result.done()]

    async def _wait_until_full(self, until: float) -> None:
        """Wait until the queue holds a whole batch, or the loop's clock reads ``until``."""
        loop = asyncio.get_running_loop()
        while len(self._queue) < self._batching.max_size and loop.time() < until:
            self._full.clear()
            alarm = loop.call_at(until, self._full.set)
            await self._full.wait()
            alarm.cancel()

    async def _run(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Call the function and hand out what came of it; whatever happens, every waiter hears of it.

        A function that calls ``sys.exit`` fails its batch and does not end the server.
        """
        try:
            results = _one_each(await self._call([waiting.item for waiting in batch]), len(batch))
        except BaseException as error:
            stopped = RuntimeError(f"the batch was stopped: {error!r}")
            _fail(batch, error if isinstance(error, Exception) else stopped)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.result.done():
                    waiting.result.set_result(result)

    async def _call(self, items: list[Item]) -> Any:
        if self._is_async:
            return await self._function(items)
        return await self._on_thread(self._function, items)


def _fail(batch: Iterable[_Waiting[Any, Any]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.result.done():
            waiting.result.set_exception(error)


def _one_each(results: Any, count: int) -> Collection[Any]:
    """The results, when they are a list (tuple, array) with one for each item."""
    if isinstance(results, (str, bytes, Mapping, Set)) or not isinstance(results, (Sized, Iterable)):
        found = f"{type(results).__name__}"
    elif (length := _length(results)) == count:
        return cast(Collection[Any], results)
    else:
        found = f"{type(results).__name__} of {'unknown length' if length is None else length}"
    raise ServiceError(
        f"the batched function returned {found} for {count} items; expected a list of {count}",
        "Return one result for each item, in the order of the items.",
    )


def _length(results: object) -> int | None:
    """The length; None for a generator, or for an array without dimensions."""
    try:
        return len(cast(Sized, results))
    except TypeError:
        return None
