"""Decisions: where a rollout stands, what was seen, the time -> where it stands next, and why (pure).

What holds at every look, in this order: what was seen is counted; a reason to send the candidate back beats
everything else; then at most one move forward, and only when all that the phase promises has been shown.
No data, a router that cannot be read or a controller that did not look is never a pass: time counts only
while the traffic is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from serinus.rollout import Health, Tally
from serinus.rollout.evidence import ABSOLUTE, Evidence, promise
from serinus.rollout.policy import Strategy, per_cent
from serinus.rollout.seen import Decision, Probed, Seen, changed, count, entry, idle, rollout_of
from serinus.rollout.state import Phase, Rollout, State

CRASHES = 5
"""Restarts of the candidate's replicas after which it is sent back, whatever its answers were."""
_NAMES = {
    "violations": "answers that break the contract",
    "errors": "errors",
    "refusals": "refused requests",
    "slow": "slow answers",
}


def decide(state: State, seen: Seen) -> Decision:
    """The next state of an environment."""
    if state.rollout is None:
        return Decision(idle(state, seen))
    state, counted = count(state, seen)
    rollout = rollout_of(state)
    if reason := next(_reasons_against(rollout, seen), None):
        decision = abort(state, *reason)
    else:
        decision = _MOVES[rollout.phase](state, seen)
    return Decision(decision.state, (*counted, *decision.entries))


# Against it


def _reasons_against(rollout: Rollout, seen: Seen) -> Iterator[tuple[str, str]]:
    """Why the candidate is to be sent back, and what showed it."""
    for name in rollout.evidence.crossed:
        if name != "traffic" and (name != "slow" or rollout.policy.slow == "abort"):
            yield _against(rollout, name), name
    if rollout.drift.crossed and rollout.policy.drift == "abort":
        yield "the candidate's predictions differ from stable's", "drift"
    doing = seen.found.get(rollout.candidate)
    if doing is not None and doing.health is Health.FAILING:
        yield f"the candidate does not run: {doing.why}", "health"
    if rollout.crashes >= CRASHES:
        yield f"the candidate's replicas ended {rollout.crashes} times", "crashes"
    if rollout.phase is Phase.PROBING and (probed := _probed(rollout, seen)) and probed.faults:
        yield f"an example through the router: {probed.faults[0]}", "examples"


def _against(rollout: Rollout, name: str) -> str:
    what = _NAMES[name.removeprefix(ABSOLUTE)]
    rate = rollout.evidence.metric(name).tolerated
    than = "stable" if rate is None else f"{rate:.2%}, which "
    if rate is not None:
        than += "the project tolerates" if name.startswith(ABSOLUTE) else "is stable's worst and the margin"
    return f"the candidate has more {what} than {than}"


def abort(state: State, reason: str, metric: str = "") -> Decision:
    """Send the candidate back: all traffic to stable, from the next routing on."""
    said = entry(state, "abort", reason, **({"metric": metric} if metric else {}))
    return Decision(replace(state, rollout=None).pruned(), (said,))


# For it


def _starting(state: State, seen: Seen) -> Decision:
    rollout = rollout_of(state)
    doing = seen.found.get(rollout.candidate)
    if doing is None or doing.health is not Health.READY:
        return _wait(state, "", "its replicas to be ready")
    if rollout.paused:
        return _wait(state, "paused", "`serinus resume`")
    told = rollout.held == "gate"  # when it came to the gate
    ready = entry(state, "ready", "the candidate's replicas are ready", replicas=len(doing.addresses))
    if state.stable is None or rollout.policy.strategy is Strategy.UNDO:
        decision = take_charge(state)
    elif rollout.policy.strategy is Strategy.BLUE_GREEN:
        decision = Decision(_enter(state, Phase.PROBING))
    elif rollout.policy.strategy is Strategy.SHADOW:
        decision = Decision(_enter(state, Phase.SHADOWING), (entry(state, "step", "requests are mirrored"),))
    else:
        decision = _step(state, 0)
    return Decision(decision.state, decision.entries if told else (ready, *decision.entries))


def _probing(state: State, seen: Seen) -> Decision:
    rollout = rollout_of(state)
    probed = _probed(rollout, seen)
    if probed is None:
        return _wait(state, "", "its examples to be answered through the router")
    if rollout.paused:
        return _wait(state, "paused", "`serinus resume`")
    passed = entry(state, "pass", f"{probed.asked} examples were answered rightly through the router")
    switched = bake(state)
    return Decision(switched.state, (passed, *switched.entries))


def _shadowing(state: State, seen: Seen) -> Decision:
    rollout = rollout_of(state)
    policy, comparison = rollout.policy, rollout.comparison
    if held := _held(rollout, seen):
        return _wait(state, *held)
    if comparison.pairs < policy.answers:
        return _wait(state, "", f"{policy.answers - comparison.pairs} more answers to compare")
    if not comparison.agreement >= policy.agreement:
        share = (
            f"{comparison.agreement:.2%} of {comparison.pairs} answers agree, below {policy.agreement:.2%}"
        )
        return _wait(state, "disagreement", f"`serinus promote` or `serinus abort`: {share}")
    if policy.then == "wait":
        return _wait(state, "shown", "`serinus promote` to go on as a canary")
    return leave_shadow(state, f"{comparison.pairs} answers, {comparison.agreement:.2%} agree")


def _probed(rollout: Rollout, seen: Seen) -> Probed | None:
    return seen.probed if seen.probed and seen.probed.version == rollout.candidate else None


def leave_shadow(state: State, why: str) -> Decision:
    """Go on as a canary."""
    comparison = rollout_of(state).comparison
    passed = entry(state, "pass", why, pairs=comparison.pairs, agreed=comparison.agreed)
    stepped = _step(state, 0)
    return Decision(stepped.state, (passed, *stepped.entries))


def _stepping(state: State, seen: Seen) -> Decision:
    rollout = rollout_of(state)
    if held := _held(rollout, seen):
        return _wait(state, *held)
    policy = rollout.policy
    shown = promise(rollout.here.candidate, rollout.here.stable, policy.margin, policy.alpha)
    if not shown.shown:
        return _wait(state, *_more(rollout, shown.needed))
    if rollout.elapsed < policy.minimum:
        return _wait(
            state, "", f"{policy.minimum - rollout.elapsed:.0f} s more at {per_cent(rollout.weight)}"
        )
    if _closed(rollout, rollout.step + 1):
        return _wait_at_gate(state, rollout.step + 1)
    return pass_step(state, "its promise is shown", bound=shown.bound)


def pass_step(state: State, why: str, **numbers: Any) -> Decision:
    """Leave this step for the next."""
    rollout = rollout_of(state)
    said = entry(state, "pass", f"{per_cent(rollout.weight)} passed: {why}", step=rollout.step, **numbers)
    stepped = _step(state, rollout.step + 1)
    return Decision(stepped.state, (said, *stepped.entries))


def _step(state: State, step: int) -> Decision:
    """Go to a step, or wait before its gate in the phase that the rollout is in."""
    rollout = rollout_of(state)
    if _closed(rollout, step):
        return _wait_at_gate(state, step)
    share = rollout.policy.steps[step]
    if share >= 1.0:
        return bake(state)
    state = _enter(state, Phase.STEPPING, step=step)
    return Decision(state, (entry(state, "step", f"{per_cent(share)} of the traffic"),))


def bake(state: State) -> Decision:
    """Give the candidate all traffic, and judge it on by what stable has shown."""
    rollout = rollout_of(state)
    evidence = Evidence.baking(
        state.base.frozen(rollout.base.p95), rollout.policy.margin, rollout.policy.alpha
    )
    state = changed(_enter(state, Phase.BAKING), evidence=evidence)
    message = f"all traffic; the version before stays warm for {rollout.policy.bake:g} s"
    return Decision(state, (entry(state, "switch", message),))


def _baking(state: State, seen: Seen) -> Decision:
    rollout = rollout_of(state)
    left = rollout.policy.bake - rollout.elapsed
    if held := _held(rollout, seen):
        return _wait(state, *held)
    if left > 0:
        return _wait(state, "", f"the bake time, {left:.0f} s more")
    return take_charge(state)


def take_charge(state: State) -> Decision:
    """Make the candidate stable."""
    rollout = rollout_of(state)
    said = entry(state, "promote", "it is in charge now")
    after = replace(
        state,
        stable=rollout.candidate,
        previous=state.stable,
        rollout=None,
        base=type(state.base)(),
    )
    return Decision(after.pruned(), (said,))


_MOVES = {
    Phase.STARTING: _starting,
    Phase.PROBING: _probing,
    Phase.SHADOWING: _shadowing,
    Phase.STEPPING: _stepping,
    Phase.BAKING: _baking,
}


# Waiting

_UNTOLD = ("paused", "router")
"""Reasons to hold that make no entry: a person's own, and one that is over in a moment."""


def _held(rollout: Rollout, seen: Seen) -> tuple[str, str] | None:
    """Why nothing may move forward now, as a word and for a person; None when it may."""
    doing = seen.found.get(rollout.candidate)
    reasons = (
        (rollout.paused, "paused", "`serinus resume`"),
        (bool(seen.blind), "blind", f"the traffic to be seen: {seen.blind}"),
        (not seen.in_force, "router", "the router to take the weight"),
        (
            doing is None or doing.health is not Health.READY,
            "replicas",
            "its replicas to be ready again",
        ),
        (
            "traffic" in rollout.evidence.crossed,
            "shares",
            "a person: the shares of the traffic are not those that the router was given",
        ),
        (
            "slow" in rollout.evidence.crossed and rollout.policy.slow == "hold",
            "slow",
            "`serinus promote` or `serinus abort`: it has more slow answers than stable",
        ),
        (
            rollout.drift.crossed and rollout.policy.drift == "hold",
            "drift",
            "`serinus promote` or `serinus abort`: its predictions differ from stable's",
        ),
    )
    return next(((word, what) for holds, word, what in reasons if holds), None)


def _more(rollout: Rollout, needed: int | None) -> tuple[str, str]:
    clean = rollout.here.candidate.clean
    if needed is None:
        return "failures", "more clean answers: its failed ones are beyond stable's and the margin"
    if not clean or not rollout.elapsed:
        return ("traffic", "traffic") if rollout.elapsed > 10 else ("", f"{needed} clean answers")
    seconds = needed * rollout.elapsed / clean
    return "", f"{needed} more clean answers, about {_duration(seconds)} at the present rate"


def _closed(rollout: Rollout, step: int) -> bool:
    """Whether a person must open the gate before a step."""
    return rollout.policy.steps[step] in rollout.policy.gates and step not in rollout.opened


def _wait_at_gate(state: State, step: int) -> Decision:
    share = per_cent(rollout_of(state).policy.steps[step])
    return _wait(state, "gate", f"`serinus promote` before {share}")


def _wait(state: State, held: str, what: str) -> Decision:
    """Stay; an entry is written when the reason to hold is a new one."""
    rollout = rollout_of(state)
    after = changed(state, waits=what, held=held)
    if held in ("", rollout.held, *_UNTOLD):
        return Decision(after)
    return Decision(after, (entry(after, "hold", f"holds at {per_cent(rollout.weight)}: waits for {what}"),))


def _enter(state: State, phase: Phase, step: int = 0) -> State:
    """The state at the beginning of a phase or step, where nothing has been shown yet."""
    return changed(state, phase=phase, step=step, elapsed=0.0, here=Tally(0.0), waits="", held="")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
