"""How large a batch is worth being: by measured times, and by what is lost on shorter items."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise
from time import perf_counter, sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.serving.admission import Pool
from serinus.serving.profile import ENOUGH, Line, Profile, chosen, keeps_lock, measure, portion, sizes

LENGTHS = st.lists(st.floats(0, 1000), min_size=1, max_size=60)
OVERHEADS = st.floats(0, 1000) | st.just(math.inf)


@given(LENGTHS, st.integers(1, 40), OVERHEADS)
def test_a_batch_has_the_oldest_nobody_twice_and_is_no_larger_than_allowed(
    lengths: list[float], size: int, overhead: float
) -> None:
    places = chosen(lengths, size, overhead)
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] < len(lengths)
    assert len(places) <= size


@given(LENGTHS, st.integers(1, 40), st.floats(0, 1000))
def test_a_batch_loses_no_more_by_filling_up_than_it_saves(
    lengths: list[float], size: int, overhead: float
) -> None:
    own = [lengths[at] for at in chosen(lengths, size, overhead)]
    together = overhead + len(own) * max(own)
    assert together <= sum(overhead + one for one in own) * (1 + 1e-9) + 1e-9


@given(LENGTHS, st.integers(1, 40), st.floats(0, 1000))
def test_no_smaller_batch_of_the_nearest_saves_more(lengths: list[float], size: int, overhead: float) -> None:
    def gain(batch: list[float]) -> float:
        return sum(overhead + one for one in batch) - overhead - len(batch) * max(batch)

    own = [lengths[at] for at in chosen(lengths, size, overhead)]
    nearest = sorted(own, key=lambda length: abs(length - lengths[0]))
    assert all(gain(own) >= gain(nearest[:count]) - 1e-6 for count in range(1, len(own)))


@given(LENGTHS, st.integers(1, 40), OVERHEADS)
def test_nobody_who_is_left_out_is_nearer_than_the_farthest_who_is_in(
    lengths: list[float], size: int, overhead: float
) -> None:
    places = chosen(lengths, size, overhead)
    away = [abs(length - lengths[0]) for length in lengths]
    left = [away[at] for at in range(len(lengths)) if at not in places]
    assert max(away[at] for at in places) <= min(left, default=math.inf)


@given(LENGTHS, st.integers(1, 40), OVERHEADS)
def test_every_item_is_in_exactly_one_batch_after_no_more_batches_than_stood_before_it(
    lengths: list[float], size: int, overhead: float
) -> None:
    waiting = list(range(len(lengths)))
    batch = 0
    while waiting:
        places = chosen([lengths[item] for item in waiting], size, overhead)
        assert waiting[0] >= batch
        waiting = [item for at, item in enumerate(waiting) if at not in places]
        batch += 1
    assert batch <= len(lengths)


@given(st.integers(1, 200), st.integers(1, 9), st.data(), st.floats(0, math.inf))
def test_who_is_free_has_as_much_of_what_is_queued_as_anybody(
    queued: int, workers: int, data: st.DataObject, cheap: float
) -> None:
    free = data.draw(st.integers(0, workers - 1), "free")
    part = portion(queued, free, workers, cheap)
    assert 1 <= part <= queued
    if free:  # all who are free begin now, and nothing is left for who is not
        parts = [part]
        while free:
            free -= 1
            left = queued - sum(parts)
            parts.append(portion(left, free, 1, cheap) if left else 0)
        assert sum(parts) == queued
        assert max(parts) - min(part for part in parts if part) <= 1
    else:
        assert part * workers >= queued
        assert part == max(math.ceil(queued / workers), int(min(queued, cheap)))


def test_a_worker_that_is_alone_takes_all() -> None:
    assert portion(17, 0, 1, 0.0) == 17


def test_a_burst_is_shared_with_a_busy_worker_but_not_where_items_cost_nothing_beside_the_call() -> None:
    assert portion(7, 0, 2, 0.5) == 4
    assert portion(7, 0, 2, 6.0) == 6
    assert portion(7, 0, 2, math.inf) == 7


def test_what_has_no_length_is_not_lost() -> None:
    assert chosen([math.nan, 1.0, math.nan], 3, 5.0) == [0]
    assert chosen([1.0, math.nan, 1.0], 3, 5.0)[0] == 0


def test_as_many_short_items_as_few_long_ones_make_a_batch_that_is_large_enough() -> None:
    assert len(chosen([11.0] * 50, 50, 10.0)) == 9
    assert len(chosen([46.0] * 50, 50, 10.0)) == 2
    assert len(chosen([500.0] * 50, 50, 10.0)) == 1
    assert len(chosen([500.0] * 50, 50, math.inf)) == 50


def affine(overhead: float, each: float, most: int) -> Profile:
    return Profile(tuple((size, overhead + each * size) for size in sizes(most)))


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.integers(2, 128))
def test_the_limit_is_the_smallest_measured_size_that_is_good_enough(
    overhead: float, each: float, most: int
) -> None:
    profile = affine(overhead, each, most)
    limit = profile.limit(most)
    rates = dict(profile.rates())
    best = max(rates.values())
    assert rates[limit] >= ENOUGH * best * (1 - 1e-9)
    assert all(rate < ENOUGH * best for size, rate in rates.items() if size < limit)


def line(batches: Iterable[tuple[float, float]]) -> Line:
    found = Line()
    for work, seconds in batches:
        found.observe(work, seconds)
    return found


WORK = st.lists(st.integers(1, 1000), min_size=2, max_size=50, unique=True)


@given(WORK, st.floats(0.01, 1000), st.floats(1e-6, 1))
def test_the_overhead_is_that_of_a_call_in_work(work: list[int], overhead: float, each: float) -> None:
    found = line((one, each * (overhead + one)) for one in work)
    assert found.overhead() == pytest.approx(overhead, rel=1e-3, abs=1e-3)


@given(st.lists(st.tuples(st.floats(0, 1e6) | st.just(math.nan), st.floats(0, 1e3))))
def test_whatever_is_seen_the_overhead_is_a_number_of_at_least_0(batches: list[tuple[float, float]]) -> None:
    assert line(batches).overhead() >= 0


def test_the_overhead_is_found_in_noise_and_followed_when_it_changes() -> None:
    chance, found = random.Random(4), Line()
    for overhead in (50.0, 200.0):
        for number in range(600):
            slow = 1.8 if number // 30 % 2 else 1.0
            work = chance.choice((1, 2, 2, 3, 4)) * chance.choice((40, 80, 120, 200))
            found.observe(work, 1e-4 * (overhead + work) * slow * chance.uniform(0.8, 1.2))
        assert 0.7 * overhead < found.overhead() < 1.4 * overhead


def test_of_what_is_not_known_batches_are_as_large_as_they_may_be() -> None:
    assert Profile().limit(32) == 32
    assert Line().overhead() == math.inf
    assert Profile(((1, 1.0), (2, 1.1)), settled=False).limit(32) == 32
    assert line([(3.0, 1.0)] * 5).overhead() == math.inf
    assert line([(0.0, 1.0), (math.inf, 1.0), (2.0, 1.0)]).overhead() == math.inf


@given(st.integers(1, 1000))
def test_sizes_double_up_to_the_largest(most: int) -> None:
    found = list(sizes(most))
    assert found[0] == 1
    assert found[-1] == most
    assert all(small < large <= 2 * small for small, large in pairwise(found))


class Clock:
    """Time that passes only in the function that is measured."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 0.0
        self.asked: list[int] = []
        self._seconds = seconds

    def __call__(self) -> float:
        return self.now

    async def call(self, items: list[Any]) -> None:
        self.asked.append(len(items))
        self.now += self._seconds(len(items))


@pytest.mark.parametrize(
    ("seconds", "most", "limit"),
    [
        (lambda size: 0.005, 32, 32),  # the weights are read once for all
        (lambda size: 0.005 * size, 32, 1),  # each is computed by itself
        (lambda size: 0.002 + 0.004 * size, 32, 4),
        (lambda size: 0.001 * max(size, 8), 64, 8),
        (lambda size: 3.0, 32, 32),  # too slow to find out
    ],
)
def test_measuring_finds_the_size(seconds: Callable[[int], float], most: int, limit: int) -> None:
    clock = Clock(seconds)
    profile = asyncio.run(measure(clock.call, "item", most, clock))
    assert profile.limit(most) == limit


def test_measuring_ends_where_larger_batches_bring_nothing_or_take_too_long() -> None:
    useless = Clock(lambda size: 0.001 * size)
    asyncio.run(measure(useless.call, "item", 1024, useless))
    assert max(useless.asked) == 4
    slow = Clock(lambda size: 2.0)
    assert not asyncio.run(measure(slow.call, "item", 1024, slow)).settled
    assert slow.asked == [1, 1]


def test_a_while_in_which_the_machine_is_slow_does_not_count() -> None:
    """The small sizes are measured in it, the large ones after it."""
    clock = Clock(lambda size: (0.002 + 0.004 * size) * (3 if clock.now < 0.3 else 1))
    profile = asyncio.run(measure(clock.call, "item", 8, clock))
    assert line(profile.seconds).overhead() == pytest.approx(0.5)


def run(work: Callable[[Pool], Awaitable[bool]]) -> bool:
    async def main() -> bool:
        return await work(Pool(2, 8))

    return asyncio.run(main())


def test_a_function_that_sleeps_lets_go_of_the_lock() -> None:
    assert not run(lambda pool: keeps_lock(pool.run, lambda items: sleep(0.002), [1]))


def test_a_function_that_counts_keeps_it() -> None:
    def count(items: list[int]) -> list[int]:
        end = perf_counter() + 0.02
        while perf_counter() < end:
            pass
        return items

    assert run(lambda pool: keeps_lock(pool.run, count, [1]))


def test_what_the_function_raises_is_heard_and_nobody_goes_on_watching() -> None:
    def fail(items: list[int]) -> list[int]:
        raise ValueError("no")

    async def main() -> None:
        pool = Pool(2, 8)
        with pytest.raises(ValueError, match="no"):
            await keeps_lock(pool.run, fail, [1])
        async with asyncio.timeout(10):
            while pool.pending:
                await asyncio.sleep(0.001)

    asyncio.run(main())
