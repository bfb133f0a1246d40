"""Dynamic batching: everybody gets exactly their own answer, in batches that are no larger than agreed.

Time in these tests is the loop's, and jumps: a loop that would sleep moves its clock instead.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import serinus
from serinus.errors import ServiceError
from serinus.serving.batching import Batcher, Batching, batching_of
from serinus.serving.profile import Profile

T = TypeVar("T")


class Leap(selectors.DefaultSelector):
    """A selector that never sleeps: it moves its clock by the time it was to wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            return super().select(None)
        if not found and timeout:
            self.now += timeout
        return found


class LeapLoop(asyncio.SelectorEventLoop):
    """An event loop in which a second of waiting takes no time."""

    def __init__(self) -> None:
        self.leap = Leap()
        super().__init__(self.leap)

    def time(self) -> float:
        return self.leap.now


def play(main: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await main()

    with asyncio.Runner(loop_factory=LeapLoop) as runner:
        return runner.run(run())


def double(items: list[int]) -> list[int]:
    return [2 * item for item in items]


def test_a_marked_function_is_called_like_any_other() -> None:
    marked = serinus.batched(max_size=4, max_wait=0.01)(double)
    assert marked([1, 2]) == [2, 4]
    assert batching_of(marked) == Batching(4, 0.01)
    by_length = batching_of(serinus.batched(key=len)(double))
    assert by_length is not None
    assert by_length.key is len
    assert batching_of(test_a_marked_function_is_called_like_any_other) is None


@pytest.mark.parametrize("size", [0, -1, True, 1.5, double])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ServiceError, match="max_size"):
        serinus.batched(max_size=size)


@pytest.mark.parametrize("wait", [-0.1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(wait: float) -> None:
    with pytest.raises(ServiceError, match="max_wait"):
        serinus.batched(max_wait=wait)


def test_a_key_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ServiceError, match="key='length'"):
        serinus.batched(key="length")  # type: ignore[arg-type]


PLANS = st.lists(
    st.tuples(
        st.floats(0, 3),  # when the request comes
        st.one_of(st.none(), st.floats(0, 2)),  # when its caller gives up, counted from there
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    plan=PLANS,
    size=st.integers(1, 7),
    wait=st.sampled_from([0.0, 0.3]),
    workers=st.integers(1, 3),
    takes=st.lists(st.sampled_from([0.0, 0.05, 0.7]), min_size=1, max_size=5),
    key=st.sampled_from([None, lambda item: item % 5, lambda item: -item, lambda item: float("nan")]),
    profile=st.sampled_from(
        [Profile(), Profile(((1, 1.0), (2, 1.5), (4, 2.6))), Profile(((1, 1.0), (2, 2.0)))]
    ),
    bad=st.sets(st.integers(0, 39), max_size=3),
)
def test_everybody_gets_exactly_their_own_answer(
    *,
    plan: list[tuple[float, float | None]],
    size: int,
    wait: float,
    workers: int,
    takes: list[float],
    key: Callable[[int], float] | None,
    profile: Profile,
    bad: set[int],
) -> None:
    batches: list[list[int]] = []
    seen: list[tuple[int, int]] = []
    under_way = [0, 0]

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(takes[len(batches) % len(takes)])
        under_way[0] -= 1
        if bad.intersection(items):
            raise ValueError(f"bad among {items}")
        return double(items)

    async def caller(batcher: Batcher[int, int], number: int, at: float, patience: float | None) -> str:
        await asyncio.sleep(at)
        try:
            async with asyncio.timeout(patience):
                answer = await batcher.submit(number)
        except TimeoutError:
            return "gave up"
        except ValueError as error:
            return "failed" if f"{number}" in str(error) else f"heard of another batch: {error}"
        assert answer == 2 * number
        return "answered"

    async def main() -> list[str]:
        batcher: Batcher[int, int] = Batcher(
            work,
            Batching(size, wait, key),
            workers=workers,
            observe=lambda *told: seen.append(told),
            profile=profile,
        )
        callers = (caller(batcher, i, at, patience) for i, (at, patience) in enumerate(plan))
        async with asyncio.timeout(10_000):  # a lost wake-up would wait for ever
            outcomes = await asyncio.gather(*callers)
        assert batcher.queued == 0
        return outcomes

    outcomes = play(main)
    ran = [item for batch in batches for item in batch]
    assert len(ran) == len(set(ran)), "nothing runs twice"
    assert all(1 <= len(batch) <= size for batch in batches)
    assert under_way[1] <= workers
    assert [told[0] for told in seen] == [len(batch) for batch in batches]
    failed = {item for batch in batches if bad.intersection(batch) for item in batch}
    for number, outcome in enumerate(outcomes):
        if outcome != "gave up":
            assert number in ran
            assert (outcome == "failed") == (number in failed)
        else:
            assert plan[number][1] is not None


def test_a_lone_request_waits_for_nobody() -> None:
    async def main() -> float:
        await Batcher(double, Batching(32, 0.0)).submit(1)
        return asyncio.get_running_loop().time()

    assert play(main) == 0.0


def test_with_max_wait_the_first_waits_so_long_and_no_longer() -> None:
    batches: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        return double(items)

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        batcher: Batcher[int, int] = Batcher(work, Batching(3, 1.0))

        async def at(moment: float, item: int) -> float:
            await asyncio.sleep(moment)
            await batcher.submit(item)
            return loop.time()

        return await asyncio.gather(*(at(m, i) for i, m in enumerate([0.0, 0.9, 2.0, 2.1, 2.2, 2.3])))

    assert play(main) == pytest.approx([1.0, 1.0, 2.2, 2.2, 2.2, 3.3])
    assert batches == [[0, 1], [2, 3, 4], [5]]


def test_workers_that_are_free_share_what_is_queued() -> None:
    batches: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        await asyncio.sleep(1)
        return double(items)

    async def main() -> list[int]:
        batcher: Batcher[int, int] = Batcher(work, Batching(8), workers=2)
        return await asyncio.gather(*(batcher.submit(i) for i in range(5)))

    assert play(main) == [0, 2, 4, 6, 8]
    assert batches == [[0, 1, 2], [3, 4]]


def test_the_first_to_be_free_again_leaves_half_of_a_burst_to_the_other() -> None:
    batches: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        await asyncio.sleep(1.0 if 0 in items else 1.5)
        return double(items)

    async def main() -> None:
        a_call_is_an_item = Profile(((1, 2.0), (2, 3.0), (4, 5.0)))
        batcher: Batcher[int, int] = Batcher(
            work, Batching(8, key=lambda item: 1.0), workers=2, profile=a_call_is_an_item
        )
        busy = [asyncio.create_task(batcher.submit(item)) for item in (0, 1)]
        await asyncio.sleep(0.5)
        await asyncio.gather(*busy, *(batcher.submit(item) for item in range(2, 8)))

    play(main)
    assert batches[:3] == [[0], [1], [2, 3, 4]]


def test_items_of_like_length_go_together_and_the_oldest_is_always_with_them() -> None:
    batches: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        await asyncio.sleep(1)
        return double(items)

    async def main() -> list[int]:
        batcher: Batcher[int, int] = Batcher(work, Batching(3, key=float))
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.5)
        others = [asyncio.create_task(batcher.submit(item)) for item in (50, 7, 8, 48, 52, 90, 9)]
        return await asyncio.gather(first, *others)

    assert play(main) == [0, 100, 14, 16, 96, 104, 180, 18]
    assert batches == [[0], [50, 48, 52], [7, 8, 9], [90]]


def test_an_item_that_has_no_length_fails_alone() -> None:
    async def main() -> list[Any]:
        batcher: Batcher[Any, Any] = Batcher(lambda items: items, Batching(8, key=len))
        return await asyncio.gather(*(batcher.submit(i) for i in ("a", 5, "b")), return_exceptions=True)

    first, second, third = asyncio.run(main())
    assert (first, third) == ("a", "b")
    assert isinstance(second, TypeError)


@pytest.mark.parametrize("key", [None, len])
def test_a_batch_becomes_no_larger_than_brings_more(key: Callable[[Any], float] | None) -> None:
    """A function that takes as long for a call as for two letters: measured on examples."""
    sizes: list[int] = []

    async def work(items: list[str]) -> list[str]:
        sizes.append(len(items))
        await asyncio.sleep((2 + len(items) * max(map(len, items))) / 1000)
        return items

    async def main() -> list[int]:
        clock = asyncio.get_running_loop().time
        batcher: Batcher[str, str] = Batcher(work, Batching(64, key=key), clock=clock)
        await batcher.warm(["a", "four", "much longer than that"])
        sizes.clear()
        answers = await asyncio.gather(*(batcher.submit(f"item {i}") for i in range(10, 30)))
        assert answers == [f"item {i}" for i in range(10, 30)]
        return sizes

    measured = play(main)
    assert sum(measured) == 20
    # Of "four" four make nine tenths of the most; by length nine times those two letters are enough.
    assert max(measured) == (4 if key is None else 3)


def test_requests_that_come_while_the_worker_is_busy_are_one_batch() -> None:
    sizes: list[int] = []
    gate = threading.Event()
    started = threading.Event()

    def work(items: list[int]) -> list[int]:
        sizes.append(len(items))
        started.set()
        gate.wait(10)
        return double(items)

    async def main() -> list[int]:
        batcher: Batcher[int, int] = Batcher(work, Batching(4))
        first = asyncio.create_task(batcher.submit(0))
        while not started.is_set():
            await asyncio.sleep(0)
        others = [asyncio.create_task(batcher.submit(i)) for i in range(1, 7)]
        await asyncio.sleep(0)
        assert batcher.queued == 6
        gate.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(main()) == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [1, 4, 2]


def test_who_gives_up_in_the_queue_is_not_run_and_disturbs_nobody() -> None:
    batches: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        await asyncio.sleep(1)
        return double(items)

    async def main() -> list[Any]:
        batcher: Batcher[int, int] = Batcher(work, Batching(4))
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.sleep(0.1)
        tasks += [asyncio.create_task(batcher.submit(i)) for i in (1, 2, 3)]
        await asyncio.sleep(0.1)
        tasks[0].cancel()  # under way
        tasks[2].cancel()  # queued
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = play(main)
    assert [type(a) for a in answers] == [asyncio.CancelledError, int, asyncio.CancelledError, int]
    assert batches == [[0], [1, 3]]


WRONG: list[tuple[Callable[[list[int]], Any], str]] = [
    (lambda items: items[1:], r"list of 2 for 3 items; expected a list of 3"),
    (lambda items: None, "NoneType for 3 items"),
    (lambda items: "abc", "str for 3 items"),
    (dict.fromkeys, "dict for 3 items"),
    (set, "set for 3 items"),
    (lambda items: (item for item in items), "generator of unknown length"),
    (lambda items: numpy.array(1), "ndarray of unknown length"),
]


@pytest.mark.parametrize(("function", "message"), WRONG)
def test_a_wrong_number_of_results_is_an_error_for_all_of_the_batch(
    function: Callable[[list[int]], Any], message: str
) -> None:
    async def main() -> list[Any]:
        batcher: Batcher[int, Any] = Batcher(function, Batching(8))
        tasks = [batcher.submit(i) for i in range(3)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    for answer in asyncio.run(main()):
        assert isinstance(answer, ServiceError)
        with pytest.raises(ServiceError, match=message):
            raise answer


@pytest.mark.parametrize("results", [tuple, numpy.array])
def test_tuples_and_arrays_are_lists_too(results: Callable[[list[int]], Any]) -> None:
    async def main() -> list[int]:
        batcher: Batcher[int, int] = Batcher(results, Batching(8))
        return await asyncio.gather(*(batcher.submit(i) for i in range(5)))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), KeyError("x"), asyncio.CancelledError()])
def test_whatever_the_function_raises_its_batch_hears_and_the_next_one_runs(error: BaseException) -> None:
    def sync(items: list[int]) -> list[int]:
        if 13 in items:
            raise error
        return double(items)

    async def coroutine(items: list[int]) -> list[int]:
        return sync(items)

    async def main(function: Callable[[list[int]], Any]) -> list[Any]:
        batcher: Batcher[int, int] = Batcher(function, Batching(2))
        async with asyncio.timeout(10):
            failed = await asyncio.gather(batcher.submit(1), batcher.submit(13), return_exceptions=True)
            return [*failed, await batcher.submit(4)]

    for function in (sync, coroutine):
        first, second, third = asyncio.run(main(function))
        assert isinstance(first, Exception)
        assert isinstance(second, Exception)
        assert third == 8


def test_an_object_with_an_async_call_is_async() -> None:
    class Model:
        async def __call__(self, items: list[int]) -> list[int]:
            await asyncio.sleep(0)
            return double(items)

    async def main() -> int:
        return await Batcher[int, int](Model(), Batching()).submit(21)

    assert play(main) == 42
