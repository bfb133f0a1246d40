"""A lone call after a pause: what becomes of the threads that help it. `python pauses.py [--rounds 5]`.

RoBERTa, one sentence at a time, with all cores for each but in the last row; by turns, and after pauses in
which threads fall asleep. For docs/explanation/serving.md; prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys

from bare import Judge, latencies, times
from report import Table, machine
from stand import CannotMeasureError
from tasks import bare_judge, sentences

from serinus.serving.helpers import Helpers, started

PAUSES = (0.0, 0.002, 0.008)
SENTENCES = 128


def ways(cores: int) -> dict[str, Judge]:
    """What is measured, by its name.

    Raises:
        CannotMeasureError: the threads of a session cannot be told from others.
    """
    with started(cores - 1) as threads:
        spread = bare_judge(cores, asleep=True)
    if len(threads) != cores - 1:
        raise CannotMeasureError("the threads of a session were not found")
    helpers = Helpers(threads)

    def apart(texts: list[str]) -> list[bool]:
        helpers.spread()
        return spread(texts)

    return {
        f"{cores} threads, default settings": bare_judge(cores),
        f"{cores} threads, asleep between calls": bare_judge(cores, asleep=True),
        f"{cores} threads, kept apart": apart,
        "1 thread": bare_judge(1),
    }


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
    told = latencies(seconds)
    return f"{told['p50'] * 1e3:.1f}, {told['p99'] * 1e3:.1f}"


if __name__ == "__main__":
    sys.exit(main())
