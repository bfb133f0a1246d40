"""Commands: what a person or a program asks of an environment (pure).

A new version during a rollout takes its place: the candidate under way goes back to 0 % and is stopped, and
the new one starts against the version that was in charge all the time, with no evidence. A rollout that has
all the traffic and is only watched is no exception: what is not yet promoted was never in charge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from serinus.errors import RolloutError
from serinus.rollout import decide as deciding
from serinus.rollout.drift import Drift
from serinus.rollout.evidence import Evidence
from serinus.rollout.policy import Policy, Strategy, as_undo, per_cent
from serinus.rollout.seen import Decision, changed, entry
from serinus.rollout.state import Entry, Phase, Rollout, State, Version


@dataclass(frozen=True, slots=True)
class Deploy:
    """Start the rollout of a version."""

    version: Version
    policy: Policy


@dataclass(frozen=True, slots=True)
class Promote:
    """Pass the step, open the gate that it waits at, or end the bake time; ``full`` goes to 100 %."""

    full: bool = False


@dataclass(frozen=True, slots=True)
class Abort:
    """Send the candidate back."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Stay at this weight; what is seen goes on being judged."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Undo:
    """Back to the version before, whatever is under way."""

    policy: Policy


Command = Deploy | Promote | Abort | Pause | Resume | Undo


def command(state: State, wanted: Command, now: float) -> Decision:
    """The state after a command, and what is to be written into the history.

    Args:
        state: what is wanted so far.
        wanted: the command.
        now: seconds since the epoch.

    Raises:
        RolloutError: it makes no sense now; the message says why, and what would.
    """
    match wanted:
        case Deploy():
            return _deploy(state, wanted, now)
        case Undo():
            return _undo(state, wanted, now)
        case Promote():
            return _promote(_under_way(state), wanted.full)
        case Abort():
            why = f"a person asked for it{f': {wanted.why}' if wanted.why else ''}"
            return deciding.abort(_under_way(state), why)
        case Pause():
            return _paused(_under_way(state), True)
        case Resume():
            return _paused(_under_way(state), False)


def _under_way(state: State) -> State:
    if state.rollout is None:
        charge = (
            f"{state.versions[state.stable].name} is in charge" if state.stable else "nothing is in charge"
        )
        raise RolloutError(f"no rollout is under way; {charge}", "Start one with `serinus deploy IMAGE`.")
    return state


def _deploy(state: State, wanted: Deploy, now: float) -> Decision:
    digest = wanted.version.digest
    if state.rollout is not None and state.rollout.candidate == digest:
        return Decision(state)
    if state.stable == digest:
        if state.rollout is None:
            return Decision(state)
        raise RolloutError(
            f"{wanted.version.name} is the version in charge, and another one is on its way",
            "Run `serinus abort` to send that one back.",
        )
    if wanted.policy.strategy is Strategy.SHADOW:
        _check_recording(state, wanted.version)
    return _begin(state, wanted.version, wanted.policy, now)


def _check_recording(state: State, version: Version) -> None:
    for one in (version, state.versions[state.stable] if state.stable else version):
        if not one.records:
            raise RolloutError(
                f"{one.name} was not built by Serinus, and its server notes no answers to compare",
                "Use the strategy canary or blue-green.",
            )


def _begin(state: State, version: Version, policy: Policy, now: float) -> Decision:
    entries: tuple[Entry, ...] = ()
    if state.rollout is not None:
        entries = (entry(state, "supersede", f"{version.name} takes its place"),)
    number = state.count + 1
    # A drift that sends back takes part in the chance of a false alarm; one that holds has its own.
    drift = policy.alpha * (0.1 if policy.drift == "abort" else 1.0)
    alpha = policy.alpha * (0.9 if policy.drift == "abort" else 1.0)
    rollout = Rollout(
        number=number,
        candidate=version.digest,
        policy=policy,
        evidence=Evidence.start(alpha, errors=policy.errors, violations=policy.violations),
        drift=Drift.start(drift),
        base=state.base,
        started=now,
    )
    after = replace(
        state, rollout=rollout, count=number, versions={**state.versions, version.digest: version}
    ).pruned()
    before = _called(state.versions[state.stable]) if state.stable else "nothing"
    how = f"{policy.strategy.value}: {before} -> {_called(version)}"
    return Decision(after, (*entries, entry(after, "start", how, policy=policy.to_json())))


def _called(version: Version) -> str:
    """A tag moves, so its digest is told with it."""
    return f"{version.name} ({version.digest.partition(':')[2][:12]})"


def _undo(state: State, wanted: Undo, now: float) -> Decision:
    if state.rollout is not None:
        return deciding.abort(state, "a person asked to undo it")
    if state.previous is None:
        raise RolloutError("there is no version before the one in charge", "Deploy the one you want.")
    version = state.versions[state.previous]
    began = _begin(state, version, as_undo(wanted.policy), now)
    said = entry(began.state, "undo", f"back to {version.name}")
    return Decision(began.state, (said, *began.entries))


def _promote(state: State, full: bool) -> Decision:
    rollout = state.rollout
    if rollout is None or rollout.phase in (Phase.STARTING, Phase.PROBING):
        if rollout is not None and rollout.held == "gate":
            return _open(state, rollout, 0)
        raise RolloutError(
            f"the candidate cannot be promoted yet: it waits for {rollout.waits if rollout else 'nothing'}",
            "Wait until it has traffic, or run `serinus abort`.",
        )
    if rollout.phase is Phase.BAKING:
        return deciding.take_charge(state)
    if full:
        passed = entry(state, "pass", "a person passed all steps", step=rollout.step, by="a person")
        baking = deciding.bake(state)
        return Decision(baking.state, (passed, *baking.entries))
    if rollout.phase is Phase.SHADOWING:
        opened = changed(state, opened=(*rollout.opened, 0))
        return deciding.leave_shadow(opened, "a person passed it")
    if rollout.held == "gate":
        return _open(state, rollout, rollout.step + 1)
    opened = changed(state, opened=(*rollout.opened, rollout.step + 1))
    return deciding.pass_step(opened, "a person passed it", by="a person")


def _open(state: State, rollout: Rollout, step: int) -> Decision:
    after = changed(state, opened=(*rollout.opened, step), held="")
    share = per_cent(rollout.policy.steps[step])
    return Decision(after, (entry(after, "gate", f"a person opened the gate before {share}", step=step),))


def _paused(state: State, paused: bool) -> Decision:
    rollout = state.rollout
    if rollout is None or rollout.paused == paused:
        return Decision(state)
    after = changed(state, paused=paused)
    kind, message = ("pause", "a person paused it") if paused else ("resume", "a person resumed it")
    return Decision(after, (entry(after, kind, message),))
