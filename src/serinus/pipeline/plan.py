"""What is to be done next in a run: a pure function from what has happened so far.

A step is ready when all that it needs is over in a way that lets it go on. A step that failed blocks those
behind it, and no others. A step that its condition left out lets those behind it go on, once what is before
it is over, unless they read what it would have made: those are left out too.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from serinus.pipeline.graph import Graph


class State(StrEnum):
    """How a step stands."""

    PENDING = "pending"
    RUNNING = "running"
    ASKING = "asks"
    """A person has been asked, and has not answered."""
    DONE = "done"
    CACHED = "cached"
    """Not run: its result is that of an earlier run, or of this run before it was stopped."""
    SKIPPED = "skipped"
    """Its condition does not hold, or what it reads was skipped."""
    LEFT = "left"
    """Not among the steps that were asked for; what it made before is taken as it is."""
    FAILED = "failed"
    DECLINED = "declined"
    """A person said no."""
    BLOCKED = "blocked"
    """Something that it needs has failed, or the run ended before it began."""
    INTERRUPTED = "interrupted"


PASSED = frozenset({State.DONE, State.CACHED, State.SKIPPED, State.LEFT})
"""Steps behind these go on."""
FAILED = frozenset({State.FAILED, State.DECLINED})
UNDER_WAY = frozenset({State.RUNNING, State.ASKING})


class Outcome(StrEnum):
    """How a run stands, or ended."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    WAITING = "waits for approval"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    graph: Graph
    states: Mapping[str, State] = field(hash=False)
    left: Mapping[str, int] = field(hash=False)
    """Step -> how many of those that it needs are not over."""
    ready: tuple[str, ...]
    """Steps that can begin, the most urgent first."""
    running: int = 0
    """How many processes there are."""
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Why a step was skipped or blocked."""

    @property
    def asking(self) -> tuple[str, ...]:
        """The questions that nobody has answered."""
        return tuple(name for name, state in self.states.items() if state is State.ASKING)

    @property
    def failed(self) -> bool:
        """Whether something has failed or was declined."""
        return any(state in FAILED for state in self.states.values())


def begin(graph: Graph, *, chosen: Collection[str] | None = None, skipped: Iterable[str] = ()) -> Progress:
    """A run before anything was done.

    Args:
        graph: the pipeline.
        chosen: the steps that were asked for; None is all.
        skipped: the steps whose condition does not hold.
    """
    names = [step.name for step in graph.pipeline.steps]
    progress = Progress(
        graph=graph,
        states=dict.fromkeys(names, State.PENDING),
        left={name: len(graph.needs[name]) for name in names},
        ready=tuple(sorted((n for n in names if not graph.needs[n]), key=graph.ranks.__getitem__)),
    )
    for name in graph.order if chosen is not None else ():
        if chosen is not None and name not in chosen:
            progress = after(progress, name, State.LEFT)
    for name in skipped:
        if progress.states[name] is State.PENDING:
            progress = after(progress, name, State.SKIPPED, "its condition does not hold")
    return progress


def after(progress: Progress, name: str, state: State, reason: str = "") -> Progress:
    """How far a run is when a step has come into a state.

    Args:
        progress: before.
        name: the step.
        state: what it is now.
        reason: why, where that is not plain.
    """
    states = dict(progress.states)
    left = dict(progress.left)
    ready = [one for one in progress.ready if one != name]
    reasons = {**progress.reasons, name: reason} if reason else dict(progress.reasons)
    running = progress.running + (state is State.RUNNING) - (states[name] is State.RUNNING)
    states[name] = state
    if state is State.SKIPPED:
        for user, maker in _readers(progress.graph, name, states).items():
            states[user], reasons[user] = State.SKIPPED, f"it reads what {maker} makes, which was skipped"
    # A step that is left out is passed when its turn has come: what it needs stays before what needs it.
    over = [name] if state in PASSED and not left[name] else []
    while over:
        for user in progress.graph.users[over.pop()]:
            left[user] -= 1
            if left[user]:
                continue
            if states[user] is State.PENDING:
                insort(ready, user, key=progress.graph.ranks.__getitem__)
            elif states[user] in PASSED:
                over.append(user)
    if state in FAILED or state is State.INTERRUPTED:
        for user in progress.graph.behind([name]):
            if states[user] is State.PENDING:
                states[user] = State.BLOCKED
                reasons[user] = f"{name} {'was ' if state is not State.FAILED else ''}{state}"
    return replace(progress, states=states, left=left, ready=tuple(ready), running=running, reasons=reasons)


def _readers(graph: Graph, name: str, states: Mapping[str, State]) -> dict[str, str]:
    """The steps that wait and read what a step makes, directly or through others; and who makes that."""
    found: dict[str, str] = {}
    makers = [name]
    while makers:
        maker = makers.pop()
        for user in graph.users[maker]:
            if maker in graph.reads[user] and states[user] is State.PENDING and user not in found:
                found[user] = maker
                makers.append(user)
    return found


def startable(progress: Progress, jobs: int, *, fail_fast: bool = False) -> tuple[str, ...]:
    """The steps to begin now.

    Args:
        progress: how far the run is.
        jobs: how many processes may run at once; a question is none.
        fail_fast: begin nothing more once something has failed.
    """
    if fail_fast and progress.failed:
        return ()
    free = jobs - progress.running
    found = []
    for name in progress.ready:
        if progress.graph.steps[name].approve is not None:
            found.append(name)
        elif free > 0:
            free -= 1
            found.append(name)
    return tuple(found)


def outcome(progress: Progress) -> Outcome:
    """How a run ended that does nothing more."""
    states = set(progress.states.values())
    if State.INTERRUPTED in states:
        return Outcome.INTERRUPTED
    if states & FAILED:
        return Outcome.FAILED
    if State.ASKING in states:
        return Outcome.WAITING
    return Outcome.DONE if states <= PASSED else Outcome.INTERRUPTED
