"""What the commands print: results on standard output, everything else on standard error.

With ``--json`` standard output carries one JSON document and nothing else, also when the command fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from serinus.events import Event, Finished, Noted, Observer, Progress, Started

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """The option that every command has; :class:`Output` looks at it."""
    option = click.option(
        "--json", "json_", is_flag=True, expose_value=False, help="One JSON document on stdout."
    )
    return option(function)


def project_option(function: Function) -> Function:
    """The option that names the project."""
    option = click.option(
        "--project",
        "-C",
        "folder",
        default=".",
        show_default="here",
        metavar="DIR",
        help="The project's folder, or its file.",
    )
    return option(function)


class Output:
    """Where a command's result, errors and events go.

    Args:
        json: whether standard output carries one JSON document.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self._display: Any = None

    def result(self, document: Any, lines: Iterable[str]) -> None:
        """The command's result, as a document or as lines for a person."""
        self.close()
        text = json.dumps(document, indent=1, ensure_ascii=False) if self.json else "\n".join(lines)
        if text:
            click.echo(text)

    def error(self, kind: str, message: str, todo: str) -> None:
        """Why the command failed and what to do next."""
        self.close()
        if self.json:
            click.echo(
                json.dumps({"error": {"kind": kind, "message": message, "todo": todo}}, ensure_ascii=False)
            )
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(message, err=True)
        if todo:
            click.echo(todo, err=True)

    def note(self, message: str) -> None:
        """Something a person should know while the command works."""
        if self._display is not None:
            self._display.console.print(message, markup=False, highlight=False)
        else:
            click.echo(message, err=True)

    @property
    def observer(self) -> Observer:
        """The observer for the library: bars in a terminal, a line for each finished step elsewhere."""
        return self._bars() if sys.stderr.isatty() and not self.json else self._lines

    def close(self) -> None:
        """End the progress display, if there is one."""
        if self._display is not None:
            self._display.stop()
            self._display = None

    def _lines(self, event: Event) -> None:
        match event:
            case Finished(step, seconds, detail):
                self.note(f"{step:<32} {seconds:7.2f} s  {detail}".rstrip())
            case Noted(message):
                self.note(message)

    def _bars(self) -> Observer:
        """An observer that shows what is under way, once it takes longer than a glance."""
        tasks: dict[str, Any] = {}

        def observe(event: Event) -> None:
            match event:
                case Progress(step, done, total):
                    if self._display is None:
                        self._display = _progress()
                        self._display.start()
                    if step not in tasks:
                        tasks[step] = self._display.add_task(step, total=total)
                    self._display.update(tasks[step], completed=done, total=total)
                case Finished(step):
                    if self._display is not None and step in tasks:
                        self._display.remove_task(tasks.pop(step))
                    self._lines(event)
                case Noted():
                    self._lines(event)
                case Started():
                    return

        return observe


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<32}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Bars(*columns, console=Console(stderr=True), transient=True)


def here(path: Path) -> str:
    """A path as a person would write it: relative to the current folder where it lies below it."""
    current = Path.cwd()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)


def human_size(size: int) -> str:
    """``12.3 MB``: decimal units with three digits, as registries show them."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
