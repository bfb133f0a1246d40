"""Dynamic batching: many callers with one item each, one call of a function over lists.

:func:`batched` marks a function, and changes nothing about calling it. :class:`Batcher` is what the server
puts before it: a free worker takes what is queued at once (greedy). So a lone request waits for nobody, and
batches grow by themselves when requests come faster than they are answered, up to the size beyond which they
bring little more; :mod:`serinus.serving.profile` measures that. ``key`` puts items of like length together.
``max_wait`` trades the first caller's time for larger batches.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar, cast

from serinus.errors import ServiceError
from serinus.serving.admission import Pool
from serinus.serving.profile import FEW, TURNS, Line, Profile, chosen, keeps_lock, measure, portion

F = TypeVar("F", bound=Callable[..., Any])
Item = TypeVar("Item")
Result = TypeVar("Result")

MARK = "__serinus_batched__"
"""The attribute by which a batched function is known."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How a function over lists is called.

    With at most ``max_size`` items, the first of which has waited at most ``max_wait`` seconds for others,
    and which are alike in length by ``key``, where there is one.
    """

    max_size: int = 32
    max_wait: float = 0.0
    key: Callable[[Any], float] | None = None


def batched(
    max_size: int = 32, max_wait: float = 0.0, key: Callable[[Any], float] | None = None
) -> Callable[[F], F]:
    """Mark a function over lists, sync or async, so that the server calls it with many requests at once.

    ``def predict(texts: list[str]) -> list[Label]`` then answers requests that are one ``str`` each with one
    ``Label`` each. Called directly it stays the function it is.

    Args:
        max_size: the largest number of items in one call.
        max_wait: seconds that a first item waits for others while a worker is free.
        key: how long an item is, for a function that takes as long for each item of a batch as for the
            longest: ``len`` of a text that is filled up to the others. Items of like length go together.

    Raises:
        ServiceError: a size below 1, a negative time, a key that cannot be called, or the parentheses are
            missing.
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

    if key is not None and not callable(key):
        raise ServiceError(
            f"batched(key={key!r}): expected a function of one item",
            "Write @serinus.batched(key=len) for texts that are filled up to the longest of a batch.",
        )

    def mark(function: F) -> F:
        setattr(function, MARK, Batching(max_size, max_wait, key))
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
    length: float


class Batcher(Generic[Item, Result]):
    """Gathers single items into calls of a function over lists. Belongs to one event loop.

    At most one worker gathers at a time, and whenever it has taken its batch and something is left, the next
    free worker begins. So an item is in the queue only while a worker gathers or all of them are busy, and no
    wake-up can be lost. Workers that are free share what is queued. The queue has no bound of its own: the
    server bounds the requests under way.

    Args:
        function: sync or async; takes a list of items, returns as many results in the same order.
        batching: the largest batch, the longest wait, and what is put together.
        workers: how many batches may be under way at once.
        run: calls a sync function on a thread; by default one of ``workers`` threads of its own.
        observe: told of each batch.
        profile: what batches take, where that is known beforehand; :meth:`warm` finds out.
        clock: seconds.
    """

    def __init__(
        self,
        function: Callable[[list[Item]], Any],
        batching: Batching,
        *,
        workers: int = 1,
        run: Callable[..., Awaitable[Any]] | None = None,
        observe: Observe = _look_away,
        profile: Profile | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        )
        self._batching = batching
        self._length: Callable[[Any], float] = batching.key or _alike
        self.workers = self._free = workers
        self._on_thread = run or Pool(workers, workers, "batch").run
        self._observe = observe
        self._clock = clock
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._gathering = False
        self._full = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._learn(profile or Profile())

    def _learn(self, profile: Profile, length: float = 1.0) -> None:
        """Follow what was measured of an item of this length."""
        self._line = Line()
        for size, seconds in profile.seconds:
            self._line.observe(size * length, seconds, TURNS)
        most = self._batching.max_size
        self.limit = profile.limit(most) if self._batching.key is None else most

    @property
    def queued(self) -> int:
        """How many items wait for a worker."""
        return len(self._queue)

    async def warm(self, examples: Sequence[Item]) -> None:
        """Measure batches of an example, and find how large they become and how many run at once.

        To be awaited before the first :meth:`submit`. Of several examples it is the one of middle length.

        Raises:
            Exception: whatever the function raised.
        """
        item = sorted(examples, key=self._length)[len(examples) // 2]
        most = self._batching.max_size
        if self.workers > 1 and await keeps_lock(self._on_thread, self._function, [item] * min(most, FEW)):
            self.workers = self._free = 1

        async def call(items: list[Item]) -> None:
            # As under load: one call that is alone may have what else all of them share.
            await asyncio.gather(*(self._call(items) for _ in range(self.workers)))

        self._learn(await measure(call, item, most, self._clock), self._length(item))

    def __call__(self, item: Item) -> Awaitable[Result]:
        """:meth:`submit`."""
        return self.submit(item)

    async def submit(self, item: Item) -> Result:
        """The result for one item.

        Cancelled while it waits, the item is taken out of the queue and never run; cancelled later, its
        result is dropped and the others of its batch get theirs.

        Raises:
            ServiceError: the function did not return one result for each item.
            Exception: whatever the function raised; all of its batch get it, and nobody else. Or what the key
                raised of this item.
        """
        loop = asyncio.get_running_loop()
        length = float(self._length(item))
        waiting: _Waiting[Item, Result] = _Waiting(item, loop.time(), loop.create_future(), length)
        self._queue.append(waiting)
        if len(self._queue) >= self.limit:
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
        """Gather one batch, hand the gathering on, run it, have the next one begun, and hand out the results.

        In this order: a thread need not wait for its next batch until the callers of this one have theirs.
        """
        results: Collection[Any] | Exception = ()
        try:
            batch = await self._gather()
            self._gathering = False
            self._start_worker()
            if batch:
                self._observe(len(batch), len(self._queue))
                results = await self._run(batch)
        finally:
            self._free += 1
            self._start_worker()
        _hand_out(batch, results)

    async def _gather(self) -> list[_Waiting[Item, Result]]:
        """At least one item; none when all of them were cancelled in the meantime."""
        wait, size = self._batching.max_wait, self.limit
        if wait > 0 and self._queue:
            until = self._queue[0].since + wait
            await self._wait_until_full(until)
        elif self._queue:
            oldest = self._queue[0].length
            cheap = self._line.overhead() / oldest if oldest > 0 else 0.0
            size = min(size, portion(len(self._queue), self._free, self.workers, cheap))
        return [waiting for waiting in self._take(size) if not waiting.result.done()]

    def _take(self, size: int) -> list[_Waiting[Item, Result]]:
        """Items out of the queue: the first of them, or those that the key puts together with the first."""
        queue = self._queue
        if self._batching.key is None or len(queue) < 2:
            return [queue.popleft() for _ in range(min(size, len(queue)))]
        waiting = list(queue)
        places = set(chosen([one.length for one in waiting], size, self._line.overhead()))
        queue.clear()
        queue.extend(one for at, one in enumerate(waiting) if at not in places)
        return [one for at, one in enumerate(waiting) if at in places]

    async def _wait_until_full(self, until: float) -> None:
        """Wait until the queue holds a whole batch, or the loop's clock reads ``until``."""
        loop = asyncio.get_running_loop()
        while len(self._queue) < self.limit and loop.time() < until:
            self._full.clear()
            alarm = loop.call_at(until, self._full.set)
            await self._full.wait()
            alarm.cancel()

    async def _run(self, batch: list[_Waiting[Item, Result]]) -> Collection[Any] | Exception:
        """Call the function: what it returned for each, or what it raised.

        A function that calls ``sys.exit`` fails its batch and does not end the server.
        """
        try:
            begin = self._clock()
            results = _one_each(await self._call([waiting.item for waiting in batch]), len(batch))
            self._line.observe(len(batch) * max(one.length for one in batch), self._clock() - begin)
        except Exception as error:  # noqa: BLE001 - whatever it raises, all of its batch hear of it
            return error
        except BaseException as error:
            stopped = RuntimeError(f"the batch was stopped: {error!r}")
            if not isinstance(error, asyncio.CancelledError):
                return stopped
            _hand_out(batch, stopped)
            raise
        return results

    async def _call(self, items: list[Item]) -> Any:
        if self._is_async:
            return await self._function(items)
        return await self._on_thread(self._function, items)


def _alike(item: object) -> float:
    """The length of an item where all are as long."""
    return 1.0


def _hand_out(batch: Sequence[_Waiting[Any, Any]], results: Collection[Any] | Exception) -> None:
    """Give each who still waits its result, or all the same exception."""
    if isinstance(results, Exception):
        for waiting in batch:
            if not waiting.result.done():
                waiting.result.set_exception(results)
        return
    for waiting, result in zip(batch, results, strict=True):
        if not waiting.result.done():
            waiting.result.set_result(result)


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
