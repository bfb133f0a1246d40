"""The loads that the checks of speed look at, put to a replica of its own: once, and where nothing disturbs.

Noise of the machine makes everything slower and nothing faster. So a budget counts as broken only when three
loads in a row break it; and the version in charge is measured in the same minutes, in rounds A B B A, so
that whatever disturbs one disturbs the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from serinus.checks.speed import load
from serinus.checks.speed.load import Spec, Told
from serinus.checks.speed.numbers import percentile, slope
from serinus.checks.starting import Start
from serinus.checks.subjects import Served
from serinus.contract import Example
from serinus.errors import CheckError
from serinus.project import SpeedChecks

Ask = Callable[[Spec], Told]
"""Puts a load to a service."""

TRIES = 3
"""Loads that must break a budget, or show a leak, before it is called so."""
PAIRS = 16
"""Rounds of each version, where the service is fast enough."""
FEWEST = 6
"""Rounds of each version at least: fewer allow no conclusion."""
ENOUGH = 100
"""Answers that a conclusion about a leak takes."""
FULL = "status 503"
"""What a load calls an answer that a full queue gives."""
GROWTH = 256 << 20
"""A load ends once memory has grown by so many bytes: a leak must not take the machine down."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The same loads put to the image and to the version in charge, in turn."""

    single: tuple[tuple[Told, Told], ...]
    """At one connection: (image, version in charge) of each round."""
    closed: tuple[tuple[Told, Told], ...]
    """At several connections."""


@dataclass(frozen=True, slots=True)
class Loads:
    """What the loads have shown."""

    ready: float
    """Seconds from the start of the replica to readiness."""
    single: Told
    """Closed load at one connection."""
    closed: Told
    """Closed load at several connections."""
    open: Told
    """Open load at half of what the closed load has shown the service can do."""
    rate: float
    """Requests per second of the open load."""
    memory: float | None
    """Bytes of resident memory after the load; None where the service does not tell."""
    rounds: Rounds | None = None
    """None where no version in charge is named."""


def spawned(spec: Spec) -> Told:
    """Put a load to a service from a process of its own, which has the priority of this thread.

    Raises:
        CheckError: the generator broke.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", load.__file__],
        input=json.dumps(asdict(spec)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise CheckError(f"the load generator ended with exit code {done.returncode}: {last}")
    return told(json.loads(done.stdout))


def told(document: dict[str, Any]) -> Told:
    """What the generator wrote, as a value."""
    pairs = {name: tuple((a, b) for a, b in document[name]) for name in ("faults", "memory")}
    return Told(**document | pairs | {"latencies": tuple(document["latencies"])})


def throughput(load: Told) -> float:
    """Answers per second; 0 without an answer."""
    return load.answers / load.seconds if load.seconds > 0 else 0.0


def growth(load: Told) -> tuple[float, float]:
    """Bytes that memory grew with each answer, once a quarter of the answers were given; and at least."""
    warm = [point for point in load.memory if point[0] >= load.memory[-1][0] / 4]
    return slope(warm)


def late(load: Told, settings: SpeedChecks) -> bool:
    """Whether a load at one connection breaks a budget."""
    held = ((settings.p50, 0.5), (settings.p95, 0.95))
    return any(budget is not None and percentile(load.latencies, p) > budget for budget, p in held)


def measure(
    start: Start,
    rival: Start | None,
    examples: Sequence[Example],
    settings: SpeedChecks,
    ask: Ask = spawned,
) -> Loads:
    """Start a replica, and one of the version in charge if there is one, and load them.

    Args:
        start: starts a replica of the image.
        rival: starts one of the version in charge.
        examples: what is asked, in turn.
        settings: how long, and what is held to.
        ask: puts a load to a service.
    """
    bodies = tuple(json.dumps(example.request) for example in examples)
    with ExitStack() as replicas:
        served = replicas.enter_context(start("measured"))
        spec = _spec(served, bodies, settings)
        ask(replace(spec, seconds=settings.seconds / 4, connections=settings.connections))
        found = _alone(served, spec, settings, ask)
        if rival is None or not found.closed.answers:
            return found
        other = _spec(replicas.enter_context(rival("in-charge")), bodies, settings)
        ask(replace(other, seconds=settings.seconds / 4, connections=settings.connections))
        return replace(found, rounds=_against(spec, other, throughput(found.closed), settings, ask))


def _spec(served: Served, bodies: tuple[str, ...], settings: SpeedChecks) -> Spec:
    port = int(served.url.rpartition(":")[2])
    return Spec(port, served.route, bodies, settings.seconds, growth=GROWTH)


def _alone(served: Served, spec: Spec, settings: SpeedChecks, ask: Ask) -> Loads:
    many = replace(spec, connections=settings.connections, every=max(0.02, spec.seconds / 100), least=ENOUGH)
    single = _until(lambda: ask(spec), lambda found: not late(found, settings), _quicker)
    closed = _until(lambda: ask(many), lambda found: _well(found, settings), _calmer(settings))
    open_, rate = _open(spec, many, throughput(closed), settings.p99, ask)
    memory = closed.memory[-1][1] if closed.memory else None
    return Loads(served.seconds, single, closed, open_, rate, memory)


def _until(ask: Callable[[], Told], well: Callable[[Told], bool], best: Callable[[Told, Told], Told]) -> Told:
    """The first load with which all is well; else the best of several."""
    found = ask()
    for _ in range(TRIES - 1):
        if well(found) or broken(found) or full(found):
            break
        found = best(found, ask())
    return found


def _open(spec: Spec, many: Spec, capacity: float, budget: float | None, ask: Ask) -> tuple[Told, float]:
    """The open load at half of what the service can do, and its rate.

    A full queue at half of that says that it cannot do as much any more, as where a machine has become busy:
    what it can do is measured anew before it is tried again.
    """
    least = 1.0 / spec.seconds
    tried: list[tuple[Told, float]] = []
    rate = max(least, capacity / 2)
    while len(tried) < TRIES:
        found = ask(replace(spec, rate=rate))
        tried.append((found, rate))
        if _in_time(found, budget) or broken(found) or full(found):
            break
        if found.faults:
            now = throughput(ask(replace(many, seconds=many.seconds / 4)))
            rate = max(least, min(rate, now / 2))
    return min(tried, key=lambda one: (len(one[0].faults), percentile(one[0].latencies, 0.99)))


def broken(load: Told) -> bool:
    """Whether it failed otherwise than by a full queue, which a busy machine brings about too."""
    return any(what != FULL for what, _ in load.faults)


def _in_time(load: Told, budget: float | None) -> bool:
    return not load.faults and (budget is None or percentile(load.latencies, 0.99) <= budget)


def full(load: Told) -> bool:
    """Whether it ended since memory grew so far that it must not grow once more."""
    return bool(load.memory) and load.memory[-1][1] - load.memory[0][1] > GROWTH


def _quicker(one: Told, other: Told) -> Told:
    return min(one, other, key=lambda load: percentile(load.latencies, 0.5))


def _well(load: Told, settings: SpeedChecks) -> bool:
    fast = settings.throughput is None or throughput(load) >= settings.throughput
    return fast and not (load.memory and growth(load)[1] > settings.leak)


def _calmer(settings: SpeedChecks) -> Callable[[Told, Told], Told]:
    """The load with the less growth where one leaks, else the one with more answers a second."""

    def best(one: Told, other: Told) -> Told:
        leaking = [bool(load.memory and growth(load)[1] > settings.leak) for load in (one, other)]
        if leaking[0] != leaking[1]:
            return one if leaking[1] else other
        return max(one, other, key=throughput)

    return best


def _against(a: Spec, b: Spec, capacity: float, settings: SpeedChecks, ask: Ask) -> Rounds:
    """Rounds of both loads, as many and as long as the speed of the service asks for."""
    single = _turns(replace(a, seconds=a.seconds / PAIRS), replace(b, seconds=b.seconds / PAIRS), PAIRS, ask)
    one = max(settings.seconds / PAIRS, 2 * settings.connections / capacity)
    pairs = min(PAIRS, max(FEWEST, round(settings.seconds / one)))
    many = [replace(spec, seconds=one, connections=settings.connections) for spec in (a, b)]
    return Rounds(single, _turns(many[0], many[1], pairs, ask))


def _turns(a: Spec, b: Spec, pairs: int, ask: Ask) -> tuple[tuple[Told, Told], ...]:
    """Each round asks both, in the order A B, B A, A B: a drift of the machine falls on both alike."""
    found = []
    for number in range(pairs):
        if number % 2 == 0:
            first = ask(a)
            found.append((first, ask(b)))
        else:
            second = ask(b)
            found.append((ask(a), second))
    return tuple(found)
