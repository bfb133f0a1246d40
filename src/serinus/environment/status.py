"""The status of an environment, as values for the control API, the command line and notebooks.

:mod:`.overview` makes it from what the controller has seen last. As JSON it is the status document; see
``docs/reference/control-api.md``. Shares are 0 to 1, times in seconds, moments in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serinus.rollout import Tally

STOPPED = "stopped"
"""Health of a version that is not to run."""


@dataclass(frozen=True, slots=True)
class Named:
    """A version."""

    digest: str
    name: str
    """What a person called its image."""

    @property
    def short(self) -> str:
        """The first eight figures of its digest."""
        return self.digest.rpartition(":")[2][:8]

    def __str__(self) -> str:
        return f"{self.name} ({self.short})"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version, and how its replicas are doing."""

    digest: str
    name: str
    role: str
    """``stable``, ``candidate`` or ``previous``."""
    health: str
    """``starting``, ``ready``, ``degraded``, ``failing``; ``stopped`` where it is not to run."""
    ready: int
    """Replicas that take requests."""
    replicas: int
    """Replicas that are wanted."""
    restarts: int = 0
    why: str = ""
    """What the last failure said."""


@dataclass(frozen=True, slots=True)
class Weight:
    """The candidate's share of the traffic."""

    wanted: float
    in_force: float | None
    """None while the router has acknowledged nothing."""
    mirrored: float = 0.0
    """Share of the requests of which the candidate gets a copy."""


@dataclass(frozen=True, slots=True)
class ArmTraffic:
    """What the last seconds have brought to one version. What nobody has asked is None."""

    rate: float
    """Attempts a second."""
    errors: float | None
    violations: float | None
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class TrafficStatus:
    """What the last seconds have brought."""

    seconds: float
    stable: ArmTraffic
    candidate: ArmTraffic | None
    """None where there is none."""


@dataclass(frozen=True, slots=True)
class MetricStatus:
    """One test of the evidence against the candidate."""

    name: str
    log_e: float
    """The natural logarithm of the E-value; 0 is no evidence."""
    bound: float
    """Where the test is decided."""
    share: float
    """How far on the way to the bound it is."""
    crossed: bool
    candidate: int
    """Bad events that were the candidate's."""
    others: int
    """Those that were stable's; in a test against a rate, the candidate's answers that were not bad."""
    tolerated: float | None = None
    """The rate that it is held to; None where it is held against stable."""


@dataclass(frozen=True, slots=True)
class DriftStatus:
    """Whether the predictions of both versions come from one distribution."""

    log_e: float
    bound: float
    share: float
    crossed: bool
    does: str
    """What a difference does: ``hold``, ``abort``, ``ignore``."""
    pointer: str | None = None
    """JSON Pointer of the value whose share differs most surely."""
    value: str | None = None
    stable: float | None = None
    """Its share of stable's predictions."""
    candidate: float | None = None


@dataclass(frozen=True, slots=True)
class ShadowExample:
    """Two answers to one request that differ."""

    request_id: str
    stable: str
    candidate: str
    where: str
    """JSON Pointer of the first difference."""


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """What the answers of candidate and stable to the same requests have shown."""

    pairs: int
    answers: int
    """As many pairs are wanted."""
    agreement: float | None
    least: float
    """The agreement that is wanted."""
    latency_ratio: float | None
    """The candidate's latency over stable's, as a geometric mean."""
    then: str
    """What follows: ``wait`` or ``canary``."""
    examples: tuple[ShadowExample, ...] = ()


@dataclass(frozen=True, slots=True)
class PromiseStatus:
    """The promise on which the step is left: the candidate is not worse than stable by more than a margin."""

    shown: bool
    needed: int | None
    """About how many further answers of the candidate show it; None where none would."""
    bound: float
    """How much higher its rate of failed answers may be."""
    margin: float


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """The rollout under way."""

    number: int
    candidate: Named
    strategy: str
    """``canary``, ``blue-green``, ``shadow`` or ``undo``."""
    phase: str
    """``starting``, ``probing``, ``shadowing``, ``stepping`` or ``baking``."""
    step: int
    """From 1; 0 before the first."""
    steps: tuple[float, ...]
    """The weight of each step."""
    gates: tuple[float, ...]
    """Steps before which a person must agree."""
    weight: float
    started: float
    elapsed: float
    """Seconds in this phase and step in which the traffic was judged."""
    least: float
    """Seconds that this phase or step takes at least: ``rollout.minimum`` or ``rollout.bake``."""
    paused: bool
    held: str
    """Why it holds, as one word; empty while it moves."""
    waits: str
    """What it waits for."""
    here: Tally
    """The answers of both versions at this step."""
    evidence: tuple[MetricStatus, ...]
    drift: DriftStatus
    shadow: ShadowStatus | None
    promise: PromiseStatus | None
    """None but while the candidate has a share of the traffic that grows."""


@dataclass(frozen=True, slots=True)
class Status:
    """An environment as it stands."""

    environment: str
    url: str
    """Where callers are served."""
    stable: Named | None
    previous: Named | None
    weight: Weight
    versions: tuple[VersionStatus, ...]
    rollout: RolloutStatus | None
    traffic: TrafficStatus
    trouble: str
    """What keeps the controller from its work; empty when nothing does."""
    last: int
    """Number of the last entry of the history; 0 while there is none."""
    now: float


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the history."""

    number: int
    at: float
    rollout: int
    version: str
    """Digest of the candidate."""
    name: str
    """What a person called its image; empty where that is not known any more."""
    kind: str
    """See :class:`serinus.rollout.state.Entry`."""
    message: str
    numbers: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What the decision was made from."""
