"""How long `serinus check` takes, beside the slowest of its checks; and whether clean examples stay clean.

    python bench/check/bench.py [--runs 5] [--example roberta] [--clean 20] [--json FILE]

The whole run is timed from start to exit. Its slowest check is the one that takes longest with all that is
made for it (the image built and started, the load put on it): the critical path of the run. Beside it stands
that check run alone (`--only`), in turns with the whole. With `--clean N` every example is checked N times in
a row, and every failure is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from serinus.checks.report import Report

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ("flask-app", "onnx", "sentiment", "roberta")
TRAIN = ("-m", "serinus", "run", "train", "-p", "register=false")
MAKE = {"sentiment": TRAIN, "onnx": ("train.py",), "roberta": ("fetch.py",)}
SHARED = Path(os.environ.get("SERINUS_SHARED", ROOT.parent / "shared"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--example", default="roberta", choices=EXAMPLES)
    parser.add_argument("--clean", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as work:
        if options.runs:
            figures["time"] = timed(ready(options.example, Path(work)), options.runs)
        if options.clean:
            figures["clean"] = {name: clean(ready(name, Path(work)), options.clean) for name in EXAMPLES}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(any(figures.get("clean", {}).values()))


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{len(os.sched_getaffinity(0))} cores of {name or platform.machine()}"


def ready(example: str, work: Path) -> Path:
    """A copy of an example, trained or fetched, and built."""
    folder = work / example
    if not folder.exists():
        shutil.copytree(ROOT / "examples" / example, folder, ignore=shutil.ignore_patterns(".serinus"))
        if words := MAKE.get(example):
            environment = os.environ | {"SERINUS_SHARED": str(SHARED)}
            subprocess.run([sys.executable, *words], cwd=folder, check=True, env=environment)
        command = [sys.executable, "-m", "serinus", "build"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def check(folder: Path, *options: str) -> tuple[float, dict[str, Any]]:
    """Seconds of one run from start to exit, and its report."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "serinus", "check", "--json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if not done.stdout:
        raise SystemExit(done.stderr)
    return seconds, json.loads(done.stdout)


def timed(folder: Path, runs: int) -> dict[str, Any]:
    check(folder)  # warm: installed packages, the unpacked image
    wholes, slowest, ratios, alone, names = [], [], [], [], []
    for _ in range(runs):
        seconds, report = check(folder)
        chains = Report.from_json(report).chains()
        name = max((v["check"] for v in report["verdicts"]), key=lambda check: chains.get(check, 0.0))
        by_itself, _ = check(folder, "--only", name)
        names.append(name)
        wholes.append(seconds)
        slowest.append(chains[name])
        ratios.append(seconds / chains[name])
        alone.append(seconds / by_itself)
    figures = {
        "seconds": statistics.median(wholes),
        "sum of checks": sum(verdict["seconds"] for verdict in report["verdicts"]),
        "slowest check": statistics.mode(names),
        "its seconds, with what is made for it": statistics.median(slowest),
        "ratio": statistics.median(ratios),
        "ratio to the slowest run alone": statistics.median(alone),
        "runs": runs,
    }
    for name, value in figures.items():
        print(f"{folder.name:<10} {name:<32} {value if isinstance(value, str | int) else f'{value:.2f}'}")
    return figures


def clean(folder: Path, runs: int) -> list[str]:
    """What failed in some runs in a row; nothing, if the example is clean."""
    failures = []
    for number in range(1, runs + 1):
        seconds, report = check(folder)
        bad = [v for v in report["verdicts"] if v["status"] in {"failed", "blocked", "warned"}]
        told = [f"run {number}: {v['check']} {v['status']}: {_why(v)}" for v in bad]
        print(f"{folder.name:<10} run {number:>2} {seconds:6.1f} s  {len(bad)} not passed", *told, sep="\n  ")
        failures += [line for line in told if " warned: " not in line]
    return failures


def _why(verdict: dict[str, Any]) -> str:
    return "; ".join(finding["message"] for finding in verdict["findings"]) or verdict["summary"]


if __name__ == "__main__":
    main()
