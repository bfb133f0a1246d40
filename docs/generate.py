"""Write the reference pages that are made from the code; `tests/docs` fails when they are out of date."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from serinus.checks import LAYERS
from serinus.checks.catalogue import CHECKS
from serinus.checks.fixtures import FIXTURES, PUBLIC
from serinus.cli import serinus
from serinus.project.file import keys

HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Every generated page, by path."""
    return {
        HERE / "reference/commands.md": "\n".join(commands()) + "\n",
        HERE / "reference/project-file.md": "\n".join(project_file()) + "\n",
        HERE / "reference/checks.md": "\n".join(checks()) + "\n",
        HERE / "reference/faults.md": "\n".join(faults()) + "\n",
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


def checks() -> Iterator[str]:
    """Every check, a table each layer; and what checks can take."""
    yield "# Checks\n\n<!-- made by docs/generate.py -->\n"
    yield "`serinus check` runs them in parallel. Bounds stand in the tables of `[checks]` in the"
    yield "[project file](project-file.md#checks); [what they catch](faults.md) is tested."
    for layer in LAYERS:
        found = [check for check in CHECKS if check.layer == layer]
        if found:
            yield f"\n## {layer}\n\n| check | looks at | why |\n|---|---|---|"
            yield from (f"| `{check.id}` | {_cell(check.looks_at)} | {_cell(check.why)} |" for check in found)
    yield "\n## Your own\n\nA function in `checks/*.py` under `@serinus.check`; see"
    yield "[how to add one](../how-to/add-a-check.md). It takes by the names of its parameters:\n"
    yield from _fixtures(lambda name: name in PUBLIC)
    yield "\nThese serve Serinus' own checks; they can be taken too, and may change:\n"
    yield from _fixtures(lambda name: name not in PUBLIC)


def _fixtures(wanted: Callable[[str], bool]) -> Iterator[str]:
    yield "| name | |\n|---|---|"
    yield from (f"| `{each.name}` | {_cell(each.about)} |" for each in FIXTURES if wanted(each.name))


def faults() -> Iterator[str]:
    """Every fault that the tests seed into an example, and the check that catches it."""
    sys.path.insert(0, str(HERE.parent / "tests/checks"))
    from test_faults import every

    yield "# What the checks catch\n\n<!-- made by docs/generate.py -->\n"
    yield "Each row is a test: the fault is seeded into a copy of the [example](../../examples), and the"
    yield "check must fail (or warn, where it says so) with this message. The examples as they are fail"
    yield "nothing.\n"
    yield "| fault | example | caught by | with a message that says |\n|---|---|---|---|"
    for fault in every():
        kind = " (warns)" if fault.warns else ""
        yield f"| {_cell(fault.name)} | {fault.example} | `{fault.check}`{kind} | {_cell(fault.message)} |"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def _shown(default: Any) -> str:
    if default is ...:
        return "required"
    return "none" if default is None else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(HERE.parent)}")
