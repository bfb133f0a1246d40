"""What the router adds to an answer, and the time of processors that router and controller take."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from stand import Stand, bad, given

CONNECTIONS = (1, 16, 64)
ROUNDS, SECONDS = 2, 3
"""Rounds of four runs (router, replica, replica, router), and seconds of each run."""
RATE, LONG, WARM = 1000.0, 20.0, 2.0
SCRIPT = """wrk.method = "POST"
wrk.body = '["a great day"]'
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local errors = summary.errors
  local bad = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('JSON{"requests": %d, "us": %d, "p50": %f, "p99": %f, "bad": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), bad))
end
"""


def overhead(stand: Stand) -> dict[str, Any]:
    """The router beside its replica, in turns, as fast as both can; then processors at a fixed rate."""
    figures: dict[str, Any] = {}
    with stand.environment("overhead", "good", steps=[10, 100], minimum=3600.0) as running:
        if shutil.which("wrk"):
            figures |= beside(running, stand.work)
        else:
            figures["router and replica"] = "not measured: apt-get install wrk"
        figures["% of a core: nobody asks"] = cost(running, 0.0)
        figures[f"% of a core: {RATE:.0f} requests/s, no rollout"] = cost(running, RATE)
        running.deploy("same")
        running.until_at(0.1)
        figures[f"% of a core: {RATE:.0f} requests/s, a rollout"] = cost(running, RATE)
    return figures


def beside(running: given.Running, work: Path) -> dict[str, Any]:
    """Throughput and latencies, of router and replica, for each number of connections."""
    script = work / "predict.lua"
    script.write_text(SCRIPT)
    [replica] = running.replicas("good")
    ports = (running.port, replica.port, replica.port, running.port)
    figures: dict[str, Any] = {}
    for connections in CONNECTIONS:
        rounds = [[wrk(script, port, connections) for port in ports] for _ in range(ROUNDS)]
        figures |= compared(connections, rounds)
    return figures


def wrk(script: Path, port: int, connections: int) -> dict[str, float]:
    """One run against a port."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script)]
    command.append(f"http://127.0.0.1:{port}/predict")
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found: dict[str, float] = json.loads(out.rpartition("JSON")[2])
    if found["bad"] or not found["requests"]:
        raise SystemExit(f"{' '.join(command)}: {out}")
    return found | {"rate": found["requests"] / found["us"] * 1e6}


def compared(connections: int, rounds: list[list[dict[str, float]]]) -> dict[str, Any]:
    """Router over replica: medians of the ratios and differences of neighbours, and of both."""
    pairs = [pair for a, b, c, d in rounds for pair in ((a, b), (d, c))]
    figures: dict[str, Any] = {}
    for name, unit, told in (
        ("rate", 1.0, "requests/s"),
        ("p50", 1000.0, "p50, ms"),
        ("p99", 1000.0, "p99, ms"),
    ):
        router, replica = (statistics.median(pair[at][name] for pair in pairs) / unit for at in (0, 1))
        one = {"router": router, "replica": replica}
        one["ratio"] = statistics.median(a[name] / b[name] for a, b in pairs)
        if name != "rate":
            one["added"] = statistics.median(a[name] - b[name] for a, b in pairs) / unit
        figures[f"{connections} connections, {told}"] = {what: round(value, 2) for what, value in one.items()}
    return figures


def cost(running: given.Running, rate: float) -> dict[str, float]:
    """Time of processors under a load, in per cent of one core."""
    assert running.process is not None
    if rate:
        running.load(rate)
        time.sleep(WARM)
    pids = {"controller": running.process.pid, "envoy": running.envoy.pid()}
    before, begin = {name: ticks(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(LONG if rate else LONG / 2)
    spent = {name: ticks(pid) - before[name] for name, pid in pids.items()}
    passed = time.monotonic() - begin
    hertz = os.sysconf("SC_CLK_TCK")
    figures = {name: round(value / passed / hertz * 100, 1) for name, value in spent.items()}
    if rate:
        seen = running.seen()
        figures["requests/s"] = round(seen.asked / (passed + WARM), 1)
        figures["bad answers"] = bad(seen.answers)
    return figures


def ticks(pid: int) -> int:
    """Clock ticks that a process has run (``proc(5)``)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
