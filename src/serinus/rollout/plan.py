"""Plans: what is to run, and how the traffic is to be split, for where a rollout stands (pure).

A version that has no ready replica gets no traffic, whatever the rollout wants; one that is routed is wanted
to run. So the order is always: start, wait until it is ready, route; and back: unroute, drain, stop.
"""

from __future__ import annotations

from collections.abc import Mapping

from serinus.rollout import Backend, Found, Routing, Wanted
from serinus.rollout.policy import Policy
from serinus.rollout.state import Phase, Rollout, State


def wanted(state: State, replicas: int) -> tuple[Wanted, ...]:
    """The versions that are to run: stable, and the candidate, which is held to stable's contract.

    Args:
        state: what is wanted.
        replicas: of each version.
    """
    found = []
    if state.stable is not None:
        found.append(Wanted(state.stable, replicas, record=state.versions[state.stable].records))
    if state.rollout is not None:
        candidate = state.versions[state.rollout.candidate]
        contract = state.versions[state.stable].contract if state.stable is not None else None
        found.append(Wanted(candidate.digest, replicas, contract=contract, record=candidate.records))
    return tuple(found)


def routing(state: State, found: Mapping[str, Found], idle: Policy, generation: int = 0) -> Routing:
    """How the traffic is to be split now.

    Args:
        state: what is wanted.
        found: how the versions are doing.
        idle: the policy where there is no rollout.
        generation: of the routing.
    """
    rollout = state.rollout
    policy = rollout.policy if rollout else idle
    candidate = _backend(rollout.candidate, found) if rollout and _routed(rollout) else None
    if candidate is not None and not candidate.addresses:
        candidate = None
    return Routing(
        generation=generation,
        stable=_backend(state.stable, found) if state.stable else None,
        candidate=candidate,
        weight=rollout.weight if rollout and candidate else 0.0,
        mirror=policy.mirror if rollout and candidate and rollout.phase is Phase.SHADOWING else 0.0,
        route=policy.route,
        sticky=policy.sticky if rollout else None,
        idempotent=policy.idempotent,
        try_timeout=policy.try_timeout(rollout.base.p95 if rollout else None),
        timeout=policy.deadline,
    )


def _routed(rollout: Rollout) -> bool:
    return rollout.phase is not Phase.STARTING


def _backend(version: str, found: Mapping[str, Found]) -> Backend:
    return Backend(version, found[version].addresses if version in found else ())
