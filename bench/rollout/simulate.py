"""How often the evidence is wrong, how fast it is right, and what other rules make of the same traffic.

    python bench/rollout/simulate.py [--rollouts 1000] [--runs 200] [--traces 20] [--json FILE]

Nothing is started: traffic is drawn, with fixed seeds, and the real evidence is given to it. Three parts:
false alarms of candidates that are exactly like stable; the answers of a bad candidate until it is found,
looked at one by one; and a comparison with the rules of Flagger and Argo Rollouts (:mod:`rules` says where
each comes from).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
from rules import FAULTS, HORIZON, RATE, RULES, Outcome, Trace

from serinus.rollout import Counts, Tally
from serinus.rollout.drift import Drift, Interval
from serinus.rollout.evidence import Base, Evidence

ALPHA = 0.01
STEPS = ((0.01, 600), (0.05, 300), (0.25, 120), (0.5, 120))
"""Weight and seconds; a bake of ten minutes comes after."""
LOOK = 2
"""Seconds between looks."""
QUANTILES = (0.5, 0.9, 0.99, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--traces", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.rollouts:
        figures["false alarms"] = alarms(options.rollouts)
    if options.runs:
        figures["detection"] = detection(options.runs)
    if options.traces:
        figures["rules"] = compared(options.traces)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def alarms(rollouts: int) -> dict[str, Any]:
    """Rollouts of a candidate that is like stable: how many are aborted, and by which test."""
    found: Counter[str] = Counter()
    aborted = held = 0
    for seed in range(rollouts):
        names = same(seed)
        found.update(names)
        aborted += bool(names - {"traffic"})
        held += "traffic" in names
    print(f"false alarms, {rollouts} rollouts of a candidate like stable, alpha {ALPHA:.0%}")
    print(
        f"  aborted {aborted} ({aborted / rollouts:.2%}), held for the traffic {held}; by test: {dict(found)}"
    )
    return {"rollouts": rollouts, "alpha": ALPHA, "aborted": aborted, "held": held, "by test": dict(found)}


def same(seed: int) -> set[str]:
    """The tests that were crossed in one rollout and its bake."""
    random = numpy.random.default_rng(seed)
    period, phase = random.uniform(60, 1200), random.uniform(0, 2 * math.pi)
    evidence, base, now, crossed = Evidence.start(ALPHA), Base(p95=0.1), 0, set[str]()
    for weight, seconds in (*STEPS, (1.0, 600)):
        if weight == 1.0:
            evidence = Evidence.baking(base, 0.01, ALPHA)
        for _ in range(0, seconds, LOOK):
            now += LOOK
            total = int(random.poisson(RATE * LOOK))
            mine = int(random.binomial(total, weight))
            errors = 0.02 * 10 ** (math.sin(now * 2 * math.pi / period + phase) / 2)
            slow = min(1.0, 0.05 * math.exp(random.normal(0, 0.5)))
            rates = (errors / 20, errors, 0.03, slow)
            stable, candidate = drawn(random, total - mine, rates), drawn(random, mine, rates)
            base = base.after(stable)
            evidence = evidence.after(Tally(weight, stable, candidate))
            crossed |= set(evidence.crossed)
    return crossed


def drawn(random: numpy.random.Generator, size: int, rates: tuple[float, float, float, float]) -> Counts:
    *bad, slow = rates
    violations, errors, refusals, clean = random.multinomial(size, [*bad, 1 - sum(bad)])
    return Counts(int(violations), int(errors), int(refusals), int(clean), int(random.binomial(clean, slow)))


def detection(runs: int) -> dict[str, Any]:
    """Answers of the candidate until it is found, at a weight of a tenth unless it is said."""
    cases: tuple[tuple[str, str, float, float, float, int], ...] = (
        ("always wrong", "violations", 0.1, 1.0, 0.0, 0),
        ("always wrong at 1 %", "violations", 0.01, 1.0, 0.0, 0),
        ("always wrong at 50 %", "violations", 0.5, 1.0, 0.0, 0),
        ("always wrong, stable's errors 2 %", "errors", 0.1, 1.0, 0.02, 0),
        ("1 % violations against none", "violations", 0.1, 0.01, 0.0, 0),
        ("errors 0.1 % -> 1 %", "errors", 0.1, 0.01, 0.001, 0),
        ("errors 2 % -> 10 %", "errors", 0.1, 0.1, 0.02, 0),
        ("the same, after 100,000 requests at 2 %", "errors", 0.1, 0.1, 0.02, 100_000),
        ("slow 5 % -> 20 %", "slow", 0.1, 0.2, 0.05, 0),
    )
    print(
        f"\nanswers of the candidate until it is found, {runs} runs" + heads(*(f"{q:.0%}" for q in QUANTILES))
    )
    figures = {}
    for name, test, weight, mine, theirs, before in cases:
        figures[name] = quantiles(until(test, weight, mine, theirs, before, seed) for seed in range(runs))
        row(name, *figures[name].values())
    name = "predictions 50 % -> 70 % positive"
    figures[name] = quantiles(until_drift(0.1, 0.7, 0.5, seed) for seed in range(runs))
    row(name, *figures[name].values())
    return figures


def until(name: str, weight: float, mine: float, theirs: float, before: int, seed: int) -> int:  # noqa: PLR0917
    random = numpy.random.default_rng(seed)
    metric = Evidence.start(ALPHA).metric(name)
    for _ in range(before // 200):
        bad = int(random.binomial(200, theirs))
        owned = int(random.binomial(bad, weight))
        metric = metric.after(weight, owned, bad - owned)
    answers = 0
    while not metric.crossed and answers < 1_000_000:
        owned = bool(random.random() < weight)
        answers += owned
        if random.random() < (mine if owned else theirs):
            metric = metric.after(weight, int(owned), int(not owned))
    return answers


def until_drift(weight: float, mine: float, theirs: float, seed: int) -> int:
    random, drift, answers = numpy.random.default_rng(seed), Drift.start(ALPHA), 0
    while not drift.crossed and answers < 1_000_000:
        owned = int(random.binomial(50, weight))
        yes = (int(random.binomial(50 - owned, theirs)), int(random.binomial(owned, mine)))
        counts = {"true": yes, "false": (50 - owned - yes[0], owned - yes[1])}
        drift = drift.after(Interval(weight, 50 - owned, owned, {"/positive": counts}))
        answers += owned
    return answers


def compared(traces: int) -> dict[str, Any]:
    """The same traces through all rules."""
    print(f"\nfaults at {RATE} requests/s, {traces} traces of {HORIZON // 60} min")
    for name, source, _ in RULES:
        print(f"  {name}: {source}")
    figures: dict[str, Any] = {}
    for fault in FAULTS:
        print(f"\n{fault.name:<42}" + heads("aborted", "promoted", "after", "bad", "users got"))
        figures[fault.name] = {}
        outcomes: dict[str, list[Outcome]] = {name: [] for name, _, _ in RULES}
        for seed in range(traces):
            trace = Trace(fault, seed)
            for name, _, rule in RULES:
                outcomes[name].append(rule(trace))
        for name, found in outcomes.items():
            told = figures[fault.name][name] = summary(found)
            after = told["seconds until aborted"]
            row(
                name,
                told["aborted"],
                told["promoted"],
                "" if after is None else f"{after:.0f} s",
                told["bad answers"],
                told["reached users"],
            )
    return figures


def summary(found: list[Outcome]) -> dict[str, Any]:
    seconds = [one.aborted for one in found if one.aborted is not None]
    return {
        "aborted": len(seconds),
        "promoted": sum(one.promoted is not None for one in found),
        "seconds until aborted": statistics.median(seconds) if seconds else None,
        "bad answers": statistics.median(one.bad for one in found),
        "reached users": statistics.median(one.reached for one in found),
    }


def quantiles(found: Iterable[int]) -> dict[str, float]:
    values = numpy.array(sorted(found))
    return {f"{q:.0%}": float(numpy.quantile(values, q, method="higher")) for q in QUANTILES}


def heads(*names: str) -> str:
    return "".join(f"{name:>11}" for name in names)


def row(name: str, *values: float | str) -> None:
    cells = (value if isinstance(value, str) else f"{value:,.0f}" for value in values)
    print(f"  {name:<40}" + "".join(f"{cell:>11}" for cell in cells))


if __name__ == "__main__":
    main()
