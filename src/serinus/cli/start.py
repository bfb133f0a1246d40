"""``serinus init`` and ``serinus config``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from serinus.cli.output import Output, json_option, project_option, table


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="Name of the service.  [default: from the model's or the folder's name]")
@project_option
@json_option
@click.pass_obj
def init(output: Output, model: Path | None, name: str | None, folder: str) -> None:
    """Start a project around a model.

    MODEL is an ONNX file, which is served as it is. Without it the project is a small typed function.
    """
    from serinus.project.start import start

    written = start(Path(folder), model, name)
    lines = [f"wrote {path}" for path in written]
    there = "" if folder == "." else f" -C {folder}"
    lines.append(f"Next: `serinus serve{there}` to try it here, `serinus build{there}` for an image.")
    output.result({"files": [str(path) for path in written]}, lines)


@click.command()
@click.option("--list", "list_", is_flag=True, help="Every key with its default and what it is for.")
@project_option
@json_option
@click.pass_obj
def config(output: Output, list_: bool, folder: str) -> None:
    """Show the project, or every key there is."""
    from serinus.project import Project
    from serinus.project.file import describe, keys

    if list_:
        known = [(name, default, text) for name, default, text in keys()]
        document: Any = [{"key": n, "default": None if d is ... else d, "about": t} for n, d, t in known]
        output.result(document, table([(n, "required" if d is ... else _shown(d), t) for n, d, t in known]))
        return
    described = describe(Project.load(folder))
    lines = [f"{name} = {_shown(value)}" for name, value in _flat(described) if name != "root"]
    output.result(described, [f"# {described['root']}", *lines])


def _flat(table: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _shown(value: Any) -> str:
    return "-" if value is None else json.dumps(value)
