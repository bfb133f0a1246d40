"""``serinus ci`` and ``serinus deliver``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, here, json_option, project_option, table
from serinus.cli.pipeline import run

if TYPE_CHECKING:
    from serinus.pipeline.github.plan import Plan


@click.group()
def ci() -> None:
    """Write what a service for continuous integration runs."""


@ci.command()
@click.argument("pipeline", default="deliver", metavar="[PIPELINE]")
@click.option("--check", is_flag=True, help="Write nothing; end with 1 if the file is not up to date.")
@click.option("--secrets", is_flag=True, help="Write nothing; list what each step takes from the repository.")
@click.option("--force", is_flag=True, help="Write over what was changed outside of the marked places.")
@project_option
@json_option
@click.pass_obj
def github(output: Output, pipeline: str, check: bool, secrets: bool, force: bool, folder: str) -> int:
    """Write the workflow of a pipeline for GitHub Actions.

    PIPELINE is one of the project's, or `deliver`, which is built in. The file is
    .github/workflows/PIPELINE.yml in the git repository; written again, it keeps what stands in its marked
    places.
    """
    from serinus.cli import DONE, NO
    from serinus.pipeline.github import files
    from serinus.project import Project

    project = Project.load(folder)
    plan = files.plan_for(project, pipeline)
    if secrets:
        return _secrets(output, plan)
    made = files.make(plan, force=force or check)
    if check:
        document = {"file": str(made.path), "changed": made.changed, "difference": made.difference}
        fresh = f"{here(made.path)} is up to date"
        output.result(document, [made.difference if made.changed else fresh])
        if made.changed:
            output.note(f"{here(made.path)} is not up to date: run `serinus ci github`, and commit it")
        return NO if made.changed else DONE
    written = files.write(made, project)
    output.result(
        {"file": str(made.path), "files": [str(path) for path in written]},
        [f"wrote {here(path)}" for path in written] or [f"{here(made.path)} was up to date"],
    )
    if note := files.not_there(project):
        output.note(note)
    return DONE


def _secrets(output: Output, plan: Plan) -> int:
    from serinus.cli import DONE
    from serinus.pipeline.github.secrets import taken

    found = taken(plan)
    rows = [("job", "step", "name", "", "for"), *((t.job, t.step, t.name, t.where, t.why) for t in found)]
    document = [
        {"job": t.job, "step": t.step, "name": t.name, "kept_as": t.where, "for": t.why} for t in found
    ]
    output.result(document, table(rows) if found else ["no step takes a secret"])
    return DONE


def _deliver(**given: Any) -> Any:
    assert run.callback is not None  # noqa: S101 - it is a command
    return run.callback(pipeline="deliver", **given)


deliver = click.Command(
    "deliver",
    callback=_deliver,
    params=[parameter for parameter in run.params if parameter.name != "pipeline"],
    help="""Take the project to production: retrieve, check, build, verify, publish, deploy.

    The same as `serinus run deliver`. What there is no place for is left out: without image.repository
    nothing is published, without an environment nothing is deployed. -p gives a parameter: tag, publish,
    repository, deploy, strategy, and model where the project names one.
    """,
)
