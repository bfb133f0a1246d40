"""The pipelines of a project by name: those that it declares, and those that are built in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches

from serinus.environment.place import announced, folder_of
from serinus.errors import ControlError, PipelineError
from serinus.pipeline import Pipeline
from serinus.pipeline.builtin import DELIVER, deliver
from serinus.pipeline.declared import declared
from serinus.project import Project


def pipeline_of(
    project: Project, name: str | None = None, environment: Mapping[str, str] = os.environ
) -> Pipeline:
    """A pipeline of a project.

    Args:
        project: the project.
        name: of the pipeline; None is the only one that it declares.
        environment: where secrets and the address of an environment are.

    Raises:
        PipelineError: there is none of this name, or it is declared wrongly.
        ModelError: the built-in one finds that the project names its model wrongly.
    """
    there = list(project.pipeline)
    if name is None and len(there) == 1:
        (name,) = there
    if name is None:
        told = f"it declares {', '.join(there)}" if there else "it declares none"
        raise PipelineError(
            f"the project has no single pipeline: {told}", f"Name one; {DELIVER} is built in."
        )
    if name in project.pipeline:
        return declared(name, project.pipeline[name])
    if name == DELIVER:
        return deliver(project, environment=_has_environment(project, environment), given=environment)
    close = get_close_matches(name, [*there, DELIVER], n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join([*there, DELIVER])}"
    raise PipelineError(
        f"there is no pipeline {name!r}; {hint}", "Declare [pipeline.NAME] in the project file."
    )


def _has_environment(project: Project, environment: Mapping[str, str]) -> bool:
    """Whether an environment is known in which something can be deployed."""
    if environment.get("SERINUS_CONTROL_URL"):
        return True
    try:
        announced(folder_of(project.root))
    except ControlError:
        return False
    return True
