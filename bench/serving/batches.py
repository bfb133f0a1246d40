"""Part 3: RoBERTa, sentences of mixed length, beside bare onnxruntime and the servers that batch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from closed import OURS, Measured, Settings, figures, measure, rate, ratio, table
from load import Open, Phase, Plan, open_load
from peers import Service, bentoml, granian, litserve, mlserver, serinus
from report import Claim, Part, Ratio, Table, median
from stand import HERE, CannotMeasureError, Cores, clean_environment, layout, python
from tasks import sentences

SHARE = 0.9
BARE = "bare Granian"
"""Its name in the tables."""
TIMES = 2.0
_BARE_SECONDS = 1.0
_NO_BATCHES = "none"
"""The way by hand that there is not: then only the latencies are measured."""
_FINALISTS = 3
"""As many of the ways by hand are measured in every round: the best of many that were measured once was
lucky, too."""


def bare(cores: Cores, seconds: float, ways: Sequence[str] = ()) -> dict[str, Any]:
    """What ``bare.py`` finds on the service's cores, of some ways or of all.

    Raises:
        CannotMeasureError: it ended with an error.
    """
    words = ["taskset", "-c", ",".join(map(str, cores.service)), python(), "bare.py", str(seconds), *ways]
    texts = json.dumps([request[0] for request in sentences().requests])
    env = clean_environment()
    done = subprocess.run(
        words, input=texts, capture_output=True, text=True, check=False, cwd=HERE, env=env, timeout=600
    )
    if done.returncode:
        raise CannotMeasureError(f"bare.py: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def roberta(settings: Settings) -> Part:
    """3: throughput at each number of connections, and the latency at half of the most."""
    task, cores = sentences(), layout(2)
    ours = serinus(task, "sentences")
    services = settings.wanted([ours, granian(task), litserve(task), bentoml(task), mlserver(task)])
    tried: dict[str, float] = bare(cores, _BARE_SECONDS)["rates"]
    ways = sorted(tried, key=lambda way: -tried[way])[:_FINALISTS]
    alone: list[dict[str, Any]] = []
    measured = measure(services, settings, cores, lambda: alone.append(bare(cores, settings.seconds, ways)))
    rates = {way: median([one["rates"][way] for one in alone]) for way in ways}
    best = max(rates, key=lambda way: rates[way])
    most = max(settings.connections)
    half = rate(measured, OURS, most) / 2
    if not half:
        raise CannotMeasureError(f"Serinus answered badly at {most} connections, so there is no half of it")
    lately, calm = _at_half(ours, half, settings, cores)
    ceilings = [1 / one["latencies"]["mean"] for one in alone], [one["rates"][best] for one in alone]
    claims = _claims(measured, settings, *ceilings)
    failed = sum(one.asked - one.answers.get("200", 0) for ways in calm.values() for one in ways)
    times = Ratio.of([one.p99 for one in calm["evenly spaced"]], [one["p99"] for one in lately])
    claims += [
        Claim.of("p99 at half of the most, evenly spaced, over bare p99", times, TIMES, least=False),
        Claim("requests not answered at half of the most", failed, 0, least=False),
    ]
    tables = [table(measured, count, OURS) for count in settings.connections]
    tables += [
        Table(
            ("bare onnxruntime, best of all", "sentences/s"), sorted(rates.items(), key=lambda one: -one[1])
        ),
        Table(
            ("bare onnxruntime, measured once", "sentences/s"), sorted(tried.items(), key=lambda one: -one[1])
        ),
        _waiting(lately, calm, half),
    ]
    notes = [f"{settings.rounds} rounds of {settings.seconds:g} s, medians; {cores}. Best by hand: {best}."]
    half_told = {way: [asdict(one) for one in several] for way, several in calm.items()}
    told = {"bare": alone, "tried": tried, "lately": lately, "half": half_told}
    return Part("3. RoBERTa, sentences of mixed length", tables, claims, notes, figures(measured) | told)


def _claims(
    measured: Measured, settings: Settings, alone: Sequence[float], best: Sequence[float]
) -> list[Claim]:
    """One connection is held to bare inference of one sentence at a time, more to the best there is.

    And one to bare Granian, too: some of the way from caller to model cannot be saved by anybody.

    ``alone`` and ``best`` are sentences a second, one of each round.
    """
    claims = []
    for count in settings.connections:
        bounds, what = (alone, "one at a time") if count == 1 else (best, "the best by hand")
        failed = not rate(measured, OURS, count)
        own = [0.0 if failed else run.closed.rate for run in measured[OURS][count]]
        text = f"share of bare onnxruntime, {what}, {count} connections"
        claims.append(Claim.of(text, Ratio.of(own, bounds), SHARE))
    least, most = min(settings.connections), max(settings.connections)
    if BARE in measured:
        share = ratio(measured, BARE, least)
        claims.append(Claim.of(f"share of {BARE}, {least} connection{'s' * (least > 1)}", share, SHARE))
    return claims + [
        Claim.of(f"{name}, {most} connections: ahead", ratio(measured, name, most), 1.0)
        for name in measured
        if name != OURS
    ]


def _at_half(
    service: Service, load: float, settings: Settings, cores: Cores
) -> tuple[list[dict[str, float]], dict[str, list[Open]]]:
    """Latencies of bare inference, and under an open load of so many requests a second, once a round."""
    alone: list[dict[str, float]] = []
    found: dict[str, list[Open]] = {"evenly spaced": [], "random": []}
    bodies = tuple(body.decode() for body in service.bodies)
    phases = (Phase("warm", load, 1.0), Phase("half", load, settings.seconds * 2))
    for _ in range(settings.rounds):
        alone.append(bare(cores, _BARE_SECONDS, (_NO_BATCHES,))["latencies"])
        with service.run(cores.service) as started:
            for way, several in found.items():
                plan = Plan(started.port, service.path, bodies, phases, 256, way == "random")
                several.append(open_load(plan, cores.load)["half"])
    return alone, found


def _waiting(alone: list[dict[str, float]], calm: dict[str, list[Open]], half: float) -> Table:
    lone = [median([one[name] for one in alone]) * 1e3 for name in ("p50", "p99")]
    rows: list[tuple[Any, ...]] = [("bare onnxruntime, one at a time", *lone)]
    for way, several in calm.items():
        times = [median([one.p50 for one in several]), median([one.p99 for one in several])]
        rows.append((f"{OURS}, {way}", *(one * 1e3 for one in times)))
    return Table((f"Latency at {half:.0f} requests/s", "p50, ms", "p99, ms"), rows)
