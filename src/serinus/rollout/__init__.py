"""Rollouts: the way of one version from 0 % of the traffic to 100 %, or back.

The values that the parts hand to each other, and the protocols of what they stand on. The flow, and the
module that serves each stage::

    policy     the table [rollout] -> Policy, held against what router and runtime can do
    state      where an environment and its rollout stand
    evidence   attempts -> how sure we are that it is worse; upon ``bets`` and ``counting``           (pure)
    promise    answers of a step -> whether the candidate is good enough for the next                  (pure)
    drift      predictions of both versions -> whether they come from one distribution                (pure)
    compare    answers of both versions to the same requests, for a shadow                            (pure)
    seen       what a look has shown, counted into where the rollout stands                           (pure)
    decide     where it stands, what was seen, the time -> where it stands next, and why              (pure)
    command    what a person asks for -> where it stands next                                         (pure)
    plan       where it stands -> what is to run and how the traffic is to be split                   (pure)
    journal    what is wanted, on disk before it is done
    run        observe -> decide -> record -> act -> read back

A version is named by the digest of its image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Arm(StrEnum):
    """Who answered."""

    STABLE = "stable"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One first attempt at answering one request, as the router saw it; rescues are none of these."""

    arm: Arm
    weight: float
    """The candidate's share of the traffic, 0 to 1, by the routing under which this request was assigned."""
    status: int
    """HTTP status; 0 when no answer came: a reset, no connection, the time-out of the attempt; 499 when the
    caller went away first."""
    seconds: float
    violation: str | None = None
    """JSON Pointer of the header ``serinus-violation``; None where it was absent."""
    forced: bool = False
    """Whether the caller chose the version by a header: it tells nothing about shares."""
    predicts: bool = True
    """Whether it was a request to the service's route."""
    user: str = ""
    """The value that the routing sticks to; empty where it does not."""
    request_id: str = ""
    at: float = 0.0
    """Seconds since the epoch at which it began."""
    generation: int = 0
    """Of the routing under which it was assigned: what an earlier candidate had under way ends later."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What first attempts came to. A bad one is counted once, under the first of these that holds."""

    violations: int = 0
    """Answers that would have broken the contract."""
    errors: int = 0
    """Status 5xx, or no answer."""
    refusals: int = 0
    """Status 4xx."""
    clean: int = 0
    """Everything else."""
    slow: int = 0
    """Of the clean ones, those slower than stable's frozen 95th percentile."""

    @property
    def total(self) -> int:
        """All attempts."""
        return self.violations + self.errors + self.refusals + self.clean

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.violations + other.violations,
            self.errors + other.errors,
            self.refusals + other.refusals,
            self.clean + other.clean,
            self.slow + other.slow,
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """Attempts under one weight, by arm: the unit in which evidence takes them."""

    weight: float
    stable: Counts = Counts()
    candidate: Counts = Counts()


@dataclass(frozen=True, slots=True)
class Backend:
    """The replicas of one version that take requests."""

    version: str
    """Digest of its image."""
    addresses: tuple[tuple[str, int], ...] = ()
    """Host and port of each ready replica."""


@dataclass(frozen=True, slots=True)
class Sticky:
    """What decides which version a caller gets: the same value, the same version, as long as weights grow."""

    kind: str
    """``header`` or ``cookie``."""
    name: str


@dataclass(frozen=True, slots=True)
class Routing:
    """How the traffic is split. Equal routings mean the same configuration."""

    generation: int
    """Grows with every change; the router reports the one in force."""
    stable: Backend | None = None
    """None: nothing is in charge, every request is answered 503."""
    candidate: Backend | None = None
    weight: float = 0.0
    """The candidate's share, 0 to 1, in steps of 0.0001."""
    mirror: float = 0.0
    """Share of the requests of which a copy goes to the candidate, whose answer nobody gets."""
    route: str = "/predict"
    """Path of the predictions."""
    sticky: Sticky | None = None
    idempotent: bool = True
    """Whether a request that the candidate had may be asked again of stable."""
    try_timeout: float = 30.0
    """Seconds that a first attempt at the candidate may take before stable is asked."""
    timeout: float = 30.0
    """Seconds that one answer of stable may take."""


class Router(Protocol):
    """Splits the traffic of one environment."""

    def apply(self, routing: Routing) -> None:
        """Put a routing in force; returns when the router has acknowledged it.

        Raises:
            RouterError: it was refused, or not acknowledged in time; the routing before it is in force.
        """
        ...

    def generation(self) -> int | None:
        """The generation that is in force, read from the router; None while it does not answer."""
        ...

    def attempts(self, since: str) -> tuple[tuple[Attempt, ...], str]:
        """The first attempts that ended after a place in its record, and the place behind them.

        Args:
            since: as an earlier call returned it; ``""`` is the beginning of what is kept.
        """
        ...


class Health(StrEnum):
    """What a version's replicas are up to."""

    STARTING = "starting"
    READY = "ready"
    """As many as wanted are ready."""
    DEGRADED = "degraded"
    """Some are ready, fewer than wanted."""
    FAILING = "failing"
    """None is ready, and the last start failed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that is to run."""

    version: str
    replicas: int = 1
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    contract: str | None = None
    """The contract, as JSON, that its answers are held to instead of its own."""
    record: bool = False
    """Whether its log is to hold its answers, for the comparison of a shadow."""


@dataclass(frozen=True, slots=True)
class Found:
    """How a version is doing."""

    version: str
    health: Health
    addresses: tuple[tuple[str, int], ...] = ()
    """Where its ready replicas answer."""
    restarts: int = 0
    why: str = ""
    """What the last failure said."""


class Fleet(Protocol):
    """Keeps the replicas of the wanted versions running, and no others."""

    def keep(self, wanted: Sequence[Wanted]) -> None:
        """Say what is to run; returns at once. What is no longer wanted is drained and stopped."""
        ...

    def look(self) -> Mapping[str, Found]:
        """How each version is doing, by digest; versions that are being drained are left out."""
        ...

    def logs(self, version: str, since: int = 0) -> bytes:
        """What its replicas have written, one after the other."""
        ...
