"""RoBERTa without a server: every way to batch by hand, on the cores that this process may use.

    python bare.py SECONDS [WAY...] < sentences.json

Two ways to use the cores (all for each inference, or an inference on each), several sizes of batches, in the
order in which sentences come, or the best that a server could do that has 64 callers waiting: each 64 sorted
by length. Writes JSON: sentences a second for each way, or for those that are named, each measured for so
many seconds; and the latency of one at a time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stand import HERE
from tasks import bare_judge

SIZES = (1, 2, 4, 8, 16)
WINDOW = 64
Judge = Callable[[list[str]], list[bool]]


def batches(texts: list[str], size: int, *, sort: bool) -> list[list[str]]:
    """The sentences in batches."""
    found = []
    for begin in range(0, len(texts), WINDOW):
        window = texts[begin : begin + WINDOW]
        window = sorted(window, key=len) if sort else window
        found += [window[at : at + size] for at in range(0, len(window), size)]
    return found


def rate(judge: Judge, work: list[list[str]], workers: int, seconds: float) -> float:
    """Sentences a second, so many batches at once."""
    done = 0
    begin = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        while time.perf_counter() < begin + seconds:
            done += sum(map(len, pool.map(judge, work)))
        return done / (time.perf_counter() - begin)


def times(judge: Judge, texts: list[str], pause: float = 0.0) -> list[float]:
    """Seconds of each sentence, one at a time, with as long a pause before each."""
    found = []
    for text in texts:
        if pause:
            time.sleep(pause)
        begin = time.perf_counter()
        judge([text])
        found.append(time.perf_counter() - begin)
    return found


def latencies(seconds: list[float]) -> dict[str, float]:
    """What is told of the seconds of many."""
    ordered = sorted(seconds)
    middle, late = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return {"p50": middle, "p99": late, "mean": sum(ordered) / len(ordered)}


def main(seconds: float, wanted: list[str]) -> dict[str, Any]:
    sys.path.insert(0, str(HERE / "apps"))
    texts: list[str] = json.load(sys.stdin)
    cores = len(os.sched_getaffinity(0))
    ways = {f"{cores} threads an inference": (bare_judge(cores), 1)}
    if cores > 1:
        ways[f"{cores} inferences at once"] = (bare_judge(1), cores)
    found: dict[str, float] = {}
    for name, (judge, workers) in ways.items():
        rate(judge, batches(texts, 1, sort=False), workers, 0.2)
        for size in SIZES:
            for sort in (False, True) if size > 1 else (False,):
                way = f"{name}, batches of {size}{', sorted' if sort else ''}"
                if not wanted or way in wanted:
                    found[way] = rate(judge, batches(texts, size, sort=sort), workers, seconds)
    lone = {name: latencies(times(judge, texts)) for name, (judge, _) in ways.items()}
    return {"rates": found, "latencies": min(lone.values(), key=lambda one: one["p50"])}


if __name__ == "__main__":
    json.dump(main(float(sys.argv[1]), sys.argv[2:]), sys.stdout)
