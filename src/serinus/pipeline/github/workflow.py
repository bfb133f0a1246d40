"""A pipeline and a project -> the text of a workflow, its places empty. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from serinus.errors import PipelineError
from serinus.pipeline import Step
from serinus.pipeline.access import model
from serinus.pipeline.github import expressions
from serinus.pipeline.github.around import CHECKS, handed_on, looked_at, prepared, report, runs, taken_over
from serinus.pipeline.github.emit import Place, Space, text_of
from serinus.pipeline.github.inputs import inputs
from serinus.pipeline.github.logins import rights
from serinus.pipeline.github.plan import Plan, filename
from serinus.pipeline.github.stages import Stage

MODEL_REGISTERED = "model-registered"
"""Type of the ``repository_dispatch`` event that says that a model was registered."""
_LONGEST = 360
"""Minutes after which GitHub ends any job."""
_PULL_REQUEST, _NO_PULL_REQUEST = "github.event_name == 'pull_request'", "github.event_name != 'pull_request'"


def workflow(plan: Plan) -> str:
    """The text of the workflow, without the head that ``places`` puts before it.

    Raises:
        PipelineError: something of the pipeline cannot be had at GitHub; says what.
    """
    jobs: dict[Any, Any] = {"check": _pull_request(plan)} if plan.checks else {}
    for number, stage in enumerate(plan.stages):
        jobs |= {Space(number): None} if jobs else {}
        jobs[stage.job] = _job(plan, number, stage)
    shell = {"shell": "bash", **({"working-directory": plan.folder} if plan.folder else {})}
    name = plan.pipeline.name if not plan.folder else f"{plan.pipeline.name} {plan.project.service.name}"
    return text_of(
        {
            "name": expressions.literal(name),
            "on": _triggers(plan),
            "permissions": {},
            "concurrency": {
                "group": f"{expressions.literal(name)} ${{{{ github.ref }}}}",
                # A delivery under way is never cut off: the next one waits.
                "cancel-in-progress": f"${{{{ {_PULL_REQUEST} }}}}" if plan.checks else False,
            },
            "defaults": {"run": shell},
            "env": {"PIP_DISABLE_PIP_VERSION_CHECK": "1", Place("env"): None},
            "jobs": {**jobs, Place("jobs"): None},
        }
    )


def _triggers(plan: Plan) -> dict[Any, Any]:
    paths = {"paths": [f"{plan.folder}/**", f".github/workflows/{filename(plan)}"]} if plan.folder else {}
    found: dict[Any, Any] = {}
    if plan.automatic:
        found["push"] = {"branches": [plan.project.ci.branch], **paths}
    if plan.checks:
        found["pull_request"] = paths
    by_hand = inputs(plan.pipeline.parameters, plan.overrides)
    found["workflow_dispatch"] = {"inputs": by_hand} if by_hand else {}
    if plan.automatic:
        found["repository_dispatch"] = {"types": [MODEL_REGISTERED]}
    return {**found, Place("triggers"): None}


def _pull_request(plan: Plan) -> dict[Any, Any]:
    """The job that checks a pull request; it may be anybody's, so it can do nothing but read."""
    needed = (model(plan.project, oidc=plan.project.ci.oidc),)
    steps = [
        *prepared(plan, plan.checks, needed),
        Place("check-before"),
        *(_step(plan, step, {}) for step in plan.checks),
        Place("check-after"),
        report(plan),
    ]
    return {
        "if": _PULL_REQUEST,
        "runs-on": plan.project.ci.runner,
        "timeout-minutes": _minutes(plan.checks),
        "permissions": rights(needed, oidc=plan.project.ci.oidc),
        "steps": steps,
    }


def _job(plan: Plan, number: int, stage: Stage) -> dict[Any, Any]:
    needed = [access for step in stage.steps for access in plan.access(step)]
    last = number == len(plan.stages) - 1
    later = () if last else plan.stages[number + 1 :]
    before = [one.job for one in plan.stages[:number]]
    job: dict[Any, Any] = {"needs": before} if before else {}
    if condition := _job_condition(plan, stage, behind=bool(before)):
        job["if"] = condition
    job |= {"runs-on": plan.project.ci.runner}
    job |= {"environment": expressions.literal(stage.environment)} if stage.environment else {}
    job |= {"timeout-minutes": _minutes(stage.steps)}
    job |= {"permissions": rights(needed, oidc=plan.project.ci.oidc)}
    # Every job works the values out anew: GitHub hands on no output that holds the value of a secret, and
    # the user of a registry, which is one, is often a part of the image's name.
    values = {held: f"${{{{ {plan.value(name)} }}}}" for name, held in plan.variables.items()}
    job |= {"env": values} if values else {}
    job["steps"] = [
        *looked_at(plan, number),
        *prepared(plan, stage.steps, needed),
        *taken_over(plan, number),
        Place(f"{stage.job}-before"),
        *(_step(plan, step, plan.variables, shared=stage.when if before else "") for step in stage.steps),
        Place(f"{stage.job}-after"),
        *([report(plan)] if any(runs(step, CHECKS) for step in stage.steps) else []),
        *handed_on(plan, stage, later),
    ]
    return job


def _job_condition(plan: Plan, stage: Stage, *, behind: bool) -> str:
    """When a job runs. One behind another also where that was left out, but not where it failed."""
    parts = [_NO_PULL_REQUEST] if plan.checks else []
    if not behind:
        return " && ".join(parts)
    if stage.when:
        held = expressions.condition(
            stage.when, plan.pipeline.parameters, lambda name: f"({plan.value(name)})"
        )
        parts.append(f"({held})")
    return f"${{{{ {' && '.join(['!failure()', '!cancelled()', *parts])} }}}}"


def _minutes(steps: Sequence[Step]) -> int:
    """The longest that a job may take: what its steps may, and ten minutes for what stands around them."""
    if any(step.timeout is None for step in steps):
        return _LONGEST
    attempts = (math.ceil((step.timeout or 0) / 60) * (step.retries + 1) for step in steps)
    return min(_LONGEST, sum(attempts) + 10)


def _step(plan: Plan, step: Step, names: Mapping[str, str], *, shared: str = "") -> dict[str, Any]:
    """One step of the pipeline, as one of the workflow.

    Args:
        plan: the plan.
        step: it has a command.
        names: the variables of the parameters, where the job has them.
        shared: a condition that the whole job has already.
    """
    found: dict[str, Any] = {"name": expressions.literal(step.name)}
    if step.when and step.when != shared:
        found["if"] = expressions.condition(
            step.when, plan.pipeline.parameters, lambda name: f"env.{names[name]}"
        )
    if step.timeout is not None:
        found["timeout-minutes"] = math.ceil(step.timeout / 60) * (step.retries + 1)
    env = {name: expressions.filled(text, names) for name, text in step.env.items()}
    for access in plan.access(step):
        env |= {name: f"${{{{ vars.{name} }}}}" for name in access.variables}
        env |= access.env
        env |= {name: f"${{{{ secrets.{_allowed(name)} }}}}" for name in access.secrets}
    if env:
        found["env"] = env
    found["run"] = _tried(expressions.script(step.command, names), step.retries)
    return found


def _allowed(name: str) -> str:
    """The name of a secret, as GitHub lets one be called."""
    if name.upper().startswith("GITHUB_") and name != "GITHUB_TOKEN":
        raise PipelineError(
            f"the secret {name} cannot be kept at GitHub, where no secret's name begins with GITHUB_",
            "Call it otherwise.",
        )
    return name


def _tried(command: str, retries: int) -> str:
    if not retries:
        return command
    return (
        f'for left in $(seq {retries} -1 0); do\n  {command} && break\n  [ "$left" -gt 0 ] || exit 1\ndone\n'
    )
