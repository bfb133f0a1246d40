"""Where an environment and its rollout stand: what the journal keeps, and what a restart begins from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from serinus.rollout import Counts, Tally
from serinus.rollout.compare import Comparison
from serinus.rollout.drift import Drift
from serinus.rollout.evidence import Base, Evidence, Users
from serinus.rollout.policy import Policy


@dataclass(frozen=True, slots=True)
class Version:
    """One image digest in an environment."""

    digest: str
    name: str
    """What a person called the image."""
    layout: str
    """Folder of the layout that holds it."""
    contract: str | None = None
    """What it promises its callers, as JSON."""
    records: bool = True
    """Whether its server can note its answers: Serinus' own can."""


class Phase(StrEnum):
    """What a rollout is doing."""

    STARTING = "starting"
    """The candidate's replicas are being started."""
    PROBING = "probing"
    """The examples are being asked through the router."""
    SHADOWING = "shadowing"
    """Requests are mirrored to the candidate."""
    STEPPING = "stepping"
    """The candidate has a share of the traffic."""
    BAKING = "baking"
    """It has all the traffic, is judged on, and the version before is warm."""


class End(StrEnum):
    """How a rollout ended."""

    PROMOTED = "promoted"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Rollout:
    """The way of one version, as far as it has come."""

    number: int
    candidate: str
    policy: Policy
    evidence: Evidence
    drift: Drift
    base: Base
    """What stable had shown when the rollout began; its 95th percentile is frozen once it is known."""
    started: float
    """Seconds since the epoch."""
    users: Users = field(default_factory=Users)
    """Callers of whom something was counted, where callers stick to a version."""
    phase: Phase = Phase.STARTING
    step: int = 0
    """Index into the policy's steps, while stepping."""
    elapsed: float = 0.0
    """Seconds in this phase and step in which the traffic was judged."""
    here: Tally = field(default_factory=lambda: Tally(0.0))
    """What this step has shown."""
    opened: tuple[int, ...] = ()
    """Steps whose gate a person opened."""
    paused: bool = False
    comparison: Comparison = field(default_factory=Comparison)
    asked: int = 0
    """First attempts of the candidate while it had a share of the traffic."""
    asked_since: float = 0.0
    """When the first of them was seen, in seconds since the epoch; 0 before."""
    crashes: int = 0
    """Restarts of the candidate's replicas."""
    waits: str = ""
    """What it waits for, for a person."""
    held: str = ""
    """Why it holds, as one word; empty while it moves."""

    @property
    def weight(self) -> float:
        """The candidate's share of the traffic that is wanted."""
        if self.phase is Phase.BAKING:
            return 1.0
        return self.policy.steps[self.step] if self.phase is Phase.STEPPING else 0.0


@dataclass(frozen=True, slots=True)
class State:
    """An environment: what is wanted."""

    versions: Mapping[str, Version] = field(default_factory=dict, hash=False)
    """Those that are in charge, were before, or are on their way, by digest."""
    stable: str | None = None
    previous: str | None = None
    """The one that was in charge before."""
    rollout: Rollout | None = None
    base: Base = field(default_factory=Base)
    """What stable has shown so far."""
    count: int = 0
    """Rollouts so far."""

    def pruned(self) -> State:
        """Without the versions that nothing refers to."""
        used = {self.stable, self.previous, self.rollout.candidate if self.rollout else None}
        return replace(self, versions={d: v for d, v in self.versions.items() if d in used})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history: what was decided, and the numbers that it was decided from."""

    kind: str
    """``start``, ``ready``, ``step``, ``pass``, ``hold``, ``rescue``, ``switch``, ``promote``, ``abort``,
    ``supersede``, ``pause``, ``resume``, ``gate``, ``undo``."""
    message: str
    numbers: Mapping[str, Any] = field(default_factory=dict, hash=False)
    rollout: int = 0
    version: str = ""
    """Digest of the candidate."""


def environment_json(state: State) -> dict[str, Any]:
    """What changes with a rollout's beginning and end."""
    return {
        "versions": [asdict(version) for version in state.versions.values()],
        "stable": state.stable,
        "previous": state.previous,
        "count": state.count,
    }


def rollout_json(state: State) -> dict[str, Any]:
    """What changes with every look."""
    rollout = state.rollout
    document: dict[str, Any] = {"base": state.base.to_json(), "rollout": None}
    if rollout is not None:
        document["rollout"] = {
            **{name: getattr(rollout, name) for name in _PLAIN},
            "policy": rollout.policy.to_json(),
            "evidence": rollout.evidence.to_json(),
            "users": rollout.users.to_json(),
            "drift": rollout.drift.to_json(),
            "base": rollout.base.to_json(),
            "here": asdict(rollout.here),
            "comparison": asdict(rollout.comparison),
        }
    return document


_PLAIN = (
    *(
        "number",
        "candidate",
        "started",
        "phase",
        "step",
        "elapsed",
        "opened",
        "asked",
        "asked_since",
    ),
    *("paused", "crashes", "waits", "held"),
)


def from_json(environment: Mapping[str, Any], moving: Mapping[str, Any]) -> State:
    """The state of which :func:`environment_json` and :func:`rollout_json` told."""
    versions = {one["digest"]: Version(**one) for one in environment["versions"]}
    told = moving["rollout"]
    return State(
        versions,
        environment["stable"],
        environment["previous"],
        _rollout(told) if told else None,
        Base.from_json(moving["base"]),
        environment["count"],
    )


def _rollout(told: Mapping[str, Any]) -> Rollout:
    values = {name: told[name] for name in _PLAIN}
    values |= {
        "phase": Phase(told["phase"]),
        "opened": tuple(told["opened"]),
    }
    here = told["here"]
    return Rollout(
        **values,
        policy=Policy.from_json(told["policy"]),
        evidence=Evidence.from_json(told["evidence"]),
        users=Users.from_json(told["users"]),
        drift=Drift.from_json(told["drift"]),
        base=Base.from_json(told["base"]),
        here=Tally(here["weight"], Counts(**here["stable"]), Counts(**here["candidate"])),
        comparison=Comparison.from_json(told["comparison"]),
    )
