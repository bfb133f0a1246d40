"""What `serinus run` adds to the processes that it starts; and what a run costs in which nothing has changed.

    python bench/pipeline/bench.py [--steps 1000] [--runs 3] [--jobs 1] [--json FILE]

A pipeline of steps that do nothing (`true`), each needing up to three of those before it at random, is run
from start to exit by the command line; beside it the same processes are started, with the same pipes, in a
loop and waited for one by one. Both take turns. The overhead is the difference for each step. The second run
finds everything unchanged. Then the same with steps that each read and write files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HEAD = '[service]\nname = "bench"\nentrypoint = "service:predict"\n\n[pipeline.many]\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = {"machine": machine(), "steps": options.steps, "jobs": options.jobs}
    for kind, write in (("no-ops", noops), ("files", files)):
        figures[kind] = measured(write, options.steps, options.runs, options.jobs)
        show(kind, figures[kind])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{len(os.sched_getaffinity(0))} cores of {name or platform.machine()}"


def noops(folder: Path, steps: int) -> list[str]:
    """A pipeline of steps that do nothing; the command of each."""
    chance = random.Random(1)
    text = HEAD
    for number in range(steps):
        before = chance.sample(range(number), min(number, chance.randrange(4)))
        needs = json.dumps([f"s{one}" for one in before])
        text += f'\n[pipeline.many.steps.s{number}]\nrun = "true"\nneeds = {needs}\n'
    (folder / "serinus.toml").write_text(text)
    return ["true"]


def files(folder: Path, steps: int) -> list[str]:
    """A pipeline of steps that copy a file each, from up to three of those before it."""
    chance = random.Random(1)
    (folder / "first.txt").write_text("first\n")
    text = HEAD
    for number in range(steps):
        before = chance.sample(range(number), min(number, chance.randrange(4)))
        inputs = json.dumps(["first.txt", *(f"out/{one}.txt" for one in before)])
        text += f'\n[pipeline.many.steps.s{number}]\nrun = "cp first.txt out/{number}.txt"\n'
        text += f'inputs = {inputs}\noutputs = ["out/{number}.txt"]\n'
    (folder / "serinus.toml").write_text(text)
    (folder / "out").mkdir()
    return ["cp", "first.txt", "out/bare.txt"]


def measured(write: Any, steps: int, runs: int, jobs: int) -> dict[str, float]:
    """Medians, in seconds."""
    bare, first, second = [], [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            command = write(folder, steps)
            serinus(folder, "graph", "many")  # reads the project file for the first time
            bare.append(spawned(command, folder, steps))
            first.append(serinus(folder, "run", "many", "--jobs", str(jobs)))
            second.append(serinus(folder, "run", "many", "--jobs", str(jobs)))
    found = {
        "bare": statistics.median(bare),
        "run": statistics.median(first),
        "again": statistics.median(second),
    }
    return found | {
        "overhead_per_step": (found["run"] - found["bare"]) / steps,
        "bare_per_step": found["bare"] / steps,
    }


def spawned(command: list[str], folder: Path, steps: int) -> float:
    """Seconds to start the processes of the steps one after the other, and to wait for each."""
    begin = time.perf_counter()
    for _ in range(steps):
        with subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            process.communicate()
    return time.perf_counter() - begin


def serinus(folder: Path, *words: str) -> float:
    """Seconds of one command from start to exit."""
    command = [sys.executable, "-m", "serinus", *words, "--json", "-C", str(folder)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - begin


def show(kind: str, found: dict[str, float]) -> None:
    bare, more = found["bare_per_step"] * 1000, found["overhead_per_step"] * 1000
    print(f"{kind}:")
    print(f"  processes alone          {found['bare']:7.2f} s  {bare:6.2f} ms a step")
    print(f"  serinus run              {found['run']:7.2f} s  {more:6.2f} ms more a step")
    print(f"  serinus run, unchanged   {found['again']:7.2f} s")


if __name__ == "__main__":
    main()
