"""What a fleet is to do next: values in, values out.

A *seat* is one replica, named by version and number. For each wanted version the plan is to have as many
seats as wanted under the terms that are wanted now, and it is careful in this order:

* what takes requests is told to leave only when enough others are ready to take them;
* a replica that came under other terms is replaced by one more, not by one fewer;
* what leaves is out of sight for a moment before it is stopped, so that a router has let go of it;
* what failed is started again after a delay that doubles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from serinus.rollout import Found, Health

FIRST = 1.0
"""Seconds until a replica that failed is started again; each further failure doubles them."""
LONGEST = 60.0
"""But never more seconds than these."""
SETTLED = 60.0
"""Seconds that a replica is ready after which its earlier failures are forgotten."""

Key = tuple[str, int]
"""Version and number of a replica."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what a replica runs, as far as it matters for whether it may stay."""

    base: str
    """Digest over its variables and its limits."""
    contract: str = ""
    """Digest of the contract that it is held to; empty is its own."""
    record: bool = False
    """Whether its log holds its answers."""

    def meet(self, wanted: Terms) -> bool:
        """Whether a replica under these terms does for what is wanted now.

        What is wanted less of is no reason to start anew: a candidate that becomes stable need not be held to
        another's contract any more, nor recorded, and goes on as it is.
        """
        return (
            self.base == wanted.base
            and wanted.contract in ("", self.contract)
            and (self.record or not wanted.record)
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """A version that is to run."""

    version: str
    replicas: int
    terms: Terms


class Phase(StrEnum):
    """Where a replica stands."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"
    """Out of sight, and still answering."""
    STOPPING = "stopping"
    """Told to stop."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A replica that is there, or is being started."""

    version: str
    number: int
    terms: Terms
    phase: Phase
    since: float
    """When it came into this phase."""
    address: tuple[str, int] = ("127.0.0.1", 0)

    @property
    def key(self) -> Key:
        """Version and number."""
        return self.version, self.number

    @property
    def counts(self) -> bool:
        """Whether it takes requests, or will."""
        return self.phase in (Phase.STARTING, Phase.READY)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a replica has failed at, in a row."""

    failures: int
    due: float
    """When it is to be started again."""
    why: str
    started: bool
    """Whether it had become ready before."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now."""

    start: tuple[Key, ...] = ()
    leave: tuple[Key, ...] = ()
    stop: tuple[Key, ...] = ()


def decide(
    goals: Sequence[Goal],
    seats: Sequence[Seat],
    troubles: Mapping[Key, Trouble],
    now: float,
    lead: float,
) -> Plan:
    """What is to be done.

    Args:
        goals: every version that is to run.
        seats: every replica that is there.
        troubles: of replicas that failed, by version and number.
        now: seconds.
        lead: seconds that what leaves is out of sight before it is stopped.
    """
    wanted = {goal.version for goal in goals}
    start: list[Key] = []
    leave = [seat.key for seat in seats if seat.counts and seat.version not in wanted]
    for goal in goals:
        own = [seat for seat in seats if seat.version == goal.version]
        gone = _leaving(goal, [seat for seat in own if seat.counts])
        leave += gone
        start += _starting(goal, own, set(gone), troubles, now)
    stop = [seat.key for seat in seats if seat.phase is Phase.LEAVING and now - seat.since >= lead]
    return Plan(tuple(start), tuple(leave), tuple(stop))


def _leaving(goal: Goal, seats: Sequence[Seat]) -> list[Key]:
    """Which replicas of a wanted version are to go."""
    fit = [seat for seat in seats if seat.terms.meet(goal.terms)]
    stale = [seat for seat in seats if not seat.terms.meet(goal.terms)]
    # Of those that will do, first the ones that are not ready yet; of equals, the highest number.
    spare = sorted(fit, key=lambda seat: (seat.phase is Phase.STARTING, seat.number), reverse=True)
    gone = [seat.key for seat in spare[: max(0, len(fit) - goal.replicas)]]
    gone += [seat.key for seat in stale if seat.phase is Phase.STARTING]
    ready = sum(seat.phase is Phase.READY and seat.key not in gone for seat in seats)
    serving = [seat.key for seat in stale if seat.phase is Phase.READY]
    return gone + serving[: max(0, ready - goal.replicas)]


def _starting(
    goal: Goal, seats: Sequence[Seat], gone: set[Key], troubles: Mapping[Key, Trouble], now: float
) -> list[Key]:
    """Which replicas of a wanted version are to be started."""
    there = [seat for seat in seats if seat.counts and seat.key not in gone]
    fit = sum(seat.terms.meet(goal.terms) for seat in there)
    # One more than wanted while others are being replaced.
    room = min(goal.replicas - fit, goal.replicas + (len(there) > fit) - len(there))
    taken = {seat.number for seat in seats}
    counting = {seat.number for seat in there} | {number for _, number in gone}
    failed = sorted(
        (trouble.due, number)
        for (version, number), trouble in troubles.items()
        if version == goal.version and number not in counting
    )
    # What failed keeps its place while it waits; it is no reason to start another in its stead.
    again = failed[: max(0, room)]
    due = [number for when, number in again if when <= now and number not in taken]
    known = taken | {number for _, number in failed}
    fresh = (number for number in range(len(known) + goal.replicas) if number not in known)
    more = [next(fresh) for _ in range(max(0, room) - len(again))]
    return [(goal.version, number) for number in (*due, *more)]


def failed(seat: Seat, before: Trouble | None, now: float, why: str, *, hopeless: bool = False) -> Trouble:
    """Note a failure of a replica.

    Args:
        seat: as it stood.
        before: what it had failed at.
        now: seconds.
        why: what it said.
        hopeless: whether it will fail again most likely: it waits as long as can be.
    """
    started = seat.phase is Phase.READY
    settled = started and now - seat.since >= SETTLED
    failures = 1 if before is None or settled else before.failures + 1
    delay = LONGEST if hopeless else min(LONGEST, FIRST * 2.0 ** min(failures - 1, 30))
    return Trouble(failures, now + delay, why, started)


def remembered(
    troubles: Mapping[Key, Trouble], goals: Sequence[Goal], seats: Sequence[Seat], now: float
) -> dict[Key, Trouble]:
    """The failures that still count: of replicas that are wanted and have not settled."""
    settled = {seat.key for seat in seats if seat.phase is Phase.READY and now - seat.since >= SETTLED}
    there = {seat.key for seat in seats if seat.counts}
    lacking = {
        goal.version
        for goal in goals
        if goal.replicas
        > sum(s.counts and s.version == goal.version and s.terms.meet(goal.terms) for s in seats)
    }
    wanted = {goal.version for goal in goals}
    return {
        key: trouble
        for key, trouble in troubles.items()
        if key not in settled and (key[0] in lacking or (key[0] in wanted and key in there))
    }


def forgiven(
    troubles: Mapping[Key, Trouble], before: Iterable[Goal], goals: Sequence[Goal]
) -> dict[Key, Trouble]:
    """The failures that still count when wishes have changed: not those of what is wanted in another way."""
    known = {goal.version: goal for goal in before}
    changed = {goal.version for goal in goals if known.get(goal.version, goal) != goal}
    return {key: trouble for key, trouble in troubles.items() if key[0] not in changed}


def found(
    version: str,
    replicas: int,
    seats: Iterable[Seat],
    troubles: Mapping[Key, Trouble],
    restarts: int = 0,
) -> Found:
    """How a version is doing."""
    serving = [seat for seat in seats if seat.version == version and seat.phase is Phase.READY]
    ready = sorted((seat.number, seat.address) for seat in serving)
    own = [trouble for key, trouble in troubles.items() if key[0] == version]
    if len(ready) >= replicas:
        health = Health.READY
    elif ready:
        health = Health.DEGRADED
    else:
        health = Health.STARTING if all(trouble.started for trouble in own) else Health.FAILING
    why = max(own, key=lambda trouble: trouble.due).why if own else ""
    return Found(version, health, tuple(address for _, address in ready), restarts, why)


def moved(seat: Seat, phase: Phase, now: float) -> Seat:
    """The same replica in another phase."""
    return replace(seat, phase=phase, since=now)
