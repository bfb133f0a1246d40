"""What a rollout does to real callers: real Envoy, real images in the sandbox, a load on loopback.

    python bench/rollout/live.py [soon] [rare] [alarms] [overhead] [--runs 20] [--json FILE]

soon      candidates that fail each request, in turns of two kinds, at 10 % of 200 requests/s: how many
          answers they give until they are sent back, when the last request goes to them, what callers see
rare      a candidate that breaks the contract in 1 % of its answers, stable in none: answers until then
alarms    a candidate that is exactly as stable is, both with 2 % of random errors: all are to be promoted
overhead  the router beside its replica (wrk, in turns), and what controller and Envoy cost

About ten minutes for all. It ends with 1 where one of the first three is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from overhead import overhead
from stand import Stand, Traces, bad, candidates, crossed, given, machine, spread

from serinus.environment.status import Event

RATE, FAST = 200.0, 600.0
BAD = ("always 500", "wrong type")
LATE = 1.0
"""Seconds for which is watched, after the abort, whether a request still goes to the candidate."""
MEDIAN, AFTER, FOUND = 8, 0.5, 1000
"""At most: answers of a bad candidate, as a median; seconds from the attempt that completes the evidence to
the last request to it; answers of the one that is seldom wrong."""


def main() -> None:
    parts: dict[str, Callable[[Stand, int], dict[str, Any]]] = {
        "soon": soon,
        "rare": lambda stand, runs: rare(stand, max(1, runs // 4)),
        "alarms": alarms,
        "overhead": lambda stand, _: overhead(stand),
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; default all")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(parts)}")
    figures: dict[str, Any] = {"machine": machine()}
    print(figures["machine"])
    with tempfile.TemporaryDirectory(prefix="serinus-bench-") as work:
        stand = Stand(Path(work))
        for name in options.parts or parts:
            begin, load = time.monotonic(), round(os.getloadavg()[0], 1)
            figures[name] = {"load average before": load} | parts[name](stand, options.runs)
            figures[name]["seconds"] = round(time.monotonic() - begin, 1)
            for what, value in figures[name].items():
                print(f"{name:<9} {what:<47} {json.dumps(value)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(
        not all(part.get("as it should be", True) for part in figures.values() if isinstance(part, dict))
    )


def soon(stand: Stand, runs: int) -> dict[str, Any]:
    """How many requests a bad candidate gets, and when the last one goes to it."""
    found: list[dict[str, float]] = []
    with stand.environment("soon", "good", steps=[10, 100], minimum=3600.0) as running:
        traces = Traces(running)
        running.load(RATE)
        time.sleep(2.0)
        for number in range(runs):
            found.append(sent_back(running, traces, BAD[number % len(BAD)]))
        seen = running.seen()
    counted, routed, after = ([one[name] for one in found] for name in ("counted", "routed", "after"))
    median, last = spread(routed)["median"], max(after)
    return {
        "runs": runs,
        "first attempts, counted by the abort": spread(counted),
        "first attempts, all that were routed": spread(routed),
        "of each run": [int(number) for number in routed],
        "complete evidence to last one routed, s": spread(after),
        "complete evidence to abort, s": spread([one["decided"] for one in found]),
        "first one routed to abort, s": spread([one["seconds"] for one in found]),
        "answers seen by callers": seen.answers,
        "bad answers seen by callers": bad(seen.answers),
        "as it should be": median <= MEDIAN and last <= AFTER and not bad(seen.answers),
    }


def sent_back(running: given.Running, traces: Traces, image: str) -> dict[str, float]:
    """Deploy an image that is to be sent back, and read what it cost: numbers of attempts, seconds."""
    traces.take()
    rollout = running.deploy(image)
    end = rollout.wait(120.0)
    if end != "aborted":
        raise SystemExit(f"{image} was {end}:\n{running.log[-2000:]}")
    time.sleep(LATE)
    attempts = traces.take()
    own = candidates(attempts)
    abort = ended(running, rollout.number)
    complete = crossed(attempts)
    ends = abort.at if complete is None else attempts[complete].at + attempts[complete].seconds
    return {
        "counted": abort.numbers["evidence"]["traffic"]["candidate"],
        "routed": len(own),
        "complete": len(own if complete is None else candidates(attempts[: complete + 1])),
        "after": max(0.0, max(one.at for one in own) - ends),
        "decided": abort.at - ends,
        "seconds": abort.at - min(one.at for one in own),
    }


def ended(running: given.Running, number: int) -> Event:
    """The last entry of a rollout."""
    return running.environment.history(limit=1000, rollout=number)[-1]


def rare(stand: Stand, runs: int) -> dict[str, Any]:
    """How many answers it takes to find a candidate that is wrong in 1 % of them."""
    found: list[dict[str, float]] = []
    with stand.environment("rare", "good", steps=[10, 100], minimum=3600.0) as running:
        traces = Traces(running)
        running.load(FAST)
        time.sleep(2.0)
        for _ in range(runs):
            found.append(sent_back(running, traces, "sometimes wrong"))
        seen = running.seen()
    answers = [one["complete"] for one in found]
    return {
        "runs": runs,
        "candidate's answers until it is found": spread(answers),
        "of each run": [int(number) for number in answers],
        "first one routed to abort, s": spread([one["seconds"] for one in found]),
        "answers seen by callers": seen.answers,
        "as it should be": max(answers) <= FOUND and not bad(seen.answers),
    }


def alarms(stand: Stand, runs: int) -> dict[str, Any]:
    """How rollouts of a candidate end that is as stable is, errors and all."""
    ends: list[str] = []
    seconds: list[float] = []
    policy = {"steps": [10, 50, 100], "minimum": 1.0, "bake": 2.0, "rollout": "margin = 0.05"}
    with stand.environment("alarms", "flaky", **policy) as running:
        running.load(2 * RATE)
        time.sleep(2.0)
        for _ in range(runs):
            begin = time.monotonic()
            rollout = running.deploy(
                "flaky" if running.in_charge() == given.tag("flaky too") else "flaky too"
            )
            try:
                end = str(rollout.wait(120.0))
            except TimeoutError as error:
                end = f"not over: {error}"
                running.environment.abort()
            last = ended(running, rollout.number)
            ends.append(end if end == "promoted" else f"{end}: {last.message}; {json.dumps(last.numbers)}")
            seconds.append(time.monotonic() - begin)
        seen = running.seen()
    return {
        "runs": runs,
        "promoted": ends.count("promoted"),
        "otherwise": [end for end in ends if end != "promoted"],
        "seconds of a rollout": spread(seconds),
        "of each": [round(one, 1) for one in seconds],
        "answers seen by callers": seen.answers,
        "as it should be": ends.count("promoted") == runs,
    }


if __name__ == "__main__":
    main()
