"""The jobs that a pipeline becomes: one, and one more behind each question to a person. Pure.

GitHub asks people by environments: a job that names one waits until its reviewers have agreed. Steps within a
job run one after the other, in the pipeline's order; what runs side by side locally does not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from serinus.errors import PipelineError
from serinus.pipeline import Approval, Pipeline, Step
from serinus.pipeline.declared import checked


@dataclass(frozen=True, slots=True)
class Stage:
    """The steps of one job, in their order."""

    job: str
    """Its id in the workflow."""
    steps: tuple[Step, ...]
    """Those with a command."""
    environment: str = ""
    """At GitHub; its reviewers are asked before. Empty where nobody is."""
    asked: Approval | None = None
    """What they are asked, where the pipeline has a question."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Files and folders that its steps make."""
        return tuple(output for step in self.steps for output in step.outputs)

    @property
    def when(self) -> str:
        """The condition that all its steps share, if they do: without it the whole job is left out."""
        conditions = {step.when for step in self.steps}
        return conditions.pop() if len(conditions) == 1 else ""


def stages(pipeline: Pipeline, environments: Mapping[str, str]) -> tuple[Stage, ...]:
    """The jobs of a pipeline, each needing those before it.

    Args:
        pipeline: it is checked.
        environments: step -> environment at GitHub before which it waits.

    Raises:
        PipelineError: the pipeline is wrong, an environment is for a step that is not there, or a question is
            asked under a condition.
    """
    graph = checked(pipeline)
    for name in environments:
        if name not in graph.steps:
            raise PipelineError(
                f"[ci.environments] has the step {name!r}, and the pipeline {pipeline.name} has "
                f"{', '.join(graph.steps)}",
                "Name one of its steps.",
            )
    found: list[Stage] = []
    for name in graph.order:
        step = graph.steps[name]
        environment = environments.get(name, name if step.approve else "")
        if environment or not found:
            job = _free(name if found else pipeline.name, {stage.job for stage in found})
            found.append(Stage(job, (), environment, step.approve))
        if step.approve and step.when:
            raise PipelineError(
                f"the step {name} asks a person only when {step.when!r}, and GitHub asks always",
                "Take the condition off the question, or start this pipeline with `serinus run`.",
            )
        if not step.approve:
            found[-1] = _grown(found[-1], step)
    return tuple(stage for stage in found if stage.steps)


def _grown(stage: Stage, step: Step) -> Stage:
    return Stage(stage.job, (*stage.steps, step), stage.environment, stage.asked)


def _free(name: str, taken: set[str]) -> str:
    """A job's id near to a name: letters, digits, ``_`` and ``-``, the first no digit."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    plain = plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"
    number, found = 2, plain
    while found in taken | {"check"}:
        found, number = f"{plain}-{number}", number + 1
    return found
