"""``serinus watch``: a pipeline for each new version of a model, once."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serinus.cli.output import Output, json_option, project_option

if TYPE_CHECKING:
    from serinus.pipeline.triggers import Ledger
    from serinus.pipeline.watch import Heard, Watch


@click.command()
@click.argument("model", required=False, metavar="[NAME[@ALIAS]]")
@click.option("--run", "pipeline", metavar="PIPELINE", help="What is run.")
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the runs.")
@click.option("--every", type=click.FloatRange(0.1, 86400), default=10.0, show_default=True, help="Seconds.")
@click.option("--all", "everything", is_flag=True, help="Also for what is there before the first look.")
@click.option("--once", is_flag=True, help="Look once, run what is to be run, and end: for cron.")
@project_option
@json_option
@click.pass_obj
def watch(
    output: Output,
    model: str | None,
    pipeline: str | None,
    params: tuple[str, ...],
    every: float,
    everything: bool,
    once: bool,
    folder: str,
) -> None:
    """Run a pipeline for each version of a model that is registered, once.

    With NAME@ALIAS it is run whenever the alias points at another version. The pipeline is told the version
    by its parameter `model`. What is there at the very first look is no news, but with --all. After a stop or
    a kill it goes on where it was. Without NAME only the triggers of the control API are worked off.
    """
    from serinus.pipeline.triggers import Ledger
    from serinus.project import Project

    if (model is None) != (pipeline is None):
        raise click.UsageError("a model and --run PIPELINE belong together; name both, or neither")
    gc.enable()  # this command lasts
    project = Project.load(folder)
    ledger = Ledger(project.root)
    try:
        _watch(output, project.root, _asked(folder, model, pipeline, params), ledger, every, everything, once)
    finally:
        ledger.close()


def _asked(folder: str, model: str | None, pipeline: str | None, params: tuple[str, ...]) -> Watch | None:
    """What is to be watched; what is wrong with it is told before the first look."""
    from serinus.pipeline.known import pipeline_of
    from serinus.pipeline.parameters import bind, split
    from serinus.pipeline.triggers import MODEL, Subject
    from serinus.pipeline.watch import Watch, check
    from serinus.project import Project

    if model is None or pipeline is None:
        return None
    found, given = pipeline_of(Project.load(folder), pipeline), split(params)
    check(found)
    bind(found, {**given, MODEL: model})
    return Watch(Subject.parse(model), pipeline, given)


def _watch(
    output: Output,
    root: Path,
    asked: Watch | None,
    ledger: Ledger,
    every: float,
    everything: bool,
    once: bool,
) -> None:
    from serinus.cli.running import Lines
    from serinus.models.registry import ModelRegistry
    from serinus.pipeline.watch import Watcher
    from serinus.project import Project

    shown = Lines(lambda text: click.echo(text, err=True))
    heard: list[Heard] = []

    def hear(one: Heard) -> None:
        heard.append(one)
        shown.say(line(one))

    project = Project.load(root)
    watcher = Watcher(
        lambda: Project.load(root), ledger, ModelRegistry.of(project).numbers, hear=hear, tell=shown
    )
    if asked is not None:
        watcher.look(asked, everything=everything)
    if once:
        watcher.work()
        output.result([as_json(one) for one in heard], [])
        return
    output.note(f"watching {asked.subject}" if asked else "waiting for triggers")
    watcher.run(asked, threading.Event(), every=every)


def line(heard: Heard) -> str:
    """What happened, for a person."""
    from serinus.checks.formats.text import one_line
    from serinus.pipeline.watch import Blind, Triggered

    match heard:
        case Triggered(pipeline, model):
            return f"{model} is new: {pipeline} is to run"
        case Blind(why):
            return f"the model registry could not be asked: {one_line(why)}"
    why = f": {one_line(heard.why)}" if heard.why else ""
    return f"{heard.run or heard.trigger.pipeline} for {heard.trigger.model}: {heard.outcome}{why}"


def as_json(heard: Heard) -> dict[str, object]:
    """The same for programs."""
    from serinus.pipeline.watch import Blind, Triggered

    match heard:
        case Triggered(pipeline, model):
            return {"what": "triggered", "pipeline": pipeline, "model": model}
        case Blind(why):
            return {"what": "blind", "why": why}
    trigger = heard.trigger
    return {
        "what": "over",
        "pipeline": trigger.pipeline,
        "model": trigger.model,
        "run": heard.run,
        "outcome": str(heard.outcome),
        "why": heard.why,
    }
