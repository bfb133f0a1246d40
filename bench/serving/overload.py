"""Part 7: three times as many requests as can be answered, and what comes after.

How much is still answered is claimed for a model that takes longer than HTTP does. Of the small one it is
shown: there two refusals cost about as much as the answer whose place they take.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from closed import Settings
from load import Open, Phase, Plan, finished, started, wrk
from peers import Service, serinus
from report import Claim, Part, Table, median
from stand import Cores, apart, layout, memory
from tasks import sentences, small

TIMES = 3.0
GOOD, REFUSED, GROWTH = 0.9, 0.1, 10.0
"""Share of the capacity that is still answered; seconds that a refusal may take; megabytes of growth."""
CALM = 0.5
BEFORE, AFTER = 3.0, 4.0
CONNECTIONS = 2048
_NOISE = 0.005
"""Seconds; a p99 below this counts as normal."""
_EVERY = 0.25


def overloaded(settings: Settings) -> Part:
    """7: the small model with service and load on cores of their own, and RoBERTa."""
    cases = [(serinus(sentences(), "sentences"), layout(2)), (serinus(small(), "small"), apart())]
    tables, claims, notes, told = [], [], [], {}
    for service, cores in cases:
        name = service.task.name
        capacity, phases, sizes = _flooded(service, settings, cores)
        tables.append(_table(name, capacity, phases))
        claims += _claims(name, capacity, phases, sizes)
        notes.append(
            f"{name}: {cores}; half of the capacity for {BEFORE:g} s, {TIMES:g} times for "
            f"{settings.seconds * 2:g} s, half again; up to {CONNECTIONS} connections. Behind the clock, or "
            f"waiting for a connection: {phases['over'].late_p99 * 1e3:.1f} ms at p99."
        )
        told[name] = {
            "capacity": capacity,
            "phases": {name: asdict(phase) for name, phase in phases.items()},
            "memory, MB": sizes,
        }
    return Part("7. Overload", tables, claims, notes, told)


def _flooded(
    service: Service, settings: Settings, cores: Cores
) -> tuple[float, dict[str, Open], list[list[float]]]:
    """The capacity, the phases of the load, and moments with megabytes beside them."""
    with service.run(cores.service) as replica:
        bodies = service.bodies if service.task.name == "sentences" else service.bodies[:1]
        wrk(replica.port, service.path, bodies, 64, 1.0, cores.load)
        capacity = wrk(replica.port, service.path, bodies, 64, settings.seconds, cores.load).rate
        phases = (
            Phase("before", capacity * CALM, BEFORE),
            Phase("over", capacity * TIMES, settings.seconds * 2),
            Phase("after", capacity * CALM, AFTER),
        )
        texts = tuple(body.decode() for body in bodies)
        plan = Plan(replica.port, service.path, texts, phases, CONNECTIONS, random=True)
        pids = replica.pids(service.without)
        begin, sizes = time.monotonic(), []
        with started(plan, cores.load) as load:
            while load.poll() is None and time.monotonic() < begin + sum(one.seconds for one in phases):
                sizes.append([time.monotonic() - begin, memory(pids)])
                time.sleep(_EVERY)
            found = finished(load)
        service.check(replica)
    over = found["over"]
    print(f"{service.task.name}: capacity {capacity:,.0f}/s, over: {over.answers}", file=sys.stderr)
    return capacity, found, sizes


def _table(name: str, capacity: float, phases: dict[str, Open]) -> Table:
    rows = []
    for phase in phases.values():
        refused = sum(phase.answers.get(what, 0) for what in ("503", "bare"))
        rest = phase.asked - phase.answers.get("200", 0) - refused
        rows.append(
            (
                *(phase.name, phase.asked / phase.seconds, phase.good, refused / phase.seconds, rest),
                *(phase.p50 * 1e3, phase.p99 * 1e3, phase.refused_p99 * 1e3),
            )
        )
    heads = (
        f"{name}, capacity {capacity:,.0f}/s",
        *("asked/s", "answered/s", "refused/s", "neither", "p50, ms", "p99, ms", "refusal p99, ms"),
    )
    return Table(heads, rows)


def _claims(
    name: str, capacity: float, phases: dict[str, Open], sizes: Sequence[Sequence[float]]
) -> list[Claim]:
    over, before = phases["over"], phases["before"]
    neither = over.asked - over.answers.get("200", 0) - over.answers.get("503", 0)
    good = Claim(f"{name}: answered, of the capacity", over.good / capacity, GOOD)
    return [
        *([good] if name != "small" else []),
        Claim(f"{name}: neither answered nor refused with Retry-After", neither, 0, least=False),
        Claim(f"{name}: refusals, p99", over.refused_p99 * 1e3, REFUSED * 1e3, least=False, unit=" ms"),
        Claim(f"{name}: growth of the memory", _growth(sizes, over), GROWTH, least=False, unit=" MB"),
        _recovered(name, before, phases["after"]),
    ]


def _growth(sizes: Sequence[Sequence[float]], over: Open) -> float:
    """Megabytes from the first third of the overload to its last."""
    third = over.seconds / 3
    parts: list[list[float]] = [
        [size for at, size in sizes if BEFORE + begin <= at < BEFORE + begin + third] or [0.0]
        for begin in (0.0, 2 * third)
    ]
    return median(parts[1]) - median(parts[0])


def _recovered(name: str, before: Open, after: Open) -> Claim:
    """The p99 of what was due later than a second after the overload, held to the one before it."""
    late: list[dict[str, Any]] = [one for one in after.slices if one["at"] >= 1.0]
    worst = max((one["p99"] if one["good"] == one["asked"] else float("inf") for one in late), default=0.0)
    bound = max(2 * before.p99, _NOISE)
    return Claim(
        f"{name}: worst p99 from a second after it", worst * 1e3, bound * 1e3, least=False, unit=" ms"
    )
