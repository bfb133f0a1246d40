"""Part 7: three times as many requests as can be answered, and what comes after.

For the small model not all that is claimed can hold: a refusal takes a third of the time of an answer, nearly
all of it HTTP, so that two of them leave a third of the core for answers. It answers as many as it can, and
who comes too much waits for a connection. What a refusal costs is measured beside the least that it could:
Granian with an application that only refuses.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from closed import Settings
from load import Open, Phase, Plan, finished, started, wrk
from peers import Service, placed, program, requirements, serinus
from report import Claim, Part, Table, median
from stand import HOST, Command, Cores, Started, apart, cpu, memory
from tasks import Task, sentences, small

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
    """7: RoBERTa and the small model, service and load on cores of their own; and what a refusal costs."""
    cores = apart()
    tables, claims, notes = [], [], []
    told: dict[str, Any] = {}
    for service in (serinus(sentences(), "sentences"), serinus(small(), "small")):
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
    costs = refusals(settings, cores)
    told["CPU of an answer, µs"] = costs
    tables.append(Table(("64 connections", "CPU of the service, µs"), list(costs.items())))
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
        sizes = []
        with started(plan, cores.load) as load:
            while load.poll() is None:
                sizes.append([time.monotonic(), memory(pids)])
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
    return [
        Claim(f"{name}: answered, of the capacity", over.good / capacity, GOOD),
        Claim(f"{name}: neither answered nor refused with Retry-After", neither, 0, least=False),
        Claim(f"{name}: refusals, p99", over.refused_p99 * 1e3, REFUSED * 1e3, least=False, unit=" ms"),
        Claim(f"{name}: growth of the memory", _growth(sizes, over), GROWTH, least=False, unit=" MB"),
        _recovered(name, before, phases["after"]),
    ]


def _growth(sizes: Sequence[Sequence[float]], over: Open) -> float:
    """Megabytes from the first third of the overload to its last."""
    third = over.seconds / 3
    parts: list[list[float]] = [
        [size for at, size in sizes if over.begin + begin <= at < over.begin + begin + third] or [0.0]
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


# ----------------------------------------------------------------------------------- what a refusal costs

REFUSING = """import asyncio


async def predict(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds
"""
GRANIAN = """import sys

import granian_small

HEADERS = [("content-type", "application/problem+json"), ("retry-after", "1")]


async def app(scope, protocol):
    if scope.path == "/refused":
        protocol.response_bytes(503, HEADERS, b'{"status":503}')
    else:
        protocol.response_bytes(200, HEADERS, b"0.0")


granian_small.app = app
sys.argv.pop(0)
import granian_embedded
"""


def refusals(settings: Settings, cores: Cores) -> dict[str, float]:
    """Microseconds of processor time: of a refusal, of a bare one, and of an answer of the small model."""
    task = Task("refusing", (0.0,), (0.0,))
    costs = {}
    with (
        serinus(task, "refusing", write=_write).run(cores.service) as replica,
        closing(http.client.HTTPConnection(HOST, replica.port)) as inside,
    ):
        taken = json.dumps(settings.seconds + 3.0)
        inside.request("POST", "/predict", taken, {"content-type": "application/json"})
        time.sleep(0.5)
        costs["Serinus, refused"] = _cost(replica, b"0.0", settings, cores)
    folder = placed("granian", "refusing", {"granian_refusing.py": GRANIAN})
    words = (program("granian", "python"), "granian_refusing.py", "granian_embedded.py", "{port}")
    with Service("bare Granian, refused", task, Command(words, folder)).run(cores.service) as started:
        costs["bare Granian, embedded, refused"] = _cost(started, b"0.0", settings, cores, "/refused")
    service = serinus(small(), "small")
    with service.run(cores.service) as replica:
        costs["Serinus, answered (small)"] = _cost(replica, service.bodies[0], settings, cores)
    return costs


def _cost(service: Started, body: bytes, settings: Settings, cores: Cores, path: str = "/predict") -> float:
    pids = service.pids("replica.py")
    before = cpu(pids)
    load = wrk(service.port, path, [body], 64, settings.seconds, cores.load)
    return (cpu(pids) - before) / max(1, load.requests) * 1e6


def _write(folder: Path, name: str, workers: int) -> None:
    """The project of a service with one place, which is taken."""
    (folder / "service.py").write_text(REFUSING)
    text = f'[service]\nname = "{name}"\nentrypoint = "service:predict"\nworkers = {workers}\nqueue = 1\n'
    (folder / "serinus.toml").write_text(text)
    (folder / "requirements.txt").write_text(requirements("fastapi", "pydantic"))
