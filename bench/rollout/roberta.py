"""A canary of RoBERTa: from the int8 model to a second training of it, while callers ask real sentences.

    python bench/rollout/roberta.py [--rate 60] [--sentences N] [--json FILE]

Both models and the sentences are those of examples/roberta; the second one is trained here, on N sentences of
the split `train`, or all. The images run in the sandbox, and callers ask the 1,296 sentences that neither
model has seen, in turns. It ends with 1 if the second model is not promoted, or a caller got anything but an
answer of the right form.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench/check"), str(ROOT / "tests/environment")]

import given_roberta as given  # noqa: E402
from bench import SHARED, machine  # noqa: E402
from given import Running  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--sentences", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine(), "load average before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="serinus-bench-") as work:
        folder = Path(work) / "roberta"
        limit = ["--sentences", str(options.sentences)] if options.sentences else []
        figures["second model"] = given.project(folder, SHARED, *limit).strip()
        figures |= canary(given.environment(folder), options.rate)
    for name, value in figures.items():
        for line in value if isinstance(value, list) else [value]:
            print(f"{name:<38} {f'{line:.2f}' if isinstance(line, float) else line}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(figures["end"] != "promoted" or set(figures["answers seen by callers"]) != {"ok"})


def canary(running: Running, rate: float) -> dict[str, Any]:
    """The rollout, as a person watches it, and what callers saw."""
    load = ("--bodies", str(given.bodies(running.folder)))
    try:
        running.up(None)
        running.load(rate, *load)
        time.sleep(10.0)
        before = running.seen()
        running.load(rate, *load)
        begin = time.monotonic()
        told = deploy(running.folder)
        seconds = time.monotonic() - begin
        seen = running.seen()
    finally:
        running.down()
    version = told["version"]["digest"]
    return {
        "end": told["end"],
        "seconds until promoted": seconds,
        "history": history(told["events"]),
        "answers seen by callers": seen.answers,
        "of the second model": seen.versions.get(version, 0),
        "p50 of callers, ms: without a rollout": before.seconds["p50"] * 1000,
        "p50 of callers, ms: in the rollout": seen.seconds["p50"] * 1000,
        "p99 of callers, ms: without a rollout": before.seconds["p99"] * 1000,
        "p99 of callers, ms: in the rollout": seen.seconds["p99"] * 1000,
    }


def deploy(folder: Path) -> dict[str, Any]:
    """`serinus deploy --watch`: what it said at the end, and on the way."""
    command = [
        sys.executable,
        "-m",
        "serinus",
        "deploy",
        given.SECOND,
        "--watch",
        "--json",
        "-C",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if not done.stdout:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def history(events: list[dict[str, Any]]) -> list[str]:
    """What was decided, and when, in seconds after the beginning."""
    return [f"{e['at'] - events[0]['at']:5.1f} s  {e['kind']:<8} {e['message']}" for e in events]


if __name__ == "__main__":
    main()
