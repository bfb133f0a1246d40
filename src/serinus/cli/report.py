"""``serinus report``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serinus.cli.output import Output, human_size, json_option, project_option, table

if TYPE_CHECKING:
    from serinus.checks import Finding, Verdict
    from serinus.checks.report import Report
    from serinus.registry import Descriptor, Source


@click.command()
@click.argument("reference", metavar="REF")
@click.option(
    "--require", multiple=True, metavar="CHECK", help="Exit 1 unless this check or layer passed; repeatable."
)
@click.option(
    "--layers/--no-layers", default=True, show_default=True, help="Verify every byte of the layers too."
)
@project_option
@json_option
@click.pass_obj
def report(output: Output, reference: str, require: tuple[str, ...], layers: bool, folder: str) -> int:
    """Show the report of an image, and verify both.

    REF is a tag of the layout, oci:PATH[:TAG], or a reference in a registry. Every byte of the image and of
    the report is held to its digest; nothing is kept. Exit 1 if the report failed or does not show what is
    required, 2 if there is no report, a check could not run, or something was changed.
    """
    from serinus.checks.gate import unmet
    from serinus.checks.statement import read, verify

    with _found(reference, folder) as (source, image):
        size = verify(source, image, layers=layers)
        found = read(source, image)
    faults = unmet(found, require)
    document = {"report": found.to_json(), "status": found.status.value, "unmet": list(faults)}
    document |= {"digest": image.digest, "verified": {"bytes": size, "layers": layers}}
    verified = f"verified: {human_size(size)} of {image.digest}" + ("" if layers else ", without its layers")
    output.result(document, [*_lines(found), *(f"unmet: {fault}" for fault in faults), verified])
    return _code(found, faults)


@contextmanager
def _found(reference: str, folder: str) -> Iterator[tuple[Source, Descriptor]]:
    """The image that a person named, where it is: nothing is brought here."""
    from serinus.errors import NotFound
    from serinus.image.stages import FOLDER
    from serinus.registry.layout import Layout
    from serinus.registry.places import OCI, opened, place

    if not reference.startswith(OCI):
        root = Path(folder) if Path(folder).is_dir() else Path(folder).parent
        layout = Layout(root / FOLDER / "layout")
        try:
            image = layout.resolve(reference)
        except NotFound:
            if "/" not in reference:  # no registry's name then
                raise
        else:
            yield layout, image
            return
    where = place(reference)
    with opened(where) as source:
        yield source, source.resolve(where.name)


def _lines(report: Report) -> list[str]:
    lines: list[str] = []
    for layer, verdicts in report.layers().items():
        lines.append(layer)
        rows = [(f"  {v.status.value}", v.check, v.summary) for v in verdicts]
        for row, verdict in zip(table(rows), verdicts, strict=True):
            lines += [row, *_findings(verdict)]
    when = f", {report.begin}" if report.begin else ""
    whole = "" if report.complete else "; some checks alone"
    lines.append(f"{report.name}: {report.status.value} in {report.seconds:.1f} s{when}{whole}")
    return lines


def _findings(verdict: Verdict) -> Iterator[str]:
    for finding in verdict.findings:
        yield "    " + " ".join(filter(None, [_place(finding), finding.message]))
        if finding.todo:
            yield f"      {finding.todo}"


def _place(finding: Finding) -> str:
    line = "" if finding.line is None else f"{finding.line}:"
    file = f"{finding.file}:{line}" if finding.file else ""
    return file + (f" at {finding.pointer or 'the root'}:" if finding.pointer is not None else "")


def _code(report: Report, faults: tuple[str, ...]) -> int:
    from serinus.checks import Status
    from serinus.cli import DONE, FAILED, NO

    if faults or report.status is Status.FAILED:
        return NO
    return FAILED if report.status is Status.BLOCKED else DONE
