"""What a run would do, without doing it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serinus.pipeline import Pipeline, Value
from serinus.pipeline.contents import Missing
from serinus.pipeline.key import key_of, why
from serinus.pipeline.moments import unheard
from serinus.pipeline.plan import State
from serinus.pipeline.prepare import Options, Prepared, prepare
from serinus.pipeline.record import Record
from serinus.pipeline.store import from_document
from serinus.pipeline.work import Bench, bench_for, parts, usable
from serinus.project import Project

RUNS, UNCHANGED, PERHAPS, ASKS, SKIPPED, LEFT = "runs", "unchanged", "perhaps", "asks", "skipped", "left"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would become of a step."""

    step: str
    what: str
    """``runs``, ``unchanged``, ``perhaps`` (it depends on what a step before it makes), ``asks``, ``skipped``
    or ``left``."""
    why: str = ""


def preview(
    project: Project,
    pipeline: Pipeline,
    params: Mapping[str, Value] | None = None,
    *,
    force: bool = False,
    start: str = "",
    only: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> list[Foreseen]:
    """What a run would do; the parameters are those of :func:`serinus.pipeline.run.run_pipeline`.

    Raises:
        PipelineError: it could not be started.
    """
    options = Options(force, start, tuple(only))
    prepared = prepare(project, pipeline, params or {}, options, environment, secrets=False)
    record = Record(project.root)
    try:
        bench = bench_for(project.root, "", prepared, record, environment=environment, tell=unheard)
        return _foreseen(bench, prepared)
    finally:
        record.close()


def _foreseen(bench: Bench, prepared: Prepared) -> list[Foreseen]:
    progress = prepared.begin()
    found: dict[str, Foreseen] = {}
    for name in bench.graph.order:
        state = progress.states[name]
        changing = {need for need in bench.graph.reads[name] if found[need].what in {RUNS, PERHAPS}}
        if state is State.LEFT:
            found[name] = Foreseen(name, LEFT, "not asked for")
        elif state is State.SKIPPED:
            found[name] = Foreseen(name, SKIPPED, progress.reasons.get(name, ""))
        elif bench.graph.steps[name].approve is not None:
            found[name] = Foreseen(name, ASKS)
        elif changing:
            found[name] = Foreseen(name, PERHAPS, f"if {', '.join(sorted(changing))} makes something else")
        else:
            found[name] = _step(bench, name)
    return [found[step.name] for step in bench.graph.pipeline.steps]


def _step(bench: Bench, name: str) -> Foreseen:
    step = bench.graph.steps[name]
    try:
        depends = parts(bench, step)
    except (Missing, OSError) as error:
        return Foreseen(name, RUNS, f"and fails: {error}")
    result = usable(bench, step, key_of(bench.pipeline, name, depends))
    if result is not None and bench.store.has(from_document(result.outputs)):
        return Foreseen(name, UNCHANGED, f"since {result.run}")
    if not step.cache:
        return Foreseen(name, RUNS, "always")
    if name in bench.forced:
        return Foreseen(name, RUNS, "asked for")
    last = bench.record.last_result(bench.pipeline, name)
    return Foreseen(name, RUNS, why(last.parts if last else None, depends.document()))
