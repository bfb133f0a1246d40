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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from closed import Settings
from load import Open, Phase, Plan, finished, started, wrk
from peers import Service, placed, program, requirements, serinus
from report import Claim, Part, Ratio, Table, median
from stand import HOST, Command, Cores, Started, apart, cpu, memory
from tasks import Task, sentences, small

TIMES = 3.0
GOOD, REFUSED, GROWTH = 0.9, 0.1, 10.0
"""Share of the capacity that is still answered; seconds that a refusal may take; megabytes of growth."""
CALM = 0.5
BEFORE, AFTER = 3.0, 4.0
CONNECTIONS = 2048
PATIENCE = REFUSED
"""Seconds that a caller waits for a connection: who has none by then has no answer in time either way."""
RECOVERED, NORMAL = 1.0, 2.0
"""Seconds after the overload, and times as long as before it the p99 may be from then on."""
_NOISE = 0.0025
"""Seconds; a shorter p99 counts as this long."""
_EVERY = 0.25


@dataclass(frozen=True)
class Flood:
    """One service, once overloaded."""

    capacity: float
    """Answers a second as wrk has them, the mean of before and after: the machine is others', too."""
    phases: dict[str, Open]
    sizes: list[list[float]]
    """Moments, and the megabytes at each."""

    @property
    def share(self) -> float:
        """Of the capacity, that is still answered under overload."""
        return self.phases["over"].good / self.capacity

    def to_json(self) -> dict[str, Any]:
        phases = {name: asdict(phase) for name, phase in self.phases.items()}
        return {"capacity": self.capacity, "phases": phases, "memory, MB": self.sizes}


def overloaded(settings: Settings) -> Part:
    """7: RoBERTa and the small model, service and load on cores of their own; and what a refusal costs."""
    cores = apart()
    tables, claims, notes = [], [], []
    told: dict[str, Any] = {}
    services = (serinus(sentences(), "sentences"), serinus(small(), "small"))
    floods: dict[str, list[Flood]] = {service.task.name: [] for service in services}
    for _ in range(settings.rounds):
        for service in services:
            floods[service.task.name].append(_flooded(service, settings, cores))
    for name, several in floods.items():
        middle = sorted(several, key=lambda flood: flood.share)[len(several) // 2]
        tables.append(_table(name, middle))
        claims += _claims(name, several)
        notes.append(
            f"{name}: {cores}; half of the capacity for {BEFORE:g} s, {TIMES:g} times for "
            f"{settings.seconds * 2:g} s, half again; up to {CONNECTIONS} connections, for one of which a "
            f"caller waits {PATIENCE * 1e3:g} ms. {len(several)} rounds, the table has the middle one: "
            f"behind the clock, or waiting, {middle.phases['over'].late_p99 * 1e3:.1f} ms at p99."
        )
        told[name] = [flood.to_json() for flood in several]
    costs = refusals(settings, cores)
    told["CPU of an answer, µs"] = costs
    tables.append(Table(("64 connections", "CPU of the service, µs"), list(costs.items())))
    return Part("7. Overload", tables, claims, notes, told)


def _flooded(service: Service, settings: Settings, cores: Cores) -> Flood:
    with service.run(cores.service) as replica:
        bodies = service.bodies if service.task.name == "sentences" else service.bodies[:1]

        def capacity() -> float:
            return wrk(replica.port, service.path, bodies, 64, settings.seconds, cores.load).rate

        wrk(replica.port, service.path, bodies, 64, 1.0, cores.load)
        before = capacity()
        phases = (
            Phase("before", before * CALM, BEFORE),
            Phase("over", before * TIMES, settings.seconds * 2),
            Phase("after", before * CALM, AFTER),
        )
        texts = tuple(body.decode() for body in bodies)
        plan = Plan(replica.port, service.path, texts, phases, CONNECTIONS, random=True, patience=PATIENCE)
        pids = replica.pids(service.without)
        sizes = []
        with started(plan, cores.load) as load:
            while load.poll() is None:
                sizes.append([time.monotonic(), memory(pids)])
                time.sleep(_EVERY)
            found = finished(load)
        flood = Flood((before + capacity()) / 2, found, sizes)
        service.check(replica)
    answers = found["over"].answers
    print(f"{service.task.name}: capacity {flood.capacity:,.0f}/s, over: {answers}", file=sys.stderr)
    return flood


def _table(name: str, flood: Flood) -> Table:
    rows = []
    for phase in flood.phases.values():
        refused = sum(phase.answers.get(what, 0) for what in ("503", "bare"))
        rest = phase.asked - phase.answers.get("200", 0) - refused
        rows.append(
            (
                *(phase.name, phase.asked / phase.seconds, phase.good, refused / phase.seconds, rest),
                *(phase.p50 * 1e3, phase.p99 * 1e3, phase.refused_p99 * 1e3),
            )
        )
    heads = (
        f"{name}, capacity {flood.capacity:,.0f}/s",
        *("asked/s", "answered/s", "refused/s", "neither", "p50, ms", "p99, ms", "refusal p99, ms"),
    )
    return Table(heads, rows)


def _claims(name: str, floods: Sequence[Flood]) -> list[Claim]:
    over = [flood.phases["over"] for flood in floods]
    answered = Ratio.of([one.good for one in over], [flood.capacity for flood in floods])
    neither = max(one.asked - one.answers.get("200", 0) - one.answers.get("503", 0) for one in over)
    refused = median([one.refused_p99 for one in over]) * 1e3
    growth = median([_growth(flood) for flood in floods])
    calm = Ratio.of([_late(flood) for flood in floods], [max(f.phases["before"].p99, _NOISE) for f in floods])
    return [
        Claim.of(f"{name}: answered, of the capacity", answered, GOOD),
        Claim(f"{name}: neither answered nor refused with Retry-After", neither, 0, least=False),
        Claim(f"{name}: refusals, p99", refused, REFUSED * 1e3, least=False, unit=" ms"),
        Claim(f"{name}: growth of the memory", growth, GROWTH, least=False, unit=" MB"),
        Claim.of(f"{name}: p99 from a second after it, over the one before", calm, NORMAL, least=False),
    ]


def _growth(flood: Flood) -> float:
    """Megabytes from the first third of the overload to its last."""
    over = flood.phases["over"]
    third = over.seconds / 3
    parts: list[list[float]] = [
        [size for at, size in flood.sizes if over.begin + begin <= at < over.begin + begin + third] or [0.0]
        for begin in (0.0, 2 * third)
    ]
    return median(parts[1]) - median(parts[0])


def _late(flood: Flood) -> float:
    """The p99 of the worst quarter of a second of those that begin a second after the overload or later."""
    late = [one for one in flood.phases["after"].slices if one["at"] >= RECOVERED]
    return max((one["p99"] if one["good"] == one["asked"] else float("inf") for one in late), default=0.0)


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
