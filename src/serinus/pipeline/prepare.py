"""Before a run begins: everything that can be found wrong without starting anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from serinus.errors import PipelineError
from serinus.pipeline import Pipeline, Value, when
from serinus.pipeline.declared import checked
from serinus.pipeline.graph import Graph
from serinus.pipeline.parameters import bind
from serinus.pipeline.plan import Progress, State, begin
from serinus.pipeline.secrets import Secrets, secrets_of
from serinus.project import Project


@dataclass(frozen=True, slots=True)
class Options:
    """Which steps of a pipeline are run."""

    force: bool = False
    """All of them, even if nothing has changed."""
    start: str = ""
    """This step and those behind it, even if nothing has changed."""
    only: tuple[str, ...] = ()
    """These steps alone."""


@dataclass(frozen=True)
class Prepared:
    """A run that can begin: everything that could be found wrong before it was looked for."""

    graph: Graph
    values: Mapping[str, Value] = field(hash=False)
    options: Options
    skipped: tuple[str, ...]
    secrets: Secrets

    @property
    def forced(self) -> frozenset[str]:
        """The steps that are run even if nothing has changed."""
        if self.options.force:
            return frozenset(self.graph.steps)
        if self.options.start:
            return self.graph.behind([self.options.start]) | {self.options.start}
        return frozenset()

    def begin(self) -> Progress:
        """The run before anything was done."""
        chosen = frozenset(self.options.only) if self.options.only else None
        return begin(self.graph, chosen=chosen, skipped=self.skipped)


def prepare(
    project: Project,
    pipeline: Pipeline,
    given: Mapping[str, Value],
    options: Options,
    environment: Mapping[str, str],
    *,
    secrets: bool = True,
) -> Prepared:
    """Look for everything that can be wrong before a step is started.

    Args:
        project: the project.
        pipeline: one of its pipelines.
        given: parameters.
        options: which steps are run.
        environment: where secrets come from.
        secrets: whether they must be there.

    Raises:
        PipelineError: what is wrong, a line each.
    """
    graph = checked(pipeline)
    values = bind(pipeline, given)
    for name in (*options.only, *filter(None, [options.start])):
        if name not in graph.steps:
            raise _no_step(name, graph)
    skipped = tuple(s.name for s in pipeline.steps if s.when and not when.holds(s.when, values))
    progress = begin(graph, chosen=frozenset(options.only) if options.only else None, skipped=skipped)
    running = [graph.steps[name] for name, state in progress.states.items() if state is State.PENDING]
    if faults := [fault for step in running for fault in _inputs(project, graph, step.name)]:
        lines = "\n".join(f"pipeline.{pipeline.name}: {fault}" for fault in faults)
        raise PipelineError(lines, "Correct the path, or declare the step that makes it.")
    found = secrets_of(pipeline, running if secrets else (), environment, values)
    return Prepared(graph, values, options, skipped, found)


def _no_step(name: str, graph: Graph) -> PipelineError:
    close = get_close_matches(name, graph.steps, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(graph.steps)}"
    return PipelineError(
        f"the pipeline {graph.pipeline.name} has no step {name!r}; {hint}", "Name one of its steps."
    )


def _inputs(project: Project, graph: Graph, name: str) -> Iterator[str]:
    """Inputs that are not there, and that no step makes."""
    made = [output for need in graph.reads[name] for output in graph.steps[need].outputs]
    for path in graph.steps[name].inputs:
        if set("*?[") & set(path) or (project.root / path).exists():
            continue
        if not any(f"{path}/".startswith(f"{one}/") or one.startswith(f"{path}/") for one in made):
            yield f"the step {name} reads {path}, which is not there, and no step makes it"
