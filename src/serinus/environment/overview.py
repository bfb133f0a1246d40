"""The status of an environment, made from what its controller has seen last (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from serinus.environment.status import (
    STOPPED,
    ArmTraffic,
    DriftStatus,
    Event,
    MetricStatus,
    Named,
    PromiseStatus,
    RolloutStatus,
    ShadowExample,
    ShadowStatus,
    Status,
    TrafficStatus,
    VersionStatus,
    Weight,
)
from serinus.rollout import Arm, Found, Routing
from serinus.rollout.compare import Comparison
from serinus.rollout.drift import Drift
from serinus.rollout.evidence import Metric, promise
from serinus.rollout.journal import Recorded
from serinus.rollout.policy import Policy, Strategy
from serinus.rollout.run import View
from serinus.rollout.state import Phase, Rollout, State
from serinus.rollout.traffic import WINDOW, Traffic


def overview(view: View, *, environment: str, url: str, replicas: int, last: int, now: float) -> Status:
    """The status of an environment.

    Args:
        view: what the controller has seen last.
        environment: its name.
        url: where callers are served.
        replicas: of each version.
        last: number of the last entry of the history.
        now: seconds since the epoch.
    """
    state, rollout = view.state, view.state.rollout
    return Status(
        environment=environment,
        url=url,
        stable=_named(state, state.stable),
        previous=_named(state, state.previous),
        weight=_weight(rollout, view.routing),
        versions=tuple(_versions(state, view.found, replicas)),
        rollout=_rollout(state, rollout) if rollout else None,
        traffic=_traffic(view.traffic, rollout is not None),
        trouble=view.trouble,
        last=last,
        now=now,
    )


def event(recorded: Recorded, name: str = "") -> Event:
    """An entry of the history, with what a person called the image."""
    one = recorded.entry
    return Event(
        number=recorded.number,
        at=recorded.at,
        rollout=one.rollout,
        version=one.version,
        name=name,
        kind=one.kind,
        message=one.message,
        numbers=one.numbers,
    )


def _named(state: State, digest: str | None) -> Named | None:
    known = state.versions.get(digest) if digest else None
    return Named(known.digest, known.name) if known else None


def _weight(rollout: Rollout | None, routing: Routing | None) -> Weight:
    wanted = rollout.weight if rollout else 0.0
    return Weight(wanted, None) if routing is None else Weight(wanted, routing.weight, routing.mirror)


def _versions(state: State, found: Mapping[str, Found], replicas: int) -> Iterator[VersionStatus]:
    candidate = state.rollout.candidate if state.rollout else None
    roles = {state.previous: "previous", candidate: "candidate", state.stable: "stable"}
    for digest in dict.fromkeys((state.stable, candidate, state.previous)):
        if digest is None or digest not in state.versions:
            continue
        doing, runs = found.get(digest), roles[digest] != "previous"
        health = doing.health.value if doing else "starting" if runs else STOPPED
        yield VersionStatus(
            digest=digest,
            name=state.versions[digest].name,
            role=roles[digest],
            health=health,
            ready=len(doing.addresses) if doing else 0,
            replicas=replicas if runs else 0,
            restarts=doing.restarts if doing else 0,
            why=doing.why if doing else "",
        )


def _rollout(state: State, rollout: Rollout) -> RolloutStatus:
    policy = rollout.policy
    stepping = rollout.phase is Phase.STEPPING
    return RolloutStatus(
        number=rollout.number,
        candidate=Named(rollout.candidate, state.versions[rollout.candidate].name),
        strategy=policy.strategy.value,
        phase=rollout.phase.value,
        step=_step(rollout),
        steps=policy.steps if policy.strategy in (Strategy.CANARY, Strategy.SHADOW) else (1.0,),
        gates=policy.gates,
        weight=rollout.weight,
        started=rollout.started,
        elapsed=round(rollout.elapsed, 3),
        least=policy.minimum if stepping else policy.bake if rollout.phase is Phase.BAKING else 0.0,
        paused=rollout.paused,
        held=rollout.held,
        waits=rollout.waits,
        here=rollout.here,
        evidence=tuple(map(_metric, rollout.evidence.metrics)),
        drift=_drift(rollout.drift, policy.drift),
        shadow=_shadow(rollout.comparison, policy) if policy.strategy is Strategy.SHADOW else None,
        promise=_promise(rollout) if stepping else None,
    )


def _step(rollout: Rollout) -> int:
    if rollout.phase is Phase.BAKING:
        return len(rollout.policy.steps) if rollout.policy.strategy is not Strategy.BLUE_GREEN else 1
    return rollout.step + 1 if rollout.phase is Phase.STEPPING else 0


def _metric(metric: Metric) -> MetricStatus:
    candidate, others = metric.pending
    return MetricStatus(
        name=metric.name,
        log_e=round(metric.log_e, 4),
        bound=round(metric.bound, 4),
        share=_share(metric.log_e, metric.bound, metric.crossed),
        crossed=metric.crossed,
        candidate=metric.candidate + candidate,
        others=metric.others + others,
        tolerated=metric.tolerated,
    )


def _share(log_e: float, bound: float, crossed: bool) -> float:
    """How far on the way to its bound a test is: 0 is no evidence, 1 is decided."""
    return 1.0 if crossed else round(min(1.0, max(0.0, log_e / bound)), 4)


def _drift(drift: Drift, does: str) -> DriftStatus:
    leading = drift.leading
    stable, candidate = map(_known, leading.shares) if leading else (None, None)
    return DriftStatus(
        log_e=round(drift.log_e, 4),
        bound=round(drift.bound, 4),
        share=_share(drift.log_e, drift.bound, drift.crossed),
        crossed=drift.crossed,
        does=does,
        pointer=leading.pointer if leading else None,
        value=leading.value if leading else None,
        stable=stable,
        candidate=candidate,
    )


def _known(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _shadow(comparison: Comparison, policy: Policy) -> ShadowStatus:
    examples = tuple(
        ShadowExample(one.request_id, one.stable, one.candidate, one.where) for one in comparison.examples
    )
    return ShadowStatus(
        pairs=comparison.pairs,
        answers=policy.answers,
        agreement=_known(comparison.agreement),
        least=policy.agreement,
        latency_ratio=_known(comparison.latency_ratio),
        then=policy.then,
        examples=examples,
    )


def _promise(rollout: Rollout) -> PromiseStatus:
    policy, here = rollout.policy, rollout.here
    found = promise(here.candidate, here.stable, policy.margin, policy.alpha)
    return PromiseStatus(found.shown, found.needed, round(found.bound, 6), policy.margin)


def _traffic(traffic: Traffic, rolling: bool) -> TrafficStatus:
    def arm(which: Arm) -> ArmTraffic:
        return ArmTraffic(**traffic.figures(which))

    return TrafficStatus(float(WINDOW), arm(Arm.STABLE), arm(Arm.CANDIDATE) if rolling else None)
