"""Faults in how predictions and inputs are distributed."""

from __future__ import annotations

import json
from pathlib import Path

from faults import Fault, lines, replace


def _one_class(folder: Path) -> None:
    (folder / "examples.jsonl").write_text('{"request": ["A long film."]}\n')
    replace(folder / "service.py", "bool(p >= 0.5)", "bool(p >= 0.1)")


def _cut_off(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "labelled.jsonl").read_text().splitlines()]
    (folder / "reference.jsonl").write_text(lines(*({"request": row["request"]} for row in rows[::2])))
    cut = [{**row, "request": [row["request"][0][:40]]} for row in rows[1::2]]
    (folder / "labelled.jsonl").write_text(lines(*cut))
    replace(
        folder / "serinus.toml",
        "[checks.quality]",
        '[checks.drift]\nreference = "reference.jsonl"\n\n[checks.quality]',
    )


FAULTS = (
    Fault(
        "predictions that drift to one class",
        "sentiment",
        "drift.predictions",
        "the predictions drift: ",
        _one_class,
        warns=True,
        against=True,
    ),
    Fault(
        "inputs that are cut off",
        "sentiment",
        "drift.inputs",
        "characters of /0 drifts: a median of 40",
        _cut_off,
        warns=True,
    ),
)
