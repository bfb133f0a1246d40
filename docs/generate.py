"""Write the reference pages that are made from the code; `tests/docs` fails when they are out of date."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from serinus.cli import serinus
from serinus.project.file import keys

HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Every generated page, by path."""
    return {
        HERE / "reference/commands.md": "\n".join(commands()) + "\n",
        HERE / "reference/project-file.md": "\n".join(project_file()) + "\n",
    }


def commands() -> Iterator[str]:
    """The command line, a section each command, as its help has it."""
    yield "# Commands\n\n<!-- made by docs/generate.py -->\n"
    yield from _command(serinus, ("serinus",), 2)


def _command(command: click.Command, path: tuple[str, ...], level: int) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path), max_content_width=100, terminal_width=100)
    yield f"{'#' * level} {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _command(inner, (*path, name), level + 1)


def project_file() -> Iterator[str]:
    """Every key of the project file, a table each section."""
    yield "# Project file\n\n<!-- made by docs/generate.py -->\n"
    yield "`serinus.toml`, or the same tables under `[tool.serinus]` in `pyproject.toml`."
    yield "An unknown key is an error."
    section = ""
    for name, default, text in keys():
        table, key = name.rsplit(".", 1)
        if table != section:
            section = table
            yield f"\n## [{table}]\n\n| key | default | |\n|---|---|---|"
        yield f"| `{key}` | {_shown(default)} | {text} |"


def _shown(default: Any) -> str:
    if default is ...:
        return "required"
    return "none" if default is None else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(HERE.parent)}")
