"""How long batches take, measured before the first request and while they run, and what follows from it.

Models differ. One that is bound by reading its weights takes for 32 items hardly longer than for one; an
encoder on a processor computes the same for each item and gains a tenth or two, so that large batches only
make everybody in them wait. And a function that keeps Python's lock gains nothing from a second thread, while
one that lets go of it answers twice as much. :class:`Profile` is what was measured at first, :class:`Line`
what is seen later; :func:`portion` and :func:`chosen` decide with them; :func:`measure` and
:func:`keeps_lock` measure.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any, TypeVar

Item = TypeVar("Item")
Call = Callable[[list[Item]], Awaitable[Any]]
Clock = Callable[[], float]

ENOUGH = 0.9
"""The smallest batch is large enough that reaches this share of the best items a second."""
WORTH = 1.05
"""Two doublings that do not bring so many times the items a second: larger batches are not tried."""
BUDGET = 1.0
"""Seconds for all sizes."""
EACH, TIMES, TURNS = 0.02, 4, 5
"""Seconds that a size is measured for in one turn, how often it is at most, and how many turns there are."""
MEMORY = 0.99
"""What a batch counts beside the next one: of some hundred it is known what they took."""
FEW = 8
"""Items of a batch in which a function does what it does in large ones, and which takes not too long."""
LOOK, TICK = 40e-3, 2e-3
"""Seconds for which a function is watched at least, and for which the watching thread sleeps in between."""
KEPT = 0.55
"""Share of the time for which that thread waits for Python's lock: above, the function keeps it. The lock
changes hands every 5 ms (:func:`sys.setswitchinterval`): one that keeps it makes that five parts of seven."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What batches of like items take."""

    seconds: tuple[tuple[int, float], ...] = ()
    """Sizes, the smallest first, and the seconds that a batch takes; nothing is known when empty."""
    settled: bool = True
    """Whether larger batches than the largest measured one bring nothing more."""

    def rates(self) -> list[tuple[int, float]]:
        """Sizes and items a second. A size that falls behind a smaller one counts as good as that."""
        found: list[tuple[int, float]] = []
        for size, seconds in self.seconds:
            found.append((size, max(size / seconds, found[-1][1] if found else 0.0)))
        return found

    def limit(self, most: int) -> int:
        """The smallest batch that is large enough (:data:`ENOUGH`); ``most`` while that is not known."""
        rates = self.rates()
        if not rates or not self.settled:
            return most
        best = rates[-1][1]
        return min(most, next(size for size, rate in rates if rate >= ENOUGH * best))


class Line:
    """The straight line through what batches took: a part that each call takes, and one for the work in it.

    Least squares of seconds per work over calls per work: so a small batch counts as much as a large one,
    and a machine that is slow for a while changes the two parts alike, and not how many times as large one
    is as the other. Each older batch counts a little less (:data:`MEMORY`).
    """

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: tuple[float, ...] = (0.0,) * 5

    def observe(self, work: float, seconds: float, weight: float = 1.0) -> None:
        """A batch of so much work took so many seconds, or ``weight`` of them did.

        Work is finite and above 0; what is not says nothing, and is left out.
        """
        if not 0 < work < math.inf:
            return
        calls, pace = 1 / work, seconds / work
        terms = (1.0, calls, pace, calls * calls, calls * pace)
        self._sums = tuple(MEMORY**weight * a + weight * b for a, b in zip(self._sums, terms, strict=True))

    def overhead(self) -> float:
        """What a call takes beside its work, as so much work.

        Infinite while nothing is known: batches are then made as large as they can be.
        """
        count, calls, paces, squares, products = self._sums
        spread = count * squares - calls * calls
        if spread <= 1e-9 * count * squares:
            return math.inf
        each_call = (count * products - calls * paces) / spread
        each = (paces - each_call * calls) / count
        return max(0.0, each_call / each) if each > 0 else math.inf


def portion(queued: int, free: int, workers: int, cheap: float) -> int:
    """How many of the queued items a worker takes at most, of those that there are.

    It shares them with the others. Those that are free begin at once, so each of them has its part; when all
    are busy the next is free before this one is done, and has one, too: who took all would make everybody in
    a long batch wait, beside a core that has nothing to do. But so many as take no longer than the call
    itself are not worth a second call.

    Args:
        queued: items; at least 1.
        free: workers that are free beside this one.
        workers: all of them.
        cheap: how many items take as long as a call without items; infinite when that is not known.
    """
    if free:
        return -(-queued // (free + 1))
    return max(-(-queued // workers), int(min(queued, cheap)))


def chosen(lengths: Sequence[float], size: int, overhead: float) -> list[int]:
    """Which of the waiting items make the next batch: the oldest, and those that are nearest to it.

    A batch takes ``overhead + n * longest``, in units of length. So it saves the overhead of all calls but
    one, and loses what its shorter items are filled up by. It is as large as makes the difference greatest,
    and no larger than brings a tenth (:data:`ENOUGH`). The oldest is always in it, and nobody waits for ever
    because others fit better.

    Args:
        lengths: of the waiting items, the oldest first; at least one.
        size: the largest batch, at least 1.
        overhead: the length that takes as long as a call without items; infinite when that is not known.

    Returns:
        The positions, rising.
    """
    oldest = lengths[0]
    near = heapq.nsmallest(size - 1, range(1, len(lengths)), key=lambda at: abs(lengths[at] - oldest))
    plenty = overhead * ENOUGH / (1 - ENOUGH)
    longest = total = oldest
    best, most = 0, 0.0
    for number, at in enumerate(near, 1):
        if number * longest >= plenty:
            break
        longest, total = max(longest, lengths[at]), total + lengths[at]
        gain = number * overhead - ((number + 1) * longest - total)
        if gain >= most:
            best, most = number, gain
    return sorted([0, *near[:best]])


def sizes(most: int) -> Iterator[int]:
    """1, 2, 4 and so on, and ``most`` itself.

    >>> list(sizes(12))
    [1, 2, 4, 8, 12]
    """
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most


async def measure(call: Call[Item], item: Item, most: int, clock: Clock = perf_counter) -> Profile:
    """Measure batches of one item, repeated, up to ``most`` or until they bring nothing more.

    All sizes in turns: a machine that is shared is slow for a while, and would be so for one size alone.

    Raises:
        Exception: whatever the function raised.
    """
    begin = clock()
    await call([item])  # the first call allocates, and is slow
    seconds: dict[int, float] = {}
    settled = False
    for size in sizes(most):
        seconds[size] = await _quickest(call, [item] * size, clock)
        settled = size == most or not _pays(seconds)
        if settled or clock() - begin > BUDGET:
            break
    for _ in range(TURNS - 1):
        if clock() - begin + sum(seconds.values()) > BUDGET:
            break
        for size, known in seconds.items():
            seconds[size] = min(known, await _quickest(call, [item] * size, clock))
    return Profile(tuple(seconds.items()), settled)


async def _quickest(call: Call[Item], items: list[Item], clock: Clock) -> float:
    """The fewest seconds: whatever else the machine does only makes it longer."""
    quickest, spent, times = float("inf"), 0.0, 0
    while times < TIMES and spent < EACH:
        begin = clock()
        await call(list(items))
        took = clock() - begin
        quickest, spent, times = min(quickest, took), spent + took, times + 1
    return max(quickest, 1e-9)


def _pays(seconds: Mapping[int, float]) -> bool:
    """Whether one of the last two doublings brought more."""
    if len(seconds) < 3:
        return True
    rates = [size / took for size, took in seconds.items()]
    return max(rates[-2:]) >= WORTH * max(rates[:-2])


async def keeps_lock(
    run: Callable[..., Awaitable[Any]], function: Callable[[list[Item]], Any], items: list[Item]
) -> bool:
    """Whether a function keeps Python's lock while it works, so that a second thread gets nothing done.

    A thread beside it that sleeps for a moment finds out: it needs the lock to go on. That holds on a busy
    machine, too, where two calls at once need not get more done than one.

    Args:
        run: calls a sync function on a thread; at least two at once.
        function: over lists.
        items: a batch.

    Raises:
        Exception: whatever the function raised.
    """
    done = threading.Event()

    def work() -> None:
        try:
            end = perf_counter() + LOOK
            function(list(items))
            while perf_counter() < end:
                function(list(items))
        finally:
            done.set()

    def watch() -> float:
        begin, waited = perf_counter(), 0.0
        while not done.is_set():
            asleep = perf_counter()
            sleep(TICK)
            waited += perf_counter() - asleep - TICK
        return waited / (perf_counter() - begin)

    looking = asyncio.ensure_future(run(watch))
    try:
        await run(work)
    finally:
        share: float = await looking
    return share > KEPT
