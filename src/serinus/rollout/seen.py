"""What a look at an environment has shown, and how it is counted into where a rollout stands (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from serinus.rollout import Arm, Attempt, Counts, Found, Tally
from serinus.rollout.compare import Answered
from serinus.rollout.drift import Interval
from serinus.rollout.evidence import tally
from serinus.rollout.policy import per_cent, slow_beyond
from serinus.rollout.state import Entry, Phase, Rollout, State

WARM, WARMING = 100, 3.0
"""Answers of the candidate, and seconds since its first, after which slow ones are counted: before, caches
and connections are cold."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What the examples have shown that were asked of the candidate through the router."""

    version: str
    faults: tuple[str, ...]
    asked: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the environment has shown."""

    now: float
    """Seconds since the epoch."""
    seconds: float = 0.0
    """Since the look before, while the traffic was judged."""
    attempts: tuple[Attempt, ...] = ()
    found: Mapping[str, Found] = field(default_factory=dict, hash=False)
    p95: float | None = None
    """Of stable's latest answers, in seconds; None while there are too few."""
    predictions: tuple[Interval, ...] = ()
    pairs: tuple[tuple[Answered, Answered], ...] = ()
    probed: Probed | None = None
    in_force: bool = True
    """Whether the router has the weight that is wanted."""
    blind: str = ""
    """Why the traffic cannot be judged now; empty when it can."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The next state, and what is to be written into the history."""

    state: State
    entries: tuple[Entry, ...] = ()


def rollout_of(state: State) -> Rollout:
    """The rollout under way, where there must be one."""
    if state.rollout is None:
        raise ValueError("there is no rollout")
    return state.rollout


def changed(state: State, **changes: Any) -> State:
    """The state with these members of its rollout changed."""
    return replace(state, rollout=replace(rollout_of(state), **changes))


def entry(state: State, kind: str, message: str, **numbers: Any) -> Entry:
    """A line of the history about the rollout under way, with what it has shown."""
    rollout = rollout_of(state)
    return Entry(kind, message, numbers | facts(rollout), rollout.number, rollout.candidate)


def facts(rollout: Rollout) -> dict[str, Any]:
    """The numbers that decisions are made from."""
    return {
        "phase": rollout.phase.value,
        "weight": rollout.weight,
        "elapsed": round(rollout.elapsed, 3),
        "stable": asdict(rollout.here.stable),
        "candidate": asdict(rollout.here.candidate),
        "evidence": rollout.evidence.figures() | rollout.drift.figures(),
    }


def idle(state: State, seen: Seen) -> State:
    """Without a rollout: what stable shows is kept, to judge the next candidate by."""
    counts = Counts()
    for one in tally(seen.attempts, slow_beyond(state.base.p95)):
        counts = counts + one.stable
    base = state.base.after(counts) if counts.total else state.base
    if base.p95 is None or base.count != state.base.count:
        base = base.frozen(seen.p95)  # once a window: what stable does may change with the hours
    return replace(state, base=base)


def count(state: State, seen: Seen) -> tuple[State, tuple[Entry, ...]]:
    """The state with what was seen counted, and an entry for the first rescue of a step."""
    rollout = rollout_of(state)
    base = rollout.base if rollout.base.p95 is not None else rollout.base.frozen(seen.p95)
    evidence, here, stable = rollout.evidence, rollout.here, Counts()
    judged = [a for a in seen.attempts if _judges(rollout, a)]
    threshold = slow_beyond(base.p95)
    asked = sum(a.arm is Arm.CANDIDATE for a in judged)
    since = rollout.asked_since or (seen.now if asked else 0.0)
    warm = threshold if rollout.asked >= WARM and seen.now - since >= WARMING else None
    repeats, users = rollout.users.repeats(judged, warm)
    left = {one.weight: one for one in repeats}
    for one in tally(judged, warm):
        evidence = evidence.after(one, left.get(one.weight))
    for one in tally(seen.attempts, threshold):
        stable = stable + one.stable
    for one in tally((a for a in judged if a.predicts and a.weight == rollout.weight), threshold):
        here = Tally(one.weight, here.stable + one.stable, here.candidate + one.candidate)
    drift, comparison = rollout.drift, rollout.comparison
    for interval in seen.predictions:
        drift = drift.after(interval)
    for mine, theirs in seen.pairs:
        comparison = comparison.after(mine, theirs, rollout.policy.tolerance)
    crashes = seen.found[rollout.candidate].restarts if rollout.candidate in seen.found else 0
    moved = 0.0 if seen.blind or not seen.in_force or rollout.paused else seen.seconds
    after = replace(
        rollout,
        base=base,
        evidence=evidence,
        users=users,
        asked=rollout.asked + asked,
        asked_since=since,
        here=here,
        drift=drift,
        comparison=comparison,
        crashes=max(crashes, rollout.crashes),
        elapsed=rollout.elapsed + moved,
    )
    state = replace(state, rollout=after, base=state.base.after(stable) if stable.total else state.base)
    if _bad(here.candidate) and not _bad(rollout.here.candidate):
        message = f"a failed answer of the candidate at {per_cent(rollout.weight)} was answered by stable"
        return state, (entry(state, "rescue", message),)
    return state, ()


def _judges(rollout: Rollout, attempt: Attempt) -> bool:
    """Whether an attempt tells about this phase: the last ones of the step before must not judge the bake."""
    if 0 < attempt.generation < rollout.started * 1000:
        return False  # a late answer of the candidate before: generations are milliseconds, see run.py
    if rollout.phase is Phase.BAKING:
        return attempt.weight == 1.0
    return 0.0 < attempt.weight < 1.0


def _bad(counts: Counts) -> int:
    return counts.violations + counts.errors
