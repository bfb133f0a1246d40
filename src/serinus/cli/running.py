"""``serinus run`` on a screen and in a log: what happens meanwhile, and questions to whoever sits there."""

from __future__ import annotations

import queue
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import click

from serinus.checks.formats.text import clock, one_line
from serinus.cli.output import drawn, table
from serinus.errors import PipelineError
from serinus.pipeline.evidence import rows as metric_rows
from serinus.pipeline.moments import Answered, Asked, Began, Ended, Hint, Moment, Opened, RunResult, Said
from serinus.pipeline.plan import State

if TYPE_CHECKING:
    from rich.text import Text

MARKS: Mapping[State, str] = {
    State.PENDING: "·",
    State.RUNNING: "▸",
    State.ASKING: "?",
    State.DONE: "✓",
    State.CACHED: "=",
    State.SKIPPED: "»",
    State.LEFT: "–",
    State.FAILED: "✗",
    State.DECLINED: "✗",
    State.BLOCKED: "–",
    State.INTERRUPTED: "!",
}
"""One sign for each state, that says the same without colour."""
COLOURS: Mapping[State, str] = {
    State.RUNNING: "cyan",
    State.ASKING: "yellow",
    State.DONE: "green",
    State.CACHED: "green",
    State.FAILED: "red",
    State.DECLINED: "red",
    State.INTERRUPTED: "yellow",
}
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
Row = tuple[str, str]
"""A line, and its colour or nothing."""


@dataclass(frozen=True)
class Seen:
    """What is known of a run under way; :meth:`after` gives what is known next."""

    title: str = ""
    states: Mapping[str, State] = field(default_factory=dict)
    began: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """Step -> the last that it printed, or why it is as it is."""
    took: Mapping[str, float] = field(default_factory=dict)

    def after(self, moment: Moment, now: float) -> Seen:
        """What is known when something has happened. Pure."""
        match moment:
            case Opened(run, _, steps, params):
                told = "  ".join([run, *(f"{name}={value}" for name, value in params.items())])
                return Seen(told, dict.fromkeys(steps, State.PENDING))
            case Began(step, attempt, why):
                note = f"attempt {attempt}" if attempt > 1 else why
                return self._with(step, State.RUNNING, note, {**self.began, step: now})
            case Said(step, lines):
                return replace(self, notes={**self.notes, step: lines[-1]})
            case Ended(step, state, seconds, reason):
                return replace(self._with(step, state, reason), took={**self.took, step: seconds})
            case Asked(_, step, evidence):
                return self._with(step, State.ASKING, str(evidence["question"]))
        return self

    def _with(self, step: str, state: State, note: str, began: Mapping[str, float] | None = None) -> Seen:
        return replace(
            self,
            states={**self.states, step: state},
            notes={**self.notes, step: note},
            began=self.began if began is None else began,
        )


def tree(seen: Seen, now: float, begin: float, height: int) -> list[Row]:
    """The picture of a run under way. Pure.

    Args:
        seen: what is known.
        now: on the clock of ``begin`` and of the steps.
        begin: when the run began.
        height: most lines; where there is no room for all steps, what runs, asks or failed comes first.
    """
    names = list(seen.states)
    room = max(1, height - 2)
    if len(names) > room:
        urgent = [State.RUNNING, State.ASKING, State.FAILED, State.DECLINED]
        names.sort(key=lambda name: seen.states[name] not in urgent)
        chosen = set(names[: room - 1])
        names = [name for name in seen.states if name in chosen]
    wide = max((len(name) for name in names), default=0)
    rows: list[Row] = [(one_line(seen.title), "")]
    for number, name in enumerate(names):
        last = number == len(names) - 1 and len(names) == len(seen.states)
        rows.append(_branch(seen, name, now, wide, "└─" if last else "├─"))
    if hidden := len(seen.states) - len(names):
        rows.append((f"└─ ... {hidden} more", ""))
    over = sum(state not in {State.PENDING, State.RUNNING, State.ASKING} for state in seen.states.values())
    rows.append((f"{over} of {len(seen.states)} steps, {clock(now - begin)}", ""))
    return rows[:height]


def _branch(seen: Seen, name: str, now: float, wide: int, line: str) -> Row:
    state = seen.states[name]
    note = one_line(seen.notes.get(name, ""))
    mark, spent = MARKS[state], ""
    if state is State.RUNNING:
        seconds = max(0.0, now - seen.began.get(name, now))
        mark, spent = _FRAMES[int(seconds * 10) % len(_FRAMES)], clock(seconds)
    elif seen.took.get(name):
        spent = clock(seen.took[name])
    return f"{line} {mark} {name:<{wide}}  {spent:>8}  {note}".rstrip(), COLOURS.get(state, "")


def ended(moment: Ended) -> str:
    """The end of a step in one line."""
    spent = f"  {clock(moment.seconds)}" if moment.seconds else ""
    reason = f"  {one_line(moment.reason)}" if moment.reason else ""
    return f"{MARKS[moment.state]} {moment.step}: {moment.state.value}{spent}{reason}"


def evidence_lines(evidence: Mapping[str, Any]) -> list[str]:
    """What a person is asked, and what they are to see before they answer."""
    told = []
    if evidence["metrics"]:
        told += [f"  {line}" for line in table(metric_rows(evidence))]
    if evidence["note"]:
        told.append(f"  {one_line(evidence['note'])}")
    for file in evidence["files"]:
        if file["kind"] == "text":
            told.append(f"  {one_line(file['path'])}:")
            told += [f"    {one_line(line)}" for line in file["text"].splitlines()[:20]]
        elif file["kind"] != "metrics":
            told.append(f"  {file['kind']}: {one_line(file['path'])}")
    return [*told, f"? {one_line(evidence['question'])}"]


class Display(Protocol):
    """Shows a run."""

    def __call__(self, moment: Moment) -> None:
        """Take in what happens, from any thread."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def still(self, quiet: bool) -> None:
        """Whether to draw nothing, because somebody is typing."""

    def close(self) -> None:
        """Take the picture away."""


class Live:
    """Draws the tree in a terminal, on standard error, until it is closed."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._seen = Seen()
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._still = False
        self._console = Console(stderr=True)
        self._screen = Screen(
            get_renderable=self._drawn, console=self._console, refresh_per_second=8, transient=True
        )
        self._screen.start()

    def __call__(self, moment: Moment) -> None:
        """Take in what happens, from any thread."""
        with self._lock:
            self._seen = self._seen.after(moment, time.monotonic())
            if isinstance(moment, Hint):
                self.say(f"hint: {one_line(moment.text)}")
            elif self._still and isinstance(moment, Ended):
                self.say(ended(moment))

    def say(self, text: str) -> None:
        """A line that stays, above the tree."""
        self._console.print(text, markup=False, highlight=False)

    def still(self, quiet: bool) -> None:
        """Whether to draw nothing, because somebody is typing."""
        self._still = quiet
        if quiet:
            self._screen.stop()
        else:
            self._screen.start()

    def close(self) -> None:
        """Take the tree away."""
        self._screen.stop()

    def _drawn(self) -> Text:
        return drawn(tree(self._seen, time.monotonic(), self._begin, self._console.height - 1))


class Lines:
    """A line for each thing that happens, what steps print among them; for logs.

    Args:
        write: takes a line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def __call__(self, moment: Moment) -> None:
        """Tell of it, from any thread."""
        with self._lock:
            for line in _lines(moment):
                self._write(line)

    def say(self, text: str) -> None:
        """A line."""
        with self._lock:
            self._write(text)

    def still(self, quiet: bool) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is open."""


def _lines(moment: Moment) -> Iterator[str]:
    match moment:
        case Opened(run, _, _, params, resumed):
            told = "".join(f"  {name}={value}" for name, value in params.items())
            yield one_line(f"{run}{' goes on' if resumed else ''}{told}")
        case Began(step, attempt, why):
            yield one_line(f"▸ {step}: {f'attempt {attempt}' if attempt > 1 else why}")
        case Said(step, lines):
            yield from (f"  {step} | {one_line(line)}" for line in lines)
        case Ended():
            yield ended(moment)
        case Asked(run, step, evidence):
            yield from evidence_lines(evidence)
            yield f"  waits for `serinus approve {run} {step}`"
        case Answered(step, answer, who, comment):
            yield one_line(f"{step}: {answer}, by {who}{f': {comment}' if comment else ''}")
        case Hint(text):
            yield f"hint: {one_line(text)}"


def display(quiet: bool) -> Live | Lines:
    """What shows a run: a tree in a terminal, lines elsewhere; nothing where it is quiet."""
    if quiet:
        return Lines(lambda text: None)
    return Live() if sys.stderr.isatty() else Lines(lambda text: click.echo(text, err=True))


Answer = Callable[[str, str, bool], object]
"""Answers the question of a step of a run."""


class Asker:
    """Asks whoever sits at the terminal, one question at a time, until it is answered here or elsewhere.

    Args:
        shown: the display, which keeps still meanwhile.
        answer: is called with run, step and whether it was a yes.
        lines: gives a line that was typed, the empty text at the end of the input, or None if there is none
            yet.
    """

    def __init__(self, shown: Display, answer: Answer, lines: Callable[[], str | None] | None = None) -> None:
        self._shown = shown
        self._answer = answer
        self._lines = lines or _typed
        self._asked: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._over: set[str] = set()
        """Steps that somebody has answered."""
        self._thread = threading.Thread(target=self._serve, daemon=True, name="asker")
        self._thread.start()

    def __call__(self, moment: Moment) -> None:
        """Take in what happens, and hand it on to the display."""
        if isinstance(moment, Asked):
            self._asked.put(moment)
        elif isinstance(moment, Answered):
            self._over.add(moment.step)
        self._shown(moment)

    def close(self) -> None:
        """Ask no more."""
        self._over.add("")
        self._asked.put(None)
        self._thread.join(2.0)

    def _serve(self) -> None:
        while (question := self._asked.get()) is not None:
            self._shown.still(True)
            open_ = self._ask(question)
            self._shown.still(False)
            if not open_:
                return

    def _ask(self, question: Asked) -> bool:
        """Ask until there is an answer; False if the input has ended, and nobody can be asked."""
        for line in evidence_lines(question.evidence):
            self._shown.say(line)
        self._shown.say("  [y/n] ")
        while not self._over & {question.step, ""}:
            typed = self._lines()
            if typed is None:
                continue
            if not typed:
                self._shown.say(f"nobody answers here: `serinus approve {question.run} {question.step}` does")
                return False
            word = typed.strip().lower()
            if word in {"y", "yes", "n", "no"}:
                try:
                    self._answer(question.run, question.step, word.startswith("y"))
                except PipelineError as error:  # somebody was faster
                    self._shown.say(error.message)
                return True
            self._shown.say("  y or n; nothing is decided yet  [y/n] ")
        return True


def _typed() -> str | None:
    ready, _, _ = select.select([sys.stdin], [], [], 0.2)
    return sys.stdin.readline() if ready else None


def outcome_lines(result: RunResult) -> list[str]:
    """What came of a run, for a person."""
    rows: Sequence[Sequence[str]] = [
        (
            MARKS[step.state],
            step.name,
            step.state.value,
            clock(step.seconds) if step.seconds else "",
            one_line(step.reason),
        )
        for step in result.steps
    ]
    return [*table(rows), f"{result.id} {result.outcome.value}, {clock(result.seconds)}"]
