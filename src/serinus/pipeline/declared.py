"""``[pipeline.NAME]`` of the project file -> a pipeline, or every fault in it (pure)."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from serinus.errors import PipelineError
from serinus.pipeline import Approval, Parameter, Pipeline, Step, when
from serinus.pipeline.graph import Graph, graph
from serinus.pipeline.parameters import faults_of
from serinus.pipeline.words import parameters_of
from serinus.project import Project
from serinus.project.pipelines import ParameterTable, PipelineTable, StepTable

FORBIDDEN = (".serinus", ".git")
"""Folders in which no output may lie: what stands there is not for steps to replace."""
_TODO = "Correct [pipeline.{name}] in the project file; docs/reference/project-file.md has every key."


def pipelines(project: Project) -> dict[str, Pipeline]:
    """The pipelines that the project declares, by name.

    Raises:
        PipelineError: one is declared wrongly; every fault of it, a line each.
    """
    return {name: declared(name, table) for name, table in project.pipeline.items()}


def declared(name: str, table: PipelineTable) -> Pipeline:
    """One table as a pipeline that has been checked.

    Raises:
        PipelineError: every fault, a line each.
    """
    faults: list[str] = []
    steps = tuple(_step(step, one, faults) for step, one in table.steps.items())
    parameters = tuple(_parameter(each, one) for each, one in table.params.items())
    pipeline = Pipeline(name, steps, parameters, table.about, table.locks, table.keep)
    if faults := [*faults, *faults_in(pipeline)]:
        lines = "\n".join(f"pipeline.{name}: {fault}" for fault in faults)
        raise PipelineError(lines, _TODO.format(name=name))
    return pipeline


def checked(pipeline: Pipeline) -> Graph:
    """The graph of a pipeline, however it came about, after everything in it was found right.

    Raises:
        PipelineError: every fault, a line each.
    """
    if faults := list(faults_in(pipeline)):
        lines = "\n".join(f"pipeline.{pipeline.name}: {fault}" for fault in faults)
        raise PipelineError(lines, _TODO.format(name=pipeline.name))
    return graph(pipeline)


def _parameter(name: str, table: ParameterTable) -> Parameter:
    default = table.default
    kind = table.type or ("str" if default is None else type(default).__name__)
    if kind == "float" and isinstance(default, int) and not isinstance(default, bool):
        default = float(default)
    return Parameter(name, default, kind, table.minimum, table.maximum, table.choices, table.about)


def _step(name: str, table: StepTable, faults: list[str]) -> Step:
    approval = None
    if table.approve is not None:
        approval = Approval(table.approve, tuple(map(normal, table.show)), table.against or "")
    if (table.run is None) == (table.approve is None):
        faults.append(f"the step {name} needs one of run (a command) and approve (a question)")
    elif approval is not None and (
        table.inputs or table.outputs or table.secrets or table.env or table.retries
    ):
        faults.append(f"the step {name} asks a person: it has no inputs, outputs, env, secrets and retries")
    elif approval is None and (table.show or table.against):
        faults.append(f"the step {name} runs a command: show and against belong to an approval")
    return Step(
        name=name,
        command=_words(name, table.run, faults),
        needs=table.needs,
        inputs=tuple(map(normal, table.inputs)),
        outputs=tuple(map(normal, table.outputs)),
        params=table.params,
        env=dict(table.env),
        secrets=table.secrets,
        timeout=table.timeout,
        retries=table.retries,
        when=table.when or "",
        approve=approval,
        cache=table.cache,
    )


def normal(path: str) -> str:
    """A path in its one form: no ``./``, no ``//``, no slash at the end."""
    return posixpath.normpath(path)


def _words(name: str, run: str | tuple[str, ...] | None, faults: list[str]) -> tuple[str, ...]:
    if not isinstance(run, str):
        return run or ()
    try:
        words = tuple(shlex.split(run))
    except ValueError as error:
        faults.append(f"the step {name} has the command {run!r}, which is no words: {str(error).lower()}")
        return ("?",)
    if not words or not words[0]:
        faults.append(f"the step {name} has an empty command")
    return words or ("?",)


def faults_in(pipeline: Pipeline) -> Iterator[str]:
    """Everything that is wrong with a pipeline, a phrase each; nothing has been started yet."""
    if not pipeline.steps:
        yield "it has no steps"
    known = {parameter.name: parameter for parameter in pipeline.parameters}
    for parameter in pipeline.parameters:
        yield from (f"the parameter {fault}" for fault in faults_of(parameter))
    for step in pipeline.steps:
        for name in sorted(parameters_of(step)):
            if name not in known:
                yield f"the step {step.name} uses the parameter {name}, {_not_known(name, known)}"
        yield from _condition(step, known)
        yield from _paths(step)
    try:
        graph(pipeline)
    except PipelineError as error:
        yield from error.message.splitlines()


def _condition(step: Step, known: Mapping[str, Parameter]) -> Iterator[str]:
    if not step.when:
        return
    try:
        asked = set(when.names(when.parse(step.when)))
    except PipelineError as error:
        yield f"the step {step.name}: {error.message}"
        return
    for name in sorted(asked - known.keys()):
        yield f"the step {step.name} runs when {step.when!r}, and names {name}, {_not_known(name, known)}"


def _not_known(name: str, known: Mapping[str, Parameter]) -> str:
    if close := get_close_matches(name, known, n=1, cutoff=0.5):
        return f"which is not declared; did you mean {close[0]}?"
    return f"which is not declared; declared are {', '.join(known) or 'none'}"


def _paths(step: Step) -> Iterator[str]:
    for path in step.outputs:
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or path == ".":
            yield f"the step {step.name} writes {path!r}; an output lies inside the project"
        elif parts[0] in FORBIDDEN:
            yield f"the step {step.name} writes {path!r}; nothing in {parts[0]} is an output"
        elif any(letter in path for letter in "*?["):
            yield f"the step {step.name} writes {path!r}; an output is one file or folder, not a pattern"
    for path in step.inputs:
        for output in step.outputs:
            if path == output or path.startswith(f"{output}/"):
                yield f"the step {step.name} reads {path!r}, but {output!r} is removed before it runs"
