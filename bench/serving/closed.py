"""Parts 1, 2 and 4: servers beside each other under wrk, in turns, several rounds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from load import Closed, wrk
from peers import (
    Service,
    bentoml,
    fastapi,
    granian,
    granian_embedded,
    gunicorn,
    litserve,
    locked,
    mlserver,
    serinus,
)
from report import Claim, Part, Ratio, Table, median
from stand import Cores, cpu, layout, post
from tasks import glad, small, typed

OURS = "Serinus"
WARM = 1.0
"""Seconds of load before the first measurement of a service."""
REST = 0.2
"""Seconds of rest before each measurement, once a request has been answered that waited behind all others."""


@dataclass(frozen=True)
class Settings:
    """How thoroughly to measure."""

    rounds: int = 3
    seconds: float = 5.0
    connections: tuple[int, ...] = (1, 16, 64)
    peers: tuple[str, ...] = ()
    """Of the peers only those whose name holds one of these; all without."""

    def wanted(self, services: Sequence[Service]) -> list[Service]:
        """The services to measure."""
        return [
            one
            for one in services
            if one.name.startswith(OURS) or not self.peers or any(part in one.name for part in self.peers)
        ]


@dataclass(frozen=True)
class Run:
    """One run of wrk, and the processor time that each answer took of the service."""

    closed: Closed
    microseconds: float


Measured = dict[str, dict[int, list[Run]]]
"""Service -> connections -> runs, one a round."""


def measure(
    services: Sequence[Service], settings: Settings, cores: Cores, between: Callable[[], None] = lambda: None
) -> Measured:
    """Each service once a round, for each number of connections; every other round backwards.

    Every service is started anew in each round, and its answers are held to the expected ones first.
    ``between`` is called right before the first service, whose turn it is once a round.
    """
    found: Measured = {one.name: {count: [] for count in settings.connections} for one in services}
    for number in range(settings.rounds):
        for service in services[:: -1 if number % 2 else 1]:
            if service is services[0]:
                between()
            with service.run(cores.service) as started:
                path, bodies = service.path, _bodies(service)
                wrk(started.port, path, bodies, max(settings.connections), WARM, cores.load)
                for count in settings.connections:
                    post(started.port, path, bodies[0])  # wrk leaves its last requests behind
                    time.sleep(REST)
                    pids = started.pids(service.without)
                    before = cpu(pids)
                    closed = wrk(started.port, path, bodies, count, settings.seconds, cores.load)
                    spent = (cpu(pids) - before) / max(1, closed.requests)
                    found[service.name][count].append(Run(closed, spent * 1e6))
            told = ", ".join(
                f"{count}: {runs[-1].closed.rate:,.0f}/s{' FAILED' * bool(runs[-1].closed.bad)}"
                for count, runs in found[service.name].items()
            )
            print(f"round {number + 1}, {service.task.name}, {service.name}: {told}", file=sys.stderr)
    return found


def _bodies(service: Service) -> tuple[bytes, ...]:
    """What wrk sends: one body where all cost the same, which spares it work; sentences of every length."""
    return service.bodies if service.task.name == "sentences" else service.bodies[:1]


def rate(measured: Measured, name: str, connections: int) -> float:
    """The median throughput; 0 when any answer of any round was bad."""
    runs = measured[name][connections]
    return 0.0 if any(run.closed.bad for run in runs) else median([run.closed.rate for run in runs])


def table(measured: Measured, connections: int, ours: str) -> Table:
    """Medians over the rounds; the ratio is that of ours to each (:class:`report.Ratio`)."""
    rows = []
    for name, counts in measured.items():
        runs = counts[connections]
        own = rate(measured, name, connections)
        values = [
            own or "failed",
            median([run.closed.p50 for run in runs]) * 1e3,
            median([run.closed.p99 for run in runs]) * 1e3,
            median([run.microseconds for run in runs]),
        ]
        times = str(ratio(measured, name, connections, ours)) if own and name != ours else "-"
        rows.append((name, *values, times, sum(run.closed.bad for run in runs)))
    heads = (
        f"{connections} connection{'s' * (connections > 1)}",
        *("answers/s", "p50, ms", "p99, ms", "CPU of the service, µs"),
        *(f"{ours} is times as fast", "bad answers"),
    )
    return Table(heads, rows)


def figures(measured: Measured) -> dict[str, Any]:
    """All single runs."""
    return {
        name: {str(count): [asdict(run) for run in runs] for count, runs in counts.items()}
        for name, counts in measured.items()
    }


def ratio(measured: Measured, name: str, connections: int, ours: str = OURS) -> Ratio:
    """How many times as fast as another service ours is; 0 where ours failed, infinite where that did."""
    if not rate(measured, ours, connections):
        return Ratio(0.0, 0.0, 0.0)
    if not rate(measured, name, connections):
        return Ratio(*[float("inf")] * 3)
    own, other = ([run.closed.rate for run in measured[one][connections]] for one in (ours, name))
    return Ratio.of(own, other)


# ------------------------------------------------------------------------------------------------ the parts

SMALL = {
    "FastAPI on uvicorn": 3.0,
    "Flask on gunicorn, sync": 7.0,
    "Flask on gunicorn, gthread": 7.0,
    "MLServer": 9.0,
    "LitServe": 15.0,
    "BentoML": 15.0,
    "bare Granian": 0.6,
    "bare Granian, embedded": 0.6,
}
"""How many times as fast as each the small model is to be answered, at the most connections."""


def small_model(settings: Settings) -> Part:
    """1: the small ONNX model, one worker."""
    task = small()
    services = settings.wanted(
        [
            *(serinus(task, "small"), granian(task), granian_embedded(task), fastapi(task)),
            *(
                gunicorn(task, "sync"),
                gunicorn(task, "gthread"),
                mlserver(task),
                litserve(task),
                bentoml(task),
            ),
        ]
    )
    cores = layout(2)
    measured = measure(services, settings, cores)
    most, least = max(settings.connections), min(settings.connections)
    peers = [name for name in measured if name in SMALL]
    claims = [
        Claim.of(f"{name}, {most} connections", ratio(measured, name, most), SMALL[name]) for name in peers
    ]
    claims += [
        Claim.of(f"{name}, {least} connection: no slower", ratio(measured, name, least), 1.0)
        for name in peers
        if not name.startswith("bare")
    ]
    part = _part("1. Small ONNX model, one worker", measured, settings, claims, cores)
    return replace(part, notes=[*part.notes, f"In the image of Serinus: {locked('small')}."])


def typed_function(settings: Settings) -> Part:
    """2: a typed function with pydantic types, as `def` and as `async def`."""
    task = typed()
    forms = ("def", "async")
    services = [serinus(task, f"typed-{form}", shown=f"Serinus, {form}") for form in forms]
    services += [fastapi(task, "fastapi_typed:app", f"/{form}", f"FastAPI, {form}") for form in forms]
    cores = layout(2)
    measured = measure(services, settings, cores)
    most = max(settings.connections)
    claims = [
        Claim.of(
            f"{form} beside FastAPI's {form}, {most} connections",
            ratio(measured, f"FastAPI, {form}", most, f"Serinus, {form}"),
            2.0,
        )
        for form in forms
    ]
    return _part("2. Typed function with pydantic types", measured, settings, claims, cores, "Serinus, def")


def flask_app(settings: Settings) -> Part:
    """4: the Flask app of examples/flask-app, wrapped, beside gunicorn; one worker and two."""
    task, parts = glad(), []
    for workers in (1, 2):
        services = [serinus(task, "glad", workers)]
        services += [gunicorn(task, kind, workers, "app:app") for kind in ("sync", "gthread")]
        cores = layout(2)
        measured = measure(services, settings, cores)
        most = max(settings.connections)
        claims = [
            Claim.of(f"{name}, {workers} worker{'s' * (workers > 1)}", ratio(measured, name, most), 1.0)
            for name in measured
            if name != OURS
        ]
        title = f"4. Flask app, wrapped, contract checked; workers: {workers}"
        parts.append(_part(title, measured, settings, claims, cores))
    one, two = parts
    return Part(
        one.title,
        [*one.tables, *two.tables],
        [*one.claims, *two.claims],
        [f"The first tables are of one worker, the others of two. {one.notes[0]}"],
        {"one worker": one.figures, "two workers": two.figures},
    )


def _part(  # noqa: PLR0917
    title: str, measured: Measured, settings: Settings, claims: list[Claim], cores: Cores, ours: str = OURS
) -> Part:
    tables = [table(measured, count, ours) for count in settings.connections]
    rounds = (
        f"{settings.rounds} rounds of {settings.seconds:g} s, medians, of a ratio with its rounds; {cores}"
    )
    shares = "" if set(cores.service).isdisjoint(cores.load) else ", which they share"
    return Part(title, tables, claims, [f"{rounds}{shares}."], figures(measured))
