"""What a fleet decides: whatever happens to replicas, in whatever order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serinus.environment.fleet.supervise import (
    LONGEST,
    SETTLED,
    Goal,
    Key,
    Phase,
    Plan,
    Seat,
    Terms,
    Trouble,
    decide,
    failed,
    forgiven,
    found,
    moved,
    remembered,
)
from serinus.rollout import Health

LEAD = 2.0
TERMS = [Terms("x"), Terms("y"), Terms("x", "c"), Terms("x", "d"), Terms("x", "", record=True)]
GOALS = st.lists(
    st.builds(Goal, st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(TERMS)),
    max_size=2,
    unique_by=lambda goal: goal.version,
)


class Replicas(RuleBasedStateMachine):
    """Replicas that start, fail, become unfit, die and stop as they like, while the wishes change."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.goals: list[Goal] = []
        self.seats: dict[Key, Seat] = {}
        self.troubles: dict[Key, Trouble] = {}

    # The world

    @rule(goals=GOALS)
    def want(self, goals: list[Goal]) -> None:
        self.troubles = forgiven(self.troubles, self.goals, goals)
        self.goals = goals

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 3.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def some(self, data: st.DataObject, *phases: Phase) -> Seat | None:
        there = [seat for seat in self.seats.values() if seat.phase in phases]
        return data.draw(st.sampled_from(there)) if there else None

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def one_becomes_ready(self, data: st.DataObject) -> None:
        if seat := self.some(data, Phase.STARTING):
            self.seats[seat.key] = moved(seat, Phase.READY, self.now)

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def one_dies(self, data: st.DataObject) -> None:
        if seat := self.some(data, *Phase):
            del self.seats[seat.key]
            if seat.counts:
                self.troubles[seat.key] = failed(seat, self.troubles.get(seat.key), self.now, "died")

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def one_is_unfit(self, data: st.DataObject) -> None:
        if seat := self.some(data, Phase.STARTING):
            before = self.troubles.get(seat.key)
            self.troubles[seat.key] = failed(seat, before, self.now, "unfit", hopeless=True)
            self.seats[seat.key] = moved(seat, Phase.STOPPING, self.now)

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def one_has_stopped(self, data: st.DataObject) -> None:
        if seat := self.some(data, Phase.STOPPING):
            del self.seats[seat.key]

    # The fleet

    def act(self) -> Plan:
        before = dict(self.seats)
        self.troubles = remembered(self.troubles, self.goals, list(self.seats.values()), self.now)
        plan = decide(self.goals, list(self.seats.values()), self.troubles, self.now, LEAD)
        self._is_careful(plan, before)
        for key in plan.leave:
            self.seats[key] = moved(self.seats[key], Phase.LEAVING, self.now)
            self.troubles.pop(key, None)
        for key in plan.stop:
            self.seats[key] = moved(self.seats[key], Phase.STOPPING, self.now)
        terms = {goal.version: goal.terms for goal in self.goals}
        for version, number in plan.start:
            seat = Seat(version, number, terms[version], Phase.STARTING, self.now)
            self.seats[seat.key] = seat
        return plan

    def _is_careful(self, plan: Plan, before: dict[Key, Seat]) -> None:
        assert len(set(plan.start)) == len(plan.start)
        assert not set(plan.start) & before.keys()
        assert all(self.troubles[key].due <= self.now for key in plan.start if key in self.troubles)
        assert all(before[key].counts for key in plan.leave)
        for key in plan.stop:
            assert before[key].phase is Phase.LEAVING
            assert self.now - before[key].since >= LEAD
        for goal in self.goals:
            counting = [seat for seat in before.values() if seat.version == goal.version and seat.counts]
            staying = [seat for seat in counting if seat.key not in plan.leave]
            ready, left = (sum(seat.phase is Phase.READY for seat in seats) for seats in (counting, staying))
            assert left >= min(ready, goal.replicas)
            started = sum(version == goal.version for version, _ in plan.start)
            stale = any(not seat.terms.meet(goal.terms) for seat in staying)
            assert not started or len(staying) + started <= goal.replicas + stale
            if not stale:
                assert len(staying) + started <= goal.replicas
        wanted = {goal.version for goal in self.goals}
        assert {key for key, seat in before.items() if seat.counts and key[0] not in wanted} <= set(
            plan.leave
        )
        assert {version for version, _ in plan.start} <= wanted

    @invariant()
    def what_was_done_is_not_done_again(self) -> None:
        self.act()
        assert self.act() == Plan()

    def teardown(self) -> None:
        """From wherever it stands: if all goes well from now on, it gets to what is wanted."""
        for _ in range(40):
            self.now += LONGEST
            self.act()
            for seat in list(self.seats.values()):
                if seat.phase is Phase.STARTING:
                    self.seats[seat.key] = moved(seat, Phase.READY, self.now)
                if seat.phase is Phase.STOPPING:
                    del self.seats[seat.key]
        assert len(self.seats) == sum(goal.replicas for goal in self.goals)
        for goal in self.goals:
            own = [seat for seat in self.seats.values() if seat.version == goal.version]
            assert len(own) == goal.replicas
            assert all(seat.phase is Phase.READY and seat.terms.meet(goal.terms) for seat in own)
        assert not self.troubles


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(deadline=None, max_examples=200, stateful_step_count=40)


def seat(phase: Phase = Phase.READY, since: float = 0.0, number: int = 0, **more: object) -> Seat:
    made = Seat("v", number, Terms("x"), phase, since, ("127.0.0.1", 5000 + number))
    return replace(made, **more)


def test_what_fails_again_and_again_is_started_later_and_later() -> None:
    trouble, delays, now = None, [], 0.0
    for _ in range(9):
        trouble = failed(seat(since=now), trouble, now + 5, "died")
        delays.append(trouble.due - now - 5)
        now = trouble.due
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    trouble = failed(seat(since=now), trouble, now + SETTLED, "died")
    assert trouble.due - now - SETTLED == 1


def test_what_is_wanted_in_another_way_is_tried_at_once() -> None:
    troubles = {("v", 0): Trouble(3, 9.0, "", True)}
    before = [Goal("v", 2, Terms("x", "c"))]
    assert forgiven(troubles, before, before) == troubles
    for goal in (Goal("v", 1, Terms("x", "c")), Goal("v", 2, Terms("y")), Goal("v", 2, Terms("x"))):
        assert forgiven(troubles, before, [goal]) == {}


def test_what_has_settled_is_forgiven_and_what_is_unwanted_is_forgotten() -> None:
    goals = [Goal("v", 2, Terms("x"))]
    troubles = {("v", 0): Trouble(3, 9.0, "", True), ("v", 1): Trouble(3, 9.0, "", True)}
    troubles[("w", 0)] = Trouble(1, 9.0, "", False)
    kept = remembered(troubles, goals, [seat(since=0.0), seat(since=20.0, number=1)], 60.0)
    assert list(kept) == [("v", 1)]


@pytest.mark.parametrize(
    ("runs", "wanted", "stays"),
    [
        (Terms("x"), Terms("x"), True),
        (Terms("x"), Terms("y"), False),
        # A candidate becomes stable: it is held to its own contract, and not recorded any more.
        (Terms("x", "stable's", record=True), Terms("x"), True),
        # Stable becomes a candidate, or is to be compared: what its replicas cannot do is asked of them.
        (Terms("x"), Terms("x", "stable's"), False),
        (Terms("x", "stable's"), Terms("x", "another"), False),
        (Terms("x"), Terms("x", record=True), False),
    ],
)
def test_less_than_before_is_no_reason_to_start_anew(runs: Terms, wanted: Terms, stays: bool) -> None:
    assert runs.meet(wanted) == stays
    plan = decide([Goal("v", 1, wanted)], [seat(terms=runs)], {}, 0.0, LEAD)
    # Replaced by one more, not by one fewer.
    assert plan == (Plan() if stays else Plan(start=(("v", 1),)))


def test_one_after_the_other_is_replaced() -> None:
    goal = Goal("v", 2, Terms("y"))
    seats = [seat(number=0), seat(number=1)]
    assert decide([goal], seats, {}, 0.0, LEAD) == Plan(start=(("v", 2),))
    seats.append(seat(Phase.STARTING, number=2, terms=Terms("y")))
    assert decide([goal], seats, {}, 0.0, LEAD) == Plan()
    seats[2] = moved(seats[2], Phase.READY, 0.0)
    assert decide([goal], seats, {}, 0.0, LEAD) == Plan(start=(("v", 3),), leave=(("v", 0),))


@pytest.mark.parametrize(
    ("phases", "troubles", "health"),
    [
        ([], {}, Health.STARTING),
        ([Phase.STARTING], {}, Health.STARTING),
        ([Phase.READY, Phase.READY], {}, Health.READY),
        ([Phase.READY, Phase.STARTING], {}, Health.DEGRADED),
        ([Phase.READY], {1: False}, Health.DEGRADED),
        ([Phase.STARTING], {0: False}, Health.FAILING),
        ([], {0: True}, Health.STARTING),
        ([Phase.LEAVING, Phase.STOPPING], {}, Health.STARTING),
    ],
)
def test_how_a_version_is_doing(phases: list[Phase], troubles: dict[int, bool], health: Health) -> None:
    seats = [seat(phase, number=number) for number, phase in enumerate(phases)]
    known = {("v", number): Trouble(1, 5.0, "why", started) for number, started in troubles.items()}
    told = found("v", 2, seats, known, 3)
    assert (told.version, told.health, told.restarts) == ("v", health, 3)
    assert told.why == ("why" if troubles else "")
    assert told.addresses == tuple(s.address for s in seats if s.phase is Phase.READY)


@given(st.lists(st.sampled_from(list(Phase)), max_size=4), st.integers(0, 4))
def test_only_what_is_ready_has_an_address(phases: list[Phase], replicas: int) -> None:
    seats = [seat(phase, number=number) for number, phase in enumerate(phases)]
    told = found("v", replicas, [*seats, seat(version="w")], {})
    assert len(told.addresses) == phases.count(Phase.READY)
    assert (told.health is Health.READY) == (len(told.addresses) >= replicas)
