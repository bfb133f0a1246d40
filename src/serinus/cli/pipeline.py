"""``serinus run``, ``runs``, ``approve`` and ``graph``."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, here, json_option, project_option, table

if TYPE_CHECKING:
    from serinus.pipeline import Pipeline
    from serinus.pipeline.history import Past
    from serinus.pipeline.moments import RunResult
    from serinus.pipeline.record import RunRow
    from serinus.project import Project

_TAIL = 20
"""Lines of the log of a failed step that are shown."""


@click.command()
@click.argument("pipeline", required=False)
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--resume", is_flag=True, help="Go on with the latest run, where it stopped.")
@click.option("--force", is_flag=True, help="Run every step, even if nothing has changed.")
@click.option("--from", "start", metavar="STEP", help="Run this step and those behind it, changed or not.")
@click.option("--only", multiple=True, metavar="STEP", help="Run these steps alone.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Processes at once.  [default: one a core]")
@click.option("--fail-fast", is_flag=True, help="Start nothing more once a step has failed.")
@click.option("--no-wait", is_flag=True, help="End with 3 rather than wait for a person.")
@click.option("--dry-run", is_flag=True, help="Say what would be run, and why.")
@project_option
@json_option
@click.pass_obj
def run(
    output: Output,
    pipeline: str | None,
    params: tuple[str, ...],
    resume: bool,
    force: bool,
    start: str | None,
    only: tuple[str, ...],
    jobs: int | None,
    fail_fast: bool,
    no_wait: bool,
    dry_run: bool,
    folder: str,
) -> int:
    """Run a pipeline.

    PIPELINE is one of the project file, or `deliver`, which is built in; it may be left out where there is
    only one. Steps whose inputs have not changed are not run again.
    """
    from serinus.pipeline.known import pipeline_of
    from serinus.pipeline.parameters import split
    from serinus.project import Project

    project = Project.load(folder)
    found, values = pipeline_of(project, pipeline), split(params)
    options: dict[str, Any] = {"force": force, "start": start or "", "only": only}
    if dry_run:
        return _foresee(output, project, found, values, options)
    options |= {"resume": resume, "jobs": jobs, "fail_fast": fail_fast, "wait": not no_wait}
    return show_run(output, project, found, values, options)


def show_run(
    output: Output, project: Project, pipeline: Pipeline, params: dict[str, str], options: dict[str, Any]
) -> int:
    """Run a pipeline with a display, and questions to whoever sits at the terminal; the exit code."""
    from serinus.cli.running import Asker, Live, display, outcome_lines
    from serinus.pipeline.approvals import approve as answer
    from serinus.pipeline.run import run_pipeline

    gc.enable()  # this command may last
    shown = display(output.json)
    asker = None
    if isinstance(shown, Live) and sys.stdin.isatty() and options["wait"]:
        asker = Asker(shown, lambda run, step, yes: answer(project.root, run, step, yes=yes))
    try:
        result = run_pipeline(project, pipeline, params, tell=asker or shown, **options)
    finally:
        if asker is not None:
            asker.close()
        shown.close()
    if isinstance(shown, Live):
        _show_failures(project, result)
    output.result(result.to_json(), outcome_lines(result))
    return _code(output, result)


def _code(output: Output, result: RunResult) -> int:
    from serinus.cli import DONE, NO, WAITS
    from serinus.pipeline.plan import Outcome, State

    if result.outcome is Outcome.WAITING:
        for step in result.steps:
            if step.state is State.ASKING:
                output.note(
                    f"answer it: `serinus approve {result.id} {step.name}`, then `serinus run --resume`"
                )
        return WAITS
    return DONE if result.outcome is Outcome.DONE else NO


def _show_failures(project: Project, result: RunResult) -> None:
    """The end of the log of each step that failed, on standard error."""
    from serinus.checks.formats.text import one_line
    from serinus.pipeline.history import log
    from serinus.pipeline.plan import State

    for step in result.steps:
        if step.state is State.FAILED:
            lines = log(project.root, result.id, step.name).decode("utf-8", "replace").splitlines()
            for line in lines[-_TAIL:]:
                click.echo(f"  {step.name} | {one_line(line)}", err=True)


def _foresee(
    output: Output, project: Project, pipeline: Pipeline, values: dict[str, str], options: dict[str, Any]
) -> int:
    from serinus.cli import DONE
    from serinus.pipeline.preview import preview

    steps = preview(project, pipeline, values, **options)
    document = [{"step": one.step, "what": one.what, "why": one.why} for one in steps]
    output.result({"steps": document}, table([(one.step, one.what, one.why) for one in steps]))
    return DONE


@click.group(invoke_without_command=True)
@click.option("--pipeline", help="Runs of this one alone.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@project_option
@json_option
@click.pass_context
def runs(context: click.Context, pipeline: str | None, limit: int, folder: str) -> None:
    """List the runs of pipelines, the last one first."""
    from serinus.pipeline.history import run_json
    from serinus.pipeline.history import runs as past
    from serinus.project import Project

    if context.invoked_subcommand is not None:
        if folder != ".":
            raise click.UsageError(f"-C stands behind {context.invoked_subcommand}", context)
        return
    output: Output = context.obj
    found = past(Project.load(folder).root, pipeline, limit)
    head = ("run", "outcome", "began", "took", "who", "parameters")
    rows = [head, *map(_row, found)] if found else [("no runs yet",)]
    output.result([run_json(row) for row in found], table(rows))


def _row(row: RunRow) -> tuple[str, ...]:
    from serinus.checks.formats.text import clock, one_line

    took = clock(row.ended - row.began) if row.ended is not None else ""
    params = one_line(" ".join(f"{name}={value}" for name, value in row.params.items()))
    return row.id, row.outcome.value, _when(row.began), took, row.who, params


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


@runs.command()
@click.argument("run", metavar="RUN")
@project_option
@json_option
@click.pass_obj
def show(output: Output, run: str, folder: str) -> None:
    """Show a run: its parameters, steps, and who approved what."""
    from serinus.pipeline.history import show as past
    from serinus.project import Project

    found = past(Project.load(folder).root, run)
    output.result(found.to_json(), _told(found))


def _told(past: Past) -> list[str]:
    from serinus.checks.formats.text import clock, one_line
    from serinus.cli.running import MARKS

    row = past.run
    told = [f"{row.id} {row.outcome.value}, began {_when(row.began)}, by {row.who}"]
    if row.revision:
        told.append(f"at {row.revision}")
    told += [one_line(f"{name} = {value}") for name, value in row.params.items()]
    told += table(
        [
            (
                MARKS[step.state],
                step.step,
                step.state.value,
                clock(step.seconds) if step.seconds else "",
                "" if step.code is None else f"exit {step.code}",
                f"{step.attempts} attempts" if step.attempts > 1 else "",
                one_line(step.reason),
            )
            for step in past.steps
        ]
    )
    for one in past.questions:
        answered = (
            f"{one.answer} by {one.who}, {_when(one.at)}" if one.at is not None else "nobody has answered"
        )
        comment = f": {one_line(one.comment)}" if one.comment else ""
        told.append(f"? {one.step}: {one_line(one.evidence['question'])}  {answered}{comment}")
    return told


@runs.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="STEP")
@project_option
@json_option
@click.pass_obj
def logs(output: Output, run: str, step: str, folder: str) -> None:
    """Show what a step of a run printed."""
    from serinus.checks.formats.text import clean
    from serinus.pipeline.history import log
    from serinus.project import Project

    text = log(Project.load(folder).root, run, step).decode("utf-8", "replace")
    output.result({"run": run, "step": step, "log": text}, clean(text).splitlines())


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="STEP")
@click.option("--no", "no", is_flag=True, help="Decline.")
@click.option("--comment", default="", help="Why, for those who look later.")
@project_option
@json_option
@click.pass_obj
def approve(output: Output, run: str, step: str, no: bool, comment: str, folder: str) -> None:
    """Answer the question of a step that waits for a person."""
    from serinus.cli.running import evidence_lines
    from serinus.pipeline.approvals import approve as answer
    from serinus.project import Project

    answered = answer(Project.load(folder).root, run, step, yes=not no, comment=comment)
    told = f"{'declined' if no else 'approved'} by {answered.who}"
    document = {"run": run, "step": step, "answer": answered.answer, "who": answered.who, "comment": comment}
    output.result(document, [*evidence_lines(answered.evidence), told])


@click.command()
@click.argument("pipeline", required=False)
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw it there.")
@project_option
@json_option
@click.pass_obj
def graph(output: Output, pipeline: str | None, svg: Path | None, folder: str) -> None:
    """Show what a pipeline does, in which order."""
    from serinus.files import write_atomically
    from serinus.pipeline.declared import checked
    from serinus.pipeline.drawing import drawn
    from serinus.pipeline.graph import listed
    from serinus.pipeline.known import pipeline_of
    from serinus.pipeline.words import greedy
    from serinus.project import Project

    found = checked(pipeline_of(Project.load(folder), pipeline))
    for step in found.pipeline.steps:
        if hint := greedy(step):
            output.note(f"hint: {hint}")
    if svg is not None:
        write_atomically(svg, drawn(found).encode())
    steps = [
        {"name": name, "needs": list(found.needs[name]), "reads": sorted(found.reads[name])}
        for name in found.order
    ]
    document = {"pipeline": found.pipeline.name, "steps": steps, "svg": None if svg is None else str(svg)}
    output.result(document, [f"wrote {here(svg)}"] if svg is not None else table(listed(found)))
