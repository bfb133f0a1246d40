"""What a workflow is made from: a pipeline, a project, where it lies, and what GitHub says in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from serinus.pipeline import Pipeline, Step, builtin
from serinus.pipeline.access import Access, of_command
from serinus.pipeline.github import expressions
from serinus.pipeline.github.pins import PINS, Pin
from serinus.pipeline.github.stages import Stage, stages
from serinus.project import Project


@dataclass(frozen=True)
class Plan:
    """What a workflow is made from."""

    pipeline: Pipeline
    project: Project
    folder: str = ""
    """The project's folder in its repository, ``services/sentiment``; empty where they are the same."""
    pins: Mapping[str, Pin] = field(default_factory=lambda: PINS, hash=False)
    overrides: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Parameter -> the expression that is its value where nobody starts the workflow by hand, and where who
    does leaves it empty."""
    checks: tuple[Step, ...] = ()
    """Steps of the job for pull requests; without any there is none."""
    automatic: bool = False
    """Whether pushes and newly registered models start it; otherwise people do."""

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The variable of each parameter."""
        return expressions.variables(self.pipeline.parameters)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The jobs."""
        return stages(self.pipeline, self.project.ci.environments)

    def value(self, name: str) -> str:
        """The expression of a parameter's value as a text: what a person filled in, else its default."""
        parameter = next(each for each in self.pipeline.parameters if each.name == name)
        default = "" if parameter.default is None else parameter.default
        other = self.overrides.get(name) or expressions.valued(default)
        # As a text: false, which a person may have chosen, would give way to what stands behind "||".
        return f"github.event_name == 'workflow_dispatch' && format('{{0}}', inputs.{name}) || {other}"

    def access(self, step: Step) -> tuple[Access, ...]:
        """What a step needs: by its command, and what it names itself."""
        found = of_command(step, self.project, oidc=self.project.ci.oidc)
        known = {name for one in found for name in (*one.secrets, *one.kept)}
        # The step names the secrets that a person has; a login without secrets takes their place.
        replaced = {
            name
            for one in of_command(step, self.project, oidc=False)
            for name in one.secrets
            if name not in known
        }
        named = tuple(name for name in step.secrets if name not in known | replaced)
        return (*found, Access(f"the step {step.name}", named)) if named else found


def deliver(project: Project, folder: str = "", pins: Mapping[str, Pin] = PINS) -> Plan:
    """The plan of the built-in pipeline ``deliver``.

    An image is tagged with the commit it was built from; it is deployed where the repository's variable
    ``SERINUS_CONTROL_URL`` says by whom.
    """
    whole = Step("check", ("serinus", "check", "--format", "github"), timeout=3600.0)
    # Nobody gives a pull request parameters: what runs where one says so is no step of its checks.
    before = (replace(step, env={}) for step in builtin.checks(project)[:-1] if not step.when)
    return Plan(
        builtin.deliver(project),
        project,
        folder,
        pins,
        overrides={
            "model": "github.event.client_payload.model",
            "tag": "github.sha",
            "deploy": "format('{0}', vars.SERINUS_CONTROL_URL != '')",
        },
        checks=(*before, whole),
        automatic=True,
    )


def filename(plan: Plan) -> str:
    """The name of the workflow's file: the pipeline's, and the service's where it shares a repository."""
    return (
        f"{plan.pipeline.name}-{plan.project.service.name}.yml"
        if plan.folder
        else f"{plan.pipeline.name}.yml"
    )
