"""A pipeline of a thousand steps: each once and in order, with little around it; unchanged, at once."""

from __future__ import annotations

import random
import time
from pathlib import Path

from pipeline_projects import Ran, pipeline_of, project_in

from serinus.pipeline import Step
from serinus.pipeline.graph import graph
from serinus.pipeline.moments import Began, Ended

STEPS = 1000


def many() -> tuple[Step, ...]:
    chance = random.Random(7)
    return tuple(
        Step(
            f"s{n}",
            ("true",),
            tuple(f"s{one}" for one in chance.sample(range(n), min(n, chance.randrange(4)))),
        )
        for n in range(STEPS)
    )


def test_a_thousand_steps(tmp_path: Path) -> None:
    project, pipeline = project_in(tmp_path / "project"), pipeline_of(*many())
    begin = time.perf_counter()
    first = Ran(project, pipeline, jobs=4)
    took = time.perf_counter() - begin
    assert set(first.states.values()) == {"done"}
    needs, over, begun = graph(pipeline).needs, set(), []
    for moment in first.moments:
        match moment:
            case Began(step):
                assert set(needs[step]) <= over
                begun.append(step)
            case Ended(step):
                over.add(step)
    assert sorted(begun) == sorted(needs)
    begin = time.perf_counter()
    again = Ran(project, pipeline)
    cached = time.perf_counter() - begin
    assert set(again.states.values()) == {"cached"}
    # The figures of a quiet machine are in bench/pipeline; these bounds hold on one that is busy.
    assert took / STEPS < 0.06
    assert cached < 8
