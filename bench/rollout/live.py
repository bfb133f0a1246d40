"""Rollouts measured on real Envoy and real images, with a load from a process outside.

    python bench/rollout/live.py [soon] [alarms] [overhead] [--json FILE]

soon      candidates that are always wrong, at 10 % of 200 requests/s: how many answers until they are sent
          back, when the last request went to them after that, and what callers saw
alarms    candidates as good as stable: whether each is promoted, and how long it takes
overhead  the router against a direct call of the replica (wrk, in turns), and the processor time of the
          controller and the router at 1,000 requests/s
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "environment"), str(ROOT / "tests")]

import given  # noqa: E402

RATE = 200
RUNS = 20
SCRIPT = """wrk.method = "POST"
wrk.body = '["a great day"]'
wrk.headers["Content-Type"] = "application/json"
"""


def main() -> None:
    parts: dict[str, Callable[[Path], Any]] = {"soon": soon, "alarms": alarms, "overhead": overhead}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=list(parts))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine()}
    print(figures["machine"])
    with tempfile.TemporaryDirectory(prefix="serinus-bench-") as work:
        images = Path(work) / "images"
        images.mkdir()
        given.images(images)
        for name in options.parts:
            figures[name] = parts[name](images)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{len(os.sched_getaffinity(0))} cores of {name}, load average {os.getloadavg()[0]:.1f}"


@contextmanager
def environment(images: Path, **settings: Any) -> Iterator[given.Running]:
    """An environment with the image ``good`` in charge."""
    with tempfile.TemporaryDirectory(prefix="serinus-bench-") as work:
        folder = given.copied(images, Path(work) / "mood")
        port, _ = given.settle(folder, **settings)
        running = given.Running(folder, port)
        try:
            running.up("good")
            yield running
        finally:
            running.down()


def soon(images: Path) -> dict[str, Any]:
    """Candidates that are always wrong, in turns of two kinds."""
    answers, late, wrong = [], [], 0
    with environment(images, steps=[10, 100]) as running:
        for number in range(RUNS):
            name = ("always 500", "wrong type")[number % 2]
            running.load(RATE)
            running.deploy(name).wait(60)
            time.sleep(1.0)
            seen = running.seen()
            wrong += sum(count for what, count in seen.answers.items() if what != "ok")
            [entry] = [e for e in running.environment.history(rollout=number + 2) if e.kind == "abort"]
            evidence = entry.numbers["evidence"][entry.numbers["metric"]]
            answers.append(evidence["candidate"])
            late.append(max(0.0, _last_attempt(running, entry.version) - entry.at))
    figures = {
        "runs": RUNS,
        "candidate's answers": sorted(answers),
        "median": statistics.median(answers),
        "last request to it after the decision, s": round(max(late), 3),
        "wrong answers that callers saw": wrong,
    }
    return shown("soon", figures)


def _last_attempt(running: given.Running, version: str) -> float:
    """When the last request was given to a version, by Envoy's record of attempts."""
    from serinus.environment.envoy.record import Record
    from serinus.rollout import Arm

    found, place = 0.0, ""
    record = Record(running.state / "router")
    while True:
        attempts, following = record.attempts(place)
        found = max([found, *(a.at for a in attempts if a.arm is Arm.CANDIDATE)])
        if following == place or not attempts:
            return found
        place = following


def alarms(images: Path) -> dict[str, Any]:
    """Candidates that are as good as stable."""
    ends, seconds, wrong = [], [], 0
    settings = {"steps": [10, 50, 100], "minimum": 0.5, "bake": 2.0, "rollout": "margin = 0.03"}
    with environment(images, **settings) as running:
        running.load(2 * RATE)
        for number in range(RUNS):
            begin = time.monotonic()
            ends.append(str(running.deploy(("same", "same again", "good")[number % 3]).wait(120)))
            seconds.append(time.monotonic() - begin)
        seen = running.seen()
        wrong = sum(count for what, count in seen.answers.items() if what != "ok")
    figures = {
        "promoted": ends.count("promoted"),
        "of": RUNS,
        "median seconds": round(statistics.median(seconds), 1),
        "requests": seen.asked,
        "wrong answers that callers saw": wrong,
    }
    return shown("alarms", figures)


def overhead(images: Path) -> dict[str, Any]:
    """The router against a direct call, in rounds A B B A; processor time at 1,000 requests/s."""
    figures: dict[str, Any] = {}
    with environment(images, steps=[10, 100], rollout="margin = 0.0001") as running:
        [address] = [one.port for one in running.replicas("good")]
        for connections in (1, 16, 64):
            pairs = [_round(running.port, address, connections, n % 2 == 1) for n in range(5)]
            rates = statistics.median(through[0] / direct[0] for through, direct in pairs)
            times = statistics.median(through[1] - direct[1] for through, direct in pairs)
            figures[f"{connections} connections: throughput, of a direct call's"] = round(rates, 3)
            figures[f"{connections} connections: latency added (mean), ms"] = round(1000 * times, 3)
        for what in ("idle", "in a rollout"):
            if what == "in a rollout":
                running.deploy("same")
                running.until_at(0.1)
            figures |= {f"{part} {what}, % of a core": value for part, value in _processor(running)}
    return shown("overhead", figures)


def _round(port: int, direct: int, connections: int, swapped: bool) -> tuple[tuple[float, float], ...]:
    order = (direct, port) if swapped else (port, direct)
    found = {at: wrk(at, connections) for at in order}
    return found[port], found[direct]


def wrk(port: int, connections: int) -> tuple[float, float]:
    """Requests a second, and the mean latency in seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", "-d3s", "-s", script.name]
        url = f"http://127.0.0.1:{port}/predict"
        out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert rate, out
    return float(rate[1]), connections / float(rate[1])


def _processor(running: given.Running, seconds: float = 15.0) -> Iterator[tuple[str, float]]:
    assert running.process is not None
    parts = {"controller": running.process.pid, "envoy": running.envoy.pid() or 0}
    running.load(1000)
    time.sleep(3.0)
    before = {name: _ticks(pid) for name, pid in parts.items()}
    time.sleep(seconds)
    after = {name: _ticks(pid) for name, pid in parts.items()}
    asked = running.seen().asked / (seconds + 3.0)
    hertz = os.sysconf("SC_CLK_TCK")
    yield "requests a second", round(asked)
    for name in parts:
        yield name, round(100 * (after[name] - before[name]) / hertz / seconds, 1)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def shown(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    for what, value in figures.items():
        print(f"{name:<9} {what:<52} {value}", flush=True)
    return figures


if __name__ == "__main__":
    main()
