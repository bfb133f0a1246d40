"""What is forgotten, so that what is kept does not grow for ever."""

from __future__ import annotations

import shutil
from contextlib import suppress

from serinus.pipeline.work import RUNS, Bench

LOGS = 50
"""Runs of each pipeline whose logs are kept; what was decided in them is kept for ever."""


def tidy(bench: Bench) -> None:
    """Forget what there is no room for: results used longest ago, and logs of runs long past.

    What this run made or used stays, however large it is.
    """
    record, pipeline = bench.record, bench.graph.pipeline
    runs = record.runs(pipeline.name, -1)
    since = next(row.began for row in runs if row.id == bench.run)
    total, gone = 0, []
    for step, key, size, used in record.sizes(pipeline.name):
        total += size
        if size and total > pipeline.keep and used < since:
            gone.append((step, key))
    if gone:
        record.forget(pipeline.name, gone)
        kept = (entry[2] for outputs in record.kept() for held_ in outputs.values() for entry in held_)
        bench.store.prune(kept)
    for old in runs[LOGS:]:
        folder = bench.root / RUNS / old.id
        if folder.exists():
            with suppress(OSError):
                shutil.rmtree(folder)
