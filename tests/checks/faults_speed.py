"""Faults of time and memory."""

from __future__ import annotations

from pathlib import Path

from faults import Fault, append, replace

SPEED = "\n[checks.speed]\nseconds = 1\n"


def slept(seconds: float) -> str:
    return f"    import time\n\n    time.sleep({seconds})\n"


def _flask(body: str, settings: str = "", before: str = "") -> object:
    def seed(folder: Path) -> None:
        replace(
            folder / "app.py",
            "    sentences = request.get_json()\n",
            f"{body}    sentences = request.get_json()\n",
        )
        replace(folder / "app.py", "app.json.compact = True\n", f"app.json.compact = True\n{before}")
        append(folder / "serinus.toml", SPEED + settings)

    return seed


def _late(folder: Path) -> None:
    replace(folder / "app.py", "app = Flask", "import time\n\ntime.sleep(2)\napp = Flask")
    append(folder / "serinus.toml", SPEED + 'cold_start = "2s"\n')


FAULTS = (
    Fault(
        "twice the latency of the version in charge",
        "flask-app",
        "speed.latency",
        "times that of the version in charge",
        _flask(slept(0.001)),
        against=True,
    ),
    Fault(
        "a p95 over its budget",
        "flask-app",
        "speed.latency",
        "p95 of the latency at one connection is",
        _flask(slept(0.02), 'p95 = "20ms"\n'),
    ),
    Fault(
        "a memory leak of 1 MB per request",
        "flask-app",
        "speed.leak",
        "memory grows by",
        _flask("    KEPT.append(bytearray(b'x' * 1_000_000))\n", before="KEPT = []\n"),
    ),
    Fault("a cold start over its budget", "flask-app", "speed.cold-start", "it is ready after", _late),
    Fault(
        "throughput that collapses under concurrency",
        "flask-app",
        "speed.throughput",
        "answers/s at 16 connections, expected at least 200",
        _flask(
            "    import time\n\n    with LOCK:\n        time.sleep(0.01)\n",
            "throughput = 200\n",
            "import threading\n\nLOCK = threading.Lock()\n",
        ),
    ),
    Fault(
        "memory over its budget",
        "flask-app",
        "speed.memory",
        "a replica takes",
        _flask("", 'memory = "100MiB"\n', "TABLE = bytearray(b'x' * 100_000_000)\n"),
    ),
    Fault(
        "a stall in some requests, seen by those who come at their own times",
        "flask-app",
        "speed.open",
        "p99 of the latency",
        _flask(
            "    import random\n    import time\n\n    time.sleep(0.1 * (random.random() < 0.05))\n",
            'p99 = "50ms"\n',
        ),
    ),
    Fault(
        "an error in every tenth answer",
        "flask-app",
        "speed.throughput",
        "status 500, expected 2xx",
        _flask("    import random\n\n    assert random.random() < 0.9\n"),
    ),
)
