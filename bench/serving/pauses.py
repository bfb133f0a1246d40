"""A lone call after a pause: what becomes of the threads that help it. `python pauses.py [--rounds 5]`.

RoBERTa, one sentence at a time, with all cores for each but in the last row; by turns, and after pauses in
which threads fall asleep. For docs/explanation/serving.md; prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

from report import Table, machine
from stand import HERE, CannotMeasureError
from tasks import bare_judge, sentences, shared

from serinus.serving.helpers import Helpers, started
from serinus.serving.onnx_session import session

PAUSES = (0.0, 0.002, 0.008)
SENTENCES = 128
Judge = Callable[[list[str]], object]


def ways(cores: int) -> dict[str, Judge]:
    """What is measured, by its name."""
    found: dict[str, Judge] = {f"{cores} threads, default settings": bare_judge(cores)}
    sys.path.insert(0, str(HERE / "apps"))
    from sentences import Judge as RoBERTa

    folder = shared("models", "roberta-sentiment")

    def judge(threads: int) -> tuple[RoBERTa, Helpers]:
        made = RoBERTa(str(folder), 1)
        with started(threads - 1) as numbers:
            made.session = session(folder / "model.int8.onnx", threads)
        if len(numbers) != threads - 1:
            raise CannotMeasureError("the threads of a session were not found")
        return made, Helpers(numbers)

    asleep, _ = judge(cores)
    spread, helpers = judge(cores)

    def apart(texts: list[str]) -> object:
        helpers.spread()
        return spread(texts)

    found[f"{cores} threads, asleep between calls"] = asleep
    found[f"{cores} threads, kept apart"] = apart
    found["1 thread"] = bare_judge(1)
    return found


def times(judge: Judge, texts: list[str], pause: float) -> list[float]:
    """Seconds of each sentence."""
    found = []
    for text in texts:
        time.sleep(pause)
        begin = time.perf_counter()
        judge([text])
        found.append(time.perf_counter() - begin)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    cores = len(os.sched_getaffinity(0))
    try:
        if cores < 2:
            raise CannotMeasureError("this needs two cores, and there is one")
        texts = [request[0] for request in sentences().requests[:SENTENCES]]
        measured = ways(cores)
        found: dict[tuple[str, float], list[float]] = {(way, p): [] for way in measured for p in PAUSES}
        for _ in range(rounds):
            for pause in PAUSES:
                for way, judge in measured.items():
                    found[way, pause] += times(judge, texts, pause)
    except CannotMeasureError as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    heads = ("median and p99, ms", *(f"after {pause * 1e3:g} ms" for pause in PAUSES))
    rows = [(way, *(_told(found[way, pause]) for pause in PAUSES)) for way in measured]
    print(Table(heads, rows))
    print(f"\n{machine()['processor']}; {rounds} rounds of {len(texts)} sentences.")
    return 0


def _told(seconds: list[float]) -> str:
    seconds = sorted(seconds)
    return f"{seconds[len(seconds) // 2] * 1e3:.1f}, {seconds[int(len(seconds) * 0.99)] * 1e3:.1f}"


if __name__ == "__main__":
    sys.exit(main())
