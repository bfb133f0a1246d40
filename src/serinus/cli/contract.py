"""``serinus contract``: show it, write it, compare two of them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from serinus.cli.output import Output, here, json_option, project_option


@click.group()
def contract() -> None:
    """What callers rely on: show, write, compare."""


@contract.command()
@click.argument("what", default=".", metavar="[PROJECT|FILE|IMAGE]")
@json_option
@click.pass_obj
def show(output: Output, what: str) -> None:
    """Show the contract of a project, file or image."""
    from serinus.image.promises import contract_of

    document = json.loads(contract_of(what, observer=output.observer).to_json())
    output.result(document, [json.dumps(document, indent=2, ensure_ascii=False)])


@contract.command()
@click.option("--from-examples", is_flag=True, help="Draw the schemas from the project's examples.")
@project_option
@json_option
@click.pass_obj
def write(output: Output, from_examples: bool, folder: str) -> None:
    """Write the project's contract to files.

    They are request.json and response.json, and are named in the project file.
    """
    from serinus.image.promises import write as write_contract

    written = write_contract(Path(folder), from_examples=from_examples, observer=output.observer)
    output.result({"files": [str(path) for path in written]}, [f"wrote {here(path)}" for path in written])


@contract.command()
@click.argument("old")
@click.argument("new")
@project_option
@json_option
@click.pass_obj
def diff(output: Output, old: str, new: str, folder: str) -> int:
    """Compare two contracts; exit code 1 when the change breaks callers.

    OLD and NEW are projects (folders), contract files or images; tags are those of the project's layout.
    """
    from serinus.cli import DONE, NO
    from serinus.contract.compare import compare
    from serinus.image.promises import contract_of

    before, after = (contract_of(what, here=folder, observer=output.observer) for what in (old, new))
    changes = compare(before, after)
    breaking = [change for change in changes if change.breaking]
    lines = [
        f"{'BREAKS' if c.breaking else 'ok    '}  {c.side} {c.pointer or '(whole)'}: {c.why}" for c in changes
    ]
    verdict = f"{len(breaking)} of {len(changes)} changes break callers" if changes else "no change"
    document = {
        "breaking": bool(breaking),
        "changes": [
            {"side": c.side, "pointer": c.pointer, "kind": c.kind, "breaking": c.breaking, "why": c.why}
            for c in changes
        ],
    }
    output.result(document, [*lines, verdict])
    return NO if breaking else DONE
