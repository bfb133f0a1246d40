"""How many are let in, by how long one more would wait: against services that are simulated, in no time."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.serving.answers import Problem
from serinus.serving.intake import FEW, HURRY, PATIENCE, UNKNOWN, Intake, Pace

SECONDS = st.floats(0.0, 60.0)


@dataclass
class Asked:
    """One request: when it came, how many were inside, and when it was answered (never, when refused)."""

    at: float
    inside: int
    done: float = math.inf

    @property
    def refused(self) -> bool:
        return self.done == math.inf


def simulated(
    arrivals: Sequence[float],
    seconds: Callable[[int], float],
    *,
    servers: int = 1,
    batch: int = 1,
    deadline: float = math.inf,
) -> list[Asked]:
    """First come, first served: ``seconds`` says how long a batch of so many takes one of the servers."""
    now = 0.0
    intake = Intake(4096, deadline, lambda: now)
    asked = [Asked(at, 0) for at in sorted(arrivals)]
    events: list[tuple[float, int, list[tuple[Asked, bool]]]] = [
        (one.at, number, [(one, False)]) for number, one in enumerate(asked)
    ]
    heapq.heapify(events)
    queue: list[tuple[Asked, bool]] = []
    free, number = servers, len(asked)
    while events:
        now, order, ours = heapq.heappop(events)
        if order < len(asked):
            one = ours[0][0]
            one.inside = intake.inside
            if intake.inside < intake.most or intake.refuse() is None:
                queue.append((one, intake.enter()))
        else:
            free += 1
            for one, probe in ours:
                one.done = now
                intake.leave(probe)
        while free and queue:
            taken, queue[:batch] = queue[:batch], []
            free, number = free - 1, number + 1
            heapq.heappush(events, (now + seconds(len(taken)), number, taken))
    assert intake.inside == 0
    return asked


def coming(*phases: tuple[float, float], seed: int = 1) -> Iterator[float]:
    """Random times: so many a second, for so many seconds; and the next phase."""
    chance, end = random.Random(seed), 0.0
    for rate, length in phases:
        at, end = end, end + length
        while (at := at + chance.expovariate(rate)) < end:
            yield at


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), SECONDS), max_size=60))
def test_there_are_never_more_inside_than_the_limit(limit: int, steps: list[tuple[bool, float]]) -> None:
    now = 0.0
    intake, probes = Intake(limit, clock=lambda: now), []
    for enters, passed in steps:
        now += passed
        if enters:
            try:
                probes.append(intake.enter())
            except Problem as refused:
                assert len(probes) >= min(limit, FEW)
                assert refused.status == 503
                assert int(dict(refused.headers)["retry-after"]) >= 1
        elif probes:
            intake.leave(probes.pop(0))
        assert intake.inside == len(probes) <= intake.limit
        assert probes.count(True) <= 1
        assert min(limit, FEW) <= intake.most <= limit


@given(
    st.integers(1, 8),
    st.floats(0.001, 5.0),
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=120),
)
def test_nobody_is_refused_who_would_be_served_at_once(
    servers: int, seconds: float, pauses: list[float]
) -> None:
    arrivals, at = [], 0.0
    for pause in pauses:
        at += pause * seconds / servers
        arrivals.append(at)
    for one in simulated(arrivals, lambda _: seconds, servers=servers):
        assert not one.refused or one.inside > servers


Seconds = Callable[[random.Random, int], float]
SERVICES: dict[str, tuple[float, int, int, Seconds]] = {
    "one at a time": (60.0, 1, 1, lambda chance, n: n / 60 * chance.choice((0.4, 0.6, 1, 1, 1, 2))),
    "eight at a time": (80.0, 8, 1, lambda chance, n: 0.1 * chance.uniform(0.7, 1.3)),
    "two, each with a batch that takes as long as its items": (60.0, 2, 32, lambda chance, n: n / 30),
    "a batch that takes as long as one item": (320.0, 1, 32, lambda chance, n: 0.1),
}


@pytest.mark.parametrize("name", SERVICES)
def test_three_times_as_many_as_can_be_answered(name: str) -> None:
    capacity, servers, batch, seconds = SERVICES[name]
    chance = random.Random(2)
    arrivals = list(coming((capacity / 2, 5), (capacity * 3, 12), (capacity / 2, 6)))
    asked = simulated(arrivals, lambda n: seconds(chance, n), servers=servers, batch=batch)
    assert not any(one.refused for one in asked if one.at < 5)
    good = sum(5 <= one.done < 17 for one in asked)
    assert good >= 0.95 * 12 * capacity
    late = [one.done - one.at for one in asked if 10 <= one.at < 17 and not one.refused]
    assert max(late) < 1.0
    after = [one for one in asked if one.at >= 18]
    assert not any(one.refused for one in after)
    assert max(one.done - one.at for one in after) < HURRY * PATIENCE


def test_a_queue_that_comes_and_goes_is_no_overload() -> None:
    bursts = [second + 0.001 * n for second in range(0, 20, 4) for n in range(100)]
    assert not any(one.refused for one in simulated(bursts, lambda _: 0.016))


def test_many_callers_who_wait_for_their_answers_are_all_let_in() -> None:
    """64 connections and 60 answers a second: each waits for 1.07 seconds, and asks again."""
    now, refused = 0.0, 0
    intake, queue = Intake(2048, clock=lambda: now), [False] * 0
    for _ in range(64):
        queue.append(intake.enter())
    for _ in range(2000):
        now += 1 / 60
        intake.leave(queue.pop(0))
        refused += intake.inside >= intake.most and intake.refuse() is not None
        queue.append(intake.enter())
    assert intake.pace.gap == pytest.approx(1 / 60, rel=0.05)
    assert refused == 0


def test_a_service_that_waits_for_others_has_no_queue() -> None:
    """Any number of requests side by side, each as long as it is: nobody waits for anybody."""
    chance = random.Random(3)
    for seconds in (lambda _: 3.0, lambda _: chance.uniform(1.0, 3.0), lambda _: chance.choice((0.01, 4.0))):
        asked = simulated(list(coming((60, 8), (100, 8), (180, 8))), seconds, servers=10**6)
        assert max(one.inside for one in asked) > UNKNOWN
        assert not any(one.refused for one in asked)


def test_a_service_of_which_nothing_is_known_lets_a_number_in() -> None:
    burst = simulated([0.0] * 600, lambda _: 0.5, servers=600)
    assert sum(not one.refused for one in burst) == UNKNOWN


@given(SECONDS, SECONDS, st.floats(0.0001, 10), st.floats(0.0001, 10), SECONDS)
def test_more_patience_and_a_faster_service_let_more_in(
    short: float, more: float, gap: float, slower: float, alone: float
) -> None:
    pace = Pace(alone, gap)
    assert FEW <= pace.room(short) <= pace.room(short + more)
    assert Pace(alone, gap + slower).room(short) <= pace.room(short)
    assert (pace.room(short) - 1) * gap >= min(short, alone) * 0.999


@given(st.lists(st.tuples(st.floats(1e-6, 60.0), st.integers(0, 300), st.integers(1, 900)), max_size=40))
def test_what_is_known_lies_between_what_was_seen(seen: list[tuple[float, int, int]]) -> None:
    pace = Pace()
    for took, ahead, answered in seen:
        pace = pace.seen(took, ahead, answered)
        assert 0 <= pace.alone <= max(took for took, _, _ in seen)
        assert 0 <= pace.gap <= max(took / answered for took, _, answered in seen)


def test_who_is_refused_is_told_when_to_come_again() -> None:
    now = 0.0
    intake = Intake(256, clock=lambda: now)
    probes = [intake.enter() for _ in range(6)]
    for _ in range(20):  # an answer a second
        now += 1.0
        intake.leave(probes.pop(0))
        if intake.inside < intake.most:
            probes.append(intake.enter())
    answer = intake.refuse()
    assert answer is not None
    assert (intake.pace.alone, intake.pace.gap) == pytest.approx((1.0, 1.0))
    assert (answer.status, dict(answer.headers)["retry-after"]) == (503, "4")
    with pytest.raises(Problem) as refused:
        intake.enter()
    assert refused.value.answer() == answer


def test_nobody_is_let_in_to_miss_the_deadline() -> None:
    asked = simulated(list(coming((180, 6))), lambda _: 1 / 60, deadline=1.0)
    assert any(one.refused for one in asked)
    assert max(one.done - one.at for one in asked if not one.refused) < 1.0


def test_a_service_that_became_faster_lets_more_in() -> None:
    """Twenty seconds with 20 answers a second, then 500: of 150 at a time none is refused that once were."""
    number = 0

    def seconds(_: int) -> float:
        nonlocal number
        number += 1
        return 0.05 if number < 400 else 0.002

    asked = simulated(
        [*coming((60, 20)), *(40 + k / 2 + n / 1e4 for k in range(20) for n in range(150))], seconds
    )
    assert any(one.refused for one in asked if one.at < 20)
    assert not any(one.refused for one in asked if one.at >= 40)
