"""How long answers take, and how many there are: of one caller, of several, and under an open load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from serinus.checks import Finding, Measure, NotApplicable, Plot, Result, check
from serinus.checks.speed import measured, numbers
from serinus.checks.speed.load import Told
from serinus.checks.speed.measured import Loads
from serinus.checks.speed.numbers import percentile
from serinus.project import Checks

FILE = "serinus.toml"
_FASTER = "Profile what it does for each request, or raise {}."


@check(
    "speed.latency",
    why="A second inference for each request went unseen by every test: the answers were right, and half as"
    " many callers could be served.",
)
def latency(loads: Loads, settings: Checks) -> Result:
    """Latency of one caller: `checks.speed.p50`, `p95`, and both within `ratio` of the version in charge.

    A budget is broken only if three loads in a row break it; the ratio only if its confidence interval does.
    """
    speed, rounds = settings.speed, loads.rounds
    measures = _latencies(
        loads.single, (("p50", 0.5, speed.p50), ("p95", 0.95, speed.p95), ("p99", 0.99, None))
    )
    said = _said(measures)
    findings = [*_faults(loads.single, "at one connection"), *_over(measures, "at one connection")]
    if rounds is not None:
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            ratios = _ratios(rounds.single, partial(_latency, share))
            measures.append(Measure(f"{name} ratio", percentile(ratios, 0.5), "", speed.ratio))
            findings += _worse(f"the {name} of the latency", ratios, speed.ratio)
    elif speed.p50 is None and speed.p95 is None and not findings:
        raise NotApplicable(
            f"no budget and no version in charge to hold it to; measured {said}",
            "Set checks.speed.p50 or checks.speed.p95, or name the version in charge: checks.against.",
        )
    series = [("this image", numbers.curve(loads.single.latencies))]
    if rounds is not None:
        pooled = [value for _, other in rounds.single for value in other.latencies]
        series.append(("version in charge", numbers.curve(pooled)))
    plot = Plot("Latency at one connection", tuple(series), "percentile", "s")
    return Result(said, tuple(findings), _bounded(measures, findings), (plot,))


@check(
    "speed.open",
    why="Callers do not wait for each other: at half of its capacity a service with stalls keeps a queue that"
    " no test with one caller shows.",
)
def open_load(loads: Loads, settings: Checks) -> Result:
    """Requests at random times, half as many as it can answer: each is 2xx, p99 within `checks.speed.p99`.

    The time to an answer is counted from when the request was due, whether or not it could be sent then.
    """
    measures = _latencies(
        loads.open, (("p50", 0.5, None), ("p95", 0.95, None), ("p99", 0.99, settings.speed.p99))
    )
    where = f"at {loads.rate:.0f} requests/s"
    findings = (*_faults(loads.open, where), *_over(measures, where))
    plot = Plot(f"Latency {where}", (("this image", numbers.curve(loads.open.latencies)),), "percentile", "s")
    return Result(f"{_said(measures)} {where}, half of what it can do", findings, tuple(measures), (plot,))


@check(
    "speed.throughput",
    why="A lock around the model let one request in at a time: one caller was served as fast as ever, and"
    " sixteen at once waited sixteen times as long.",
)
def throughput(loads: Loads, settings: Checks) -> Result:
    """Answers to many callers at once: each 2xx, `checks.speed.throughput`, `ratio` of the version in charge.

    `checks.speed.connections` callers, each of which asks again once it is answered.
    """
    speed, found = settings.speed, measured.throughput(loads.closed)
    where = f"at {speed.connections} connections"
    findings = list(_faults(loads.closed, where))
    measures = [Measure("throughput", found, "1/s", at_least=speed.throughput)]
    if not measures[0].holds:
        findings.append(
            Finding(
                f"{found:.1f} answers/s {where}, expected at least {speed.throughput:g}",
                "Look for a lock, or for work that could be batched; or lower checks.speed.throughput.",
                FILE,
            )
        )
    if loads.rounds is not None:
        ratios = _ratios(loads.rounds.closed, lambda load: 1 / max(measured.throughput(load), 1e-9))
        measures.append(Measure("time per answer ratio", percentile(ratios, 0.5), "", speed.ratio))
        findings += _worse(f"the time per answer {where}", ratios, speed.ratio)
    curve = numbers.curve(loads.closed.latencies)
    plot = Plot(f"Latency {where}", (("this image", curve),), "percentile", "s")
    return Result(f"{found:.0f} answers/s {where}", tuple(findings), _bounded(measures, findings), (plot,))


def _latency(share: float, load: Told) -> float:
    return percentile(load.latencies, share)


def _latencies(load: Told, wanted: Sequence[tuple[str, float, float | None]]) -> list[Measure]:
    return [Measure(name, percentile(load.latencies, p), "s", at_most) for name, p, at_most in wanted]


def _said(measures: Sequence[Measure]) -> str:
    return ", ".join(f"{m.name} {numbers.seconds(m.value)}" for m in measures if m.unit == "s")


def _over(measures: Sequence[Measure], where: str) -> list[Finding]:
    return [
        Finding(
            f"{m.name} of the latency {where} is {numbers.seconds(m.value)}, expected at most"
            f" {numbers.seconds(m.at_most)}",
            _FASTER.format(f"checks.speed.{m.name}"),
            FILE,
        )
        for m in measures
        if m.at_most is not None and not m.holds
    ]


def _faults(load: Told, where: str) -> list[Finding]:
    """What came instead of 2xx answers; and that nothing came at all."""
    todo = "See the service's log: each fault is a line there."
    found = [
        Finding(f"{count} of {load.answers + _count(load)} requests {where}: {what}, expected 2xx", todo)
        for what, count in load.faults
    ]
    if not found and not load.answers:
        found = [Finding(f"no request was answered {where}, expected at least one", todo)]
    return found


def _count(load: Told) -> int:
    return sum(count for _, count in load.faults)


def _ratios(pairs: Sequence[tuple[Told, Told]], value: Callable[[Told], float]) -> list[float]:
    """How many times the image's value is that of the version in charge, for each round with answers."""
    return [value(a) / value(b) for a, b in pairs if a.answers and b.answers]


def _worse(what: str, ratios: Sequence[float], bound: float) -> list[Finding]:
    """A finding where the whole confidence interval of the ratio lies above the bound."""
    least = numbers.at_least(ratios)
    if not least > bound:
        return []
    return [
        Finding(
            f"{what} is {percentile(ratios, 0.5):.2f} times that of the version in charge"
            f" (at least {least:.2f} times, over {len(ratios)} rounds), expected at most {bound:g}",
            _FASTER.format("checks.speed.ratio"),
            FILE,
        )
    ]


def _bounded(measures: Sequence[Measure], findings: Sequence[Finding]) -> tuple[Measure, ...]:
    """The measures as shown: a ratio above its bound by chance alone is no broken bound."""
    return tuple(
        m if findings or m.holds or not m.name.endswith("ratio") else Measure(m.name, m.value, m.unit)
        for m in measures
    )
