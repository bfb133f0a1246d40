"""What the commands print: results on standard output, everything else on standard error.

With ``--json`` standard output carries one JSON document and nothing else, also when the command fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from serinus.cli.progress import Bars, Lines
from serinus.events import Noted

if TYPE_CHECKING:
    from rich.text import Text

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
        "--config",
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
        bars = sys.stderr.isatty() and not json
        self.observer: Bars | Lines = Bars(_to_stderr) if bars else Lines(_to_stderr)
        """Shows the library's events on standard error."""

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
            document = {"error": {"kind": kind, "message": message, "todo": todo}}
            click.echo(json.dumps(document, ensure_ascii=False))
        click.secho("error: ", fg="red", nl=False, err=True)
        _to_stderr(f"{message}\n{todo}" if todo else message)

    def note(self, message: str) -> None:
        """Something a person should know while the command works."""
        self.observer(Noted(message))

    def close(self) -> None:
        """End the progress display, if there is one."""
        self.observer.close()


def _to_stderr(text: str) -> None:
    click.echo(text, err=True)


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


def drawn(rows: Iterable[tuple[str, str]]) -> Text:
    """Lines and their colours as what a live display draws; each stays on one line of the terminal."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    for number, (told, colour) in enumerate(rows):
        text.append(("\n" if number else "") + told, style=colour)
    return text


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
