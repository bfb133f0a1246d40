"""``serinus check`` on a screen, in a log and into files: what happens meanwhile, and what came of it."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click

from serinus.checks import LAYERS, Check, Status, Verdict
from serinus.checks.formats import FORMATS
from serinus.checks.formats.lines import COLOURS, line
from serinus.checks.formats.text import MARKS, clock, one_line, place
from serinus.checks.report import Report
from serinus.checks.run import Began, Ended, Moment, Planned
from serinus.cli.output import drawn
from serinus.errors import CheckError
from serinus.events import Event, Finished, Noted, Progress, Started
from serinus.files import write_atomically

if TYPE_CHECKING:
    from rich.text import Text

PREPARING = "preparing"
"""The branch of what checks look at."""


@dataclass(frozen=True)
class Seen:
    """What is known of a run under way; :meth:`after` gives what is known next."""

    titles: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, float] = field(default_factory=dict)
    """Name of a job -> when it began."""
    ended: Mapping[str, Ended] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=dict)
    """Step of a build or a download under way -> how far it is."""

    def after(self, moment: Moment, now: float) -> Seen:
        """What is known when something has happened. Pure."""
        match moment:
            case Planned(jobs):
                return replace(self, titles=dict(jobs))
            case Began(name):
                return replace(self, running={**self.running, name: now})
            case Ended(name):
                running = {job: begin for job, begin in self.running.items() if job != name}
                return replace(self, running=running, ended={**self.ended, name: moment})

    def during(self, event: Event) -> Seen:
        """What is known when a step of a build or a download has moved on. Pure."""
        match event:
            case Started(step):
                return replace(self, steps={**self.steps, step: ""})
            case Progress(step, done, total):
                return replace(self, steps={**self.steps, step: f" {done / total:.0%}" if total else ""})
            case Finished(step):
                return replace(self, steps={s: far for s, far in self.steps.items() if s != step})
            case Noted():
                return self

    def branches(self) -> dict[str, list[str]]:
        """The jobs by layer, what checks look at first."""
        order = (PREPARING, *LAYERS)
        found: dict[str, list[str]] = {}
        for name in self.titles:
            layer = name.partition(".")[0] if "." in name else PREPARING
            found.setdefault(layer, []).append(name)
        return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else 99))


Row = tuple[str, str]
"""A line, and its colour or nothing."""


def tree(seen: Seen, now: float, begin: float, height: int) -> list[Row]:
    """The picture of a run under way: a branch each layer, below it what failed and what runs. Pure.

    Args:
        seen: what is known.
        now: on the clock of ``begin`` and of the jobs.
        begin: when the run began.
        height: most lines; a branch is one line, and what there is no room for is counted.
    """
    branches = seen.branches()
    wrong = [name for name in seen.ended if _wrong(seen, name)]
    urgent = [*wrong, *sorted(seen.running, key=lambda name: seen.running[name])]
    room = max(0, height - len(branches) - 2)
    shown = set(urgent[:room])
    rows: list[Row] = []
    for layer, names in branches.items():
        rows.append(_branch(seen, layer, names))
        rows += [_leaf(seen, name, now) for name in urgent if name in shown and name in names]
    if hidden := len(urgent) - len(shown):
        rows.append((f"   ... {hidden} more", ""))
    rows = rows[: max(0, height - 1)]
    return [*rows, (_foot(seen, now - begin), "")]


def _wrong(seen: Seen, name: str) -> bool:
    verdict = seen.ended[name].verdict
    return verdict is not None and verdict.status in {Status.FAILED, Status.BLOCKED}


def _branch(seen: Seen, layer: str, names: Sequence[str]) -> Row:
    over = [seen.ended[name] for name in names if name in seen.ended]
    done = len(over) == len(names)
    wrong = any(_wrong(seen, name) for name in names if name in seen.ended)
    mark = MARKS[Status.FAILED] if wrong else MARKS[Status.PASSED] if done else "."
    spent = f"  {clock(sum(ended.seconds for ended in over))}" if over else ""
    return f"{mark} {layer:<13} {len(over)}/{len(names)}{spent}", "red" if wrong else "green" if done else ""


def _leaf(seen: Seen, name: str, now: float) -> Row:
    if name in seen.running:
        seconds = now - seen.running[name]
        label = name if "." in name else seen.titles.get(name, name)
        frames = _frames()
        step = next((f"  {step}{far}" for step, far in reversed([*seen.steps.items()])), "")
        far = step if name == "image" else ""
        spin = frames[int(seconds * 10) % len(frames)]
        return f"   {spin} {label:<28} {clock(max(0.0, seconds))}{one_line(far)}", "cyan"
    verdict = seen.ended[name].verdict
    assert verdict is not None  # noqa: S101 - only verdicts are wrong
    return f"   {first(verdict)}", COLOURS.get(verdict.status, "")


@cache
def _frames() -> Sequence[str]:
    from rich.spinner import Spinner

    return Spinner("dots").frames


def first(verdict: Verdict) -> str:
    """A verdict in one line; that of a failed check says its first finding and where that is."""
    if verdict.status is not Status.FAILED or not verdict.findings:
        return line(verdict)
    finding = verdict.findings[0]
    where = f"{place(finding)}: " if place(finding) else ""
    return line(replace(verdict, summary=f"{where}{finding.message}"))


def _foot(seen: Seen, seconds: float) -> str:
    checks = [name for name in seen.titles if "." in name]
    over = sum(name in seen.ended for name in checks)
    return f"{over} of {len(checks)} checks, {len(seen.running)} jobs running, {clock(seconds)}"


class Live:
    """Draws the tree in a terminal, on standard error, until it is closed."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._seen = Seen()
        self._lock = threading.Lock()
        self.notes: list[str] = []
        self._begin = time.monotonic()
        self._console = Console(stderr=True)
        self._screen = Screen(
            get_renderable=self._drawn, console=self._console, refresh_per_second=5, transient=True
        )
        self._screen.start()

    def __call__(self, moment: Moment) -> None:
        """Take in what happens."""
        with self._lock:
            self._seen = self._seen.after(moment, time.monotonic())

    def observe(self, event: Event) -> None:
        """Take in a step of a build or a download, from any thread; notes are kept for the end."""
        with self._lock:
            self._seen = self._seen.during(event)
            if isinstance(event, Noted):
                self.notes.append(event.message)

    def close(self) -> None:
        """Take the tree away."""
        self._screen.stop()

    def _drawn(self) -> Text:
        return drawn(tree(self._seen, time.monotonic(), self._begin, self._console.height - 1))


class Log:
    """A line for each check as it ends; for logs.

    Args:
        write: takes a line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self.notes: list[str] = []
        """What was noted meanwhile, for the end."""

    def __call__(self, moment: Moment) -> None:
        """Tell of a check that ended."""
        if isinstance(moment, Ended) and moment.verdict is not None:
            self._write(first(moment.verdict))

    def observe(self, event: Event) -> None:
        """Keep notes for the end; the steps of a build are no lines of their own."""
        if isinstance(event, Noted):
            self.notes.append(event.message)

    def close(self) -> None:
        """Nothing is open."""


def display(quiet: bool) -> Live | Log:
    """What shows a run under way: a tree in a terminal, lines elsewhere; nothing where it is to be quiet."""
    if quiet:
        return Log(lambda text: None)
    return Live() if sys.stderr.isatty() else Log(lambda text: click.echo(text, err=True))


@dataclass(frozen=True, slots=True)
class Wanted:
    """One ``--format KIND[:FILE]``."""

    kind: str
    file: Path | None


def wanted(texts: Sequence[str], page: Path) -> tuple[Wanted, ...]:
    """What ``--format`` asks for.

    Args:
        texts: ``KIND`` or ``KIND:FILE``.
        page: where the page for people goes when no file is named.

    Raises:
        click.UsageError: no such format, or two documents for standard output.
    """
    found = []
    for text in texts:
        kind, _, file = text.partition(":")
        if kind not in FORMATS:
            raise click.UsageError(f"there is no format {kind!r}; known are {', '.join(FORMATS)}")
        found.append(Wanted(kind, Path(file) if file else page if kind == "html" else None))
    documents = [want.kind for want in found if want.file is None]
    if len(documents) > 1:
        raise click.UsageError(
            f"{' and '.join(documents)} cannot both go to standard output; name a file: {documents[-1]}:FILE"
        )
    return tuple(found)


def spoken(wants: Sequence[Wanted]) -> str | None:
    """The format of the document for standard output, if one was asked for."""
    return next((want.kind for want in wants if want.file is None), None)


def writable(wants: Sequence[Wanted]) -> None:
    """Look before anything runs whether each file can be written.

    Raises:
        CheckError: one cannot.
    """
    for path in (want.file for want in wants if want.file is not None):
        above = next(folder for folder in path.absolute().parents if folder.exists())
        problem = "it is a folder" if path.is_dir() else ""
        try:  # permissions alone do not say it: a file system may refuse
            TemporaryFile(dir=above).close()
        except OSError as error:
            problem = f"{above}: {error.strerror or error}"
        if problem:
            raise CheckError(f"the report cannot be written to {path}: {problem}", "Name another file.")


def write(path: Path, text: str) -> None:
    """Write a report.

    Raises:
        CheckError: the file cannot be written.
    """
    try:
        # A report says what it says even where a file name of it is no Unicode.
        write_atomically(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise CheckError(
            f"the report cannot be written to {path}: {error.strerror or error}", "Name another file."
        ) from None


def summarise(text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Add Markdown to the summary of the job, where GitHub Actions names a file for it.

    Raises:
        CheckError: the file cannot be written.
    """
    if name := environment.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(name).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            raise CheckError(
                f"the job's summary {name} cannot be written: {error.strerror}",
                "Correct GITHUB_STEP_SUMMARY.",
            ) from None


def in_checkout(root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The project's folder as its checkout names it; empty outside GitHub Actions and GitLab CI."""
    top = environment.get("GITHUB_WORKSPACE") or environment.get("CI_PROJECT_DIR")
    if top and root.resolve().is_relative_to(Path(top).resolve()):
        found = str(root.resolve().relative_to(Path(top).resolve()))
        return "" if found == "." else found
    return ""


def listed(checks: Sequence[Check], width: int = 100) -> list[str]:
    """Every check, by layer: id, what it looks at, why it exists."""
    told: list[str] = []
    for layer in dict.fromkeys((*LAYERS, *(check.layer for check in checks))):
        mine = [check for check in checks if check.layer == layer]
        if mine:
            told += ["", layer] if told else [layer]
        for check in mine:
            told.append(f"  {check.id}")
            for text in (check.looks_at, f"Why: {check.why}" if check.why else ""):
                told += textwrap.wrap(one_line(text), width, initial_indent="    ", subsequent_indent="    ")
    return told


def takeable(width: int = 100) -> list[str]:
    """What own checks can take by the names of their parameters."""
    from serinus.checks.fixtures import FIXTURES, PUBLIC

    told = ["", "Your own checks can take"]
    about = {fixture.name: fixture.about for fixture in FIXTURES}
    for name in PUBLIC:
        text = f"{name:<10} {about[name]}"
        told += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent=" " * 13)
    return told


def catalogue(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Every check as plain JSON values."""
    return [
        {"id": c.id, "layer": c.layer, "looks_at": c.looks_at, "why": c.why, "takes": list(c.needs)}
        for c in checks
    ]


def deliver(
    report: Report, checks: Sequence[Check], wants: Sequence[Wanted], page: Path, root: Path
) -> str | None:
    """Write the report to all files that were asked for, and the page for people always.

    Returns:
        The document for standard output, if one was asked for.

    Raises:
        CheckError: a file cannot be written.
    """
    folder = in_checkout(root)
    for want in [*wants, Wanted("html", page)]:
        if want.file is not None:
            write(want.file, FORMATS[want.kind](report, checks, folder))
    document = spoken(wants)
    return FORMATS[document](report, checks, folder) if document else None
