"""What the live measurements stand on: images that break in known ways, environments, Envoy's record."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench/check"), str(ROOT / "tests/environment")]

import given  # noqa: E402
from bench import machine  # noqa: E402

from serinus.environment.envoy.record import Record  # noqa: E402
from serinus.image.build import build  # noqa: E402
from serinus.project import Project  # noqa: E402
from serinus.rollout import Arm, Attempt  # noqa: E402
from serinus.rollout.evidence import Evidence, tally  # noqa: E402

__all__ = ["Stand", "Traces", "bad", "candidates", "crossed", "given", "machine", "spread"]

ALPHA = 0.01
FLAKY = "import random; 1 / (random.random() >= 0.02)"
OWN = {
    "sometimes wrong": 'import random; answer = {"positive": "no" if random.random() < 0.01 else True}',
    "flaky": FLAKY,
    "flaky too": f"{FLAKY}  # as the other one",
}
"""Name of an image -> the line that makes it what it is."""
TESTED = ("good", "same", "always 500", "wrong type")
"""Images of the tests."""


class Stand:
    """The images, built once, and a place for environments.

    Args:
        work: an empty folder.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self._images = work / "images"
        self._images.mkdir()
        given.settle(self._images)
        for name in (*TESTED, *OWN):
            self._build(name)

    def _build(self, name: str) -> None:
        given.write(self._images, name if name in TESTED else "good")
        if name in OWN:
            (self._images / "app.py").write_text(given.APP % OWN[name])
        if name == "sometimes wrong":  # what it breaks is stable's promise alone
            (self._images / "response.json").write_text(json.dumps(given.LOOSE))
        build(Project.load(self._images), tag=given.tag(name).partition(":")[2])

    @contextmanager
    def environment(self, name: str, image: str, **settings: Any) -> Iterator[given.Running]:
        """An environment with this version in charge."""
        folder = given.copied(self._images, self.work / name)
        port, _ = given.settle(folder, **settings)
        running = given.Running(folder, port)
        try:
            running.up(image)
            yield running
        finally:
            running.down()


class Traces:
    """The attempts in Envoy's record, rollout by rollout."""

    def __init__(self, running: given.Running) -> None:
        self._record = Record(running.state / "router")
        self._place = ""

    def take(self) -> list[Attempt]:
        """Those with a candidate beside stable since the last time."""
        found: list[Attempt] = []
        while True:
            attempts, place = self._record.attempts(self._place)
            if place == self._place:
                return [one for one in found if 0 < one.weight < 1]
            found += attempts
            self._place = place


def crossed(attempts: Sequence[Attempt]) -> int | None:
    """The position of the attempt with which the evidence against the candidate is complete, one by one."""
    evidence = Evidence.start(ALPHA)
    for position, attempt in enumerate(attempts):
        [one] = tally([attempt], None) or [None]
        evidence = evidence if one is None else evidence.after(one)
        if {"violations", "errors"} & set(evidence.crossed):
            return position
    return None


def candidates(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those that went to the candidate."""
    return [one for one in attempts if one.arm is Arm.CANDIDATE]


def bad(answers: Mapping[str, int]) -> int:
    """How many answers callers could not use."""
    return sum(count for what, count in answers.items() if what != "ok")


def spread(values: Sequence[float]) -> dict[str, float]:
    """How values are spread."""
    ordered = sorted(values)
    ninth = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    marks = {"least": ordered[0], "median": statistics.median(ordered), "p90": ninth, "most": ordered[-1]}
    return {name: round(value, 2) for name, value in marks.items()}
