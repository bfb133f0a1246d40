"""``serinus up``, ``deploy``, ``status`` and what else is asked of an environment."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from serinus.cli.output import Output, json_option, project_option, table

if TYPE_CHECKING:
    from serinus.environment.client import Environment, Rollout
    from serinus.environment.status import Event, Status

Function = TypeVar("Function", bound=Callable[..., Any])
STRATEGIES = ("canary", "blue-green", "shadow")


def _asking(function: Function) -> Function:
    """The options of every command that asks an environment."""
    url = click.option(
        "--url", metavar="URL", help="The control API.  [default: SERINUS_CONTROL_URL, or the project's]"
    )
    return project_option(url(json_option(function)))


def _environment(folder: str, url: str | None) -> Environment:
    from serinus.environment.client import Environment

    return Environment(url or (folder if folder != "." else None), project=folder)


@click.command()
@click.argument("image", required=False, metavar="[IMAGE]")
@click.option("--keep", is_flag=True, help="At the end leave router and replicas serving.")
@project_option
@json_option
@click.pass_obj
def up(output: Output, image: str | None, keep: bool, folder: str) -> int:
    """Run an environment: router, replicas, control API.

    It goes on where it was left. IMAGE is deployed first where nothing is in charge. Ctrl-C or SIGTERM ends
    it in good order.
    """
    from dataclasses import asdict

    from serinus.environment.place import folder_of
    from serinus.environment.up import Started, run
    from serinus.pipeline.served import served
    from serinus.project import Project

    gc.enable()  # this command lasts
    project = Project.load(folder)
    stop = threading.Event()

    def end(number: int, frame: object) -> None:
        if stop.is_set():  # somebody is tired of waiting
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)

    def ready(started: Started) -> None:
        output.result(asdict(started), [f"serving at {started.url}", f"control API at {started.control}"])

    state = folder_of(project.root)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with served(project, state / "triggers.log") as routes:
        return run(
            project,
            image=image,
            keep=keep,
            observer=output.observer,
            ready=ready,
            stop=stop,
            routes=routes,
        )


@click.command()
@project_option
@json_option
@click.pass_obj
def down(output: Output, folder: str) -> int:
    """Stop router and replicas that an environment has left behind.

    They go on serving when `serinus up` was killed, or ended with --keep.
    """
    from serinus.environment import up as environments
    from serinus.project import Project

    environments.down(Project.load(folder))
    output.result({"stopped": True}, ["stopped"])
    return 0


@click.command()
@click.argument("image", required=False, metavar="[IMAGE]")
@click.option("--strategy", type=click.Choice(STRATEGIES), help="Instead of that of the project.")
@click.option(
    "--watch/--no-watch",
    default=None,
    help="Show it until it is over.  [default: in a terminal]",
)
@_asking
@click.pass_obj
def deploy(
    output: Output, image: str | None, strategy: str | None, watch: bool | None, folder: str, url: str | None
) -> int:
    """Start a rollout.

    IMAGE is a tag or digest of the environment's layout, oci:PATH[:TAG] or a reference in a registry; without
    it, NAME:latest of the project. One that is refused for its report ends with 1, before anything is
    started. With --watch the exit code tells the end: 0 promoted, 1 aborted or superseded, 2 not known.
    Ctrl-C ends the watching alone; the rollout goes on.
    """
    from serinus.cli import DONE, NO
    from serinus.errors import CheckError
    from serinus.project import Project

    environment = _environment(folder, url)
    try:
        rollout = environment.deploy(image or f"{Project.load(folder).service.name}:latest", strategy)
    except CheckError as error:
        output.error(type(error).__name__, error.message, error.todo)
        return NO
    watching = sys.stderr.isatty() and not output.json if watch is None else watch
    if watching and rollout.number:
        return _watched(output, rollout)
    hint = ["`serinus status --watch` shows it"] if rollout.number else []
    output.result(_told(rollout, None, []), [rollout.message, *hint])
    return DONE


def _watched(output: Output, rollout: Rollout) -> int:
    from serinus.cli import DONE, INTERRUPTED, NO
    from serinus.cli.watching import display
    from serinus.rollout.state import End

    shown = display(output.json)
    events: list[Event] = []
    try:
        for look in rollout.looks(shown.every):
            events += look.events
            shown(look)
    except KeyboardInterrupt:
        shown.close()
        output.note(f"rollout {rollout.number} goes on: see `serinus status`, or end it by `serinus abort`")
        return INTERRUPTED
    finally:
        shown.close()
    end = rollout.end
    said = f": {events[-1].message}" if events else ""
    output.result(_told(rollout, end, events), [f"{rollout.version} was {end}{said}"])
    return DONE if end is End.PROMOTED else NO


def _told(rollout: Rollout, end: str | None, events: list[Event]) -> dict[str, Any]:
    from serinus.environment.api.documents import plain

    told = {"version": rollout.version, "number": rollout.number, "new": rollout.new, "end": end}
    document: dict[str, Any] = plain({**told, "message": rollout.message, "events": events})
    return document


@click.command()
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@_asking
@click.pass_obj
def status(output: Output, watch: bool, folder: str, url: str | None) -> None:
    """Show how the environment stands."""
    environment = _environment(folder, url)
    found = environment.status()
    if not watch:
        _show(output, found)
        return
    if output.json:
        raise click.UsageError("--json is one document, and --watch does not end: name one of them")
    from serinus.cli.watching import display

    shown = display(quiet=False)
    try:
        for look in environment.looks(found.last, shown.every):
            shown(look)
    except KeyboardInterrupt:
        return
    finally:
        shown.close()


def _show(output: Output, found: Status) -> None:
    from serinus.cli.watching import picture
    from serinus.environment.api.documents import plain

    output.result(plain(found), [line for line, _ in picture(found)])


@click.command()
@click.option("--full", is_flag=True, help="To 100 % at once, past all steps.")
@_asking
@click.pass_obj
def promote(output: Output, full: bool, folder: str, url: str | None) -> None:
    """Pass the step, open the gate, or end the bake time."""
    _show(output, _environment(folder, url).promote(full=full))


@click.command()
@click.option("--why", default="", metavar="TEXT", help="Goes into the history.")
@_asking
@click.pass_obj
def abort(output: Output, why: str, folder: str, url: str | None) -> None:
    """Send the candidate back: all traffic to the version in charge, at once."""
    _show(output, _environment(folder, url).abort(why))


@click.command()
@_asking
@click.pass_obj
def pause(output: Output, folder: str, url: str | None) -> None:
    """Stay at this weight; what is seen goes on being judged."""
    _show(output, _environment(folder, url).pause())


@click.command()
@_asking
@click.pass_obj
def resume(output: Output, folder: str, url: str | None) -> None:
    """Go on after a pause."""
    _show(output, _environment(folder, url).resume())


@click.command()
@_asking
@click.pass_obj
def undo(output: Output, folder: str, url: str | None) -> None:
    """Go back to the version before.

    While a rollout is under way, its candidate is sent back instead.
    """
    _show(output, _environment(folder, url).undo())


@click.command()
@click.option("--rollout", "number", type=click.IntRange(min=1), metavar="N", help="Only of this rollout.")
@click.option(
    "-n", "limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="The latest so many."
)
@_asking
@click.pass_obj
def history(output: Output, number: int | None, limit: int, folder: str, url: str | None) -> None:
    """Show what was decided, and why."""
    from serinus.checks.formats.text import one_line
    from serinus.environment.api.documents import plain

    environment = _environment(folder, url)
    chosen = environment.history(limit=limit, rollout=number or 0)
    rows = [
        (
            str(event.number),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at)),
            str(event.rollout or ""),
            event.kind,
            one_line(event.name),
            one_line(event.message),
        )
        for event in chosen
    ]
    output.result(plain(chosen), table([("", "when", "rollout", "what", "version", ""), *rows]))


@click.command()
@click.argument("version", metavar="VERSION")
@click.option("--follow", "-f", is_flag=True, help="Go on as more is written, until Ctrl-C.")
@_asking
@click.pass_obj
def logs(output: Output, version: str, follow: bool, folder: str, url: str | None) -> None:
    """Show what the replicas of a version have written.

    VERSION is a digest or its beginning, a name, or stable, candidate or previous.
    """
    if follow and output.json:
        raise click.UsageError("--json is one document, and --follow does not end: name one of them")
    environment = _environment(folder, url)
    text, since = environment.logs(version)
    if not follow:
        output.result({"version": version, "text": text}, [text.rstrip("\n")])
        return
    try:
        while True:
            click.echo(text, nl=False)
            time.sleep(0.5)
            text, since = environment.logs(version, since)
    except KeyboardInterrupt:
        return


@click.group()
def token() -> None:
    """The token of the control API."""


@token.command()
@project_option
@json_option
@click.pass_obj
def rotate(output: Output, folder: str) -> None:
    """Replace the token; the one before is refused from now on.

    An environment that runs takes the new one over at once.
    """
    from serinus.environment.api import token as tokens
    from serinus.environment.place import folder_of, token_file

    file = token_file(folder_of(Path(folder)))
    tokens.rotate(file)
    output.result({"file": str(file)}, [f"a new token is in {file}"])
