"""Watching the model registry: a pipeline runs for each new version or moved alias, once.

One thread looks; what it sees becomes triggers on disk (:mod:`.triggers`). Whoever has the lock of the
project works them off, the oldest first. A run that was killed or interrupted is gone on with, and not
started again.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serinus.errors import PipelineBusy, PipelineError, SerinusError
from serinus.pipeline import Pipeline, Value
from serinus.pipeline.guard import FOLDER
from serinus.pipeline.known import pipeline_of
from serinus.pipeline.moments import RunResult, Tell, unheard
from serinus.pipeline.plan import Outcome
from serinus.pipeline.record import Record, RunRow
from serinus.pipeline.run import run_pipeline
from serinus.pipeline.triggers import MODEL, Ledger, Stage, Subject, Trigger
from serinus.project import Project

EVERY = 10.0
"""Seconds between two looks at the registry."""
_LOCK = "triggers.lock"
_ENDED = {Outcome.DONE: Stage.DONE, Outcome.FAILED: Stage.FAILED}
_STOPPED = frozenset({Outcome.KILLED, Outcome.INTERRUPTED, Outcome.WAITING, Outcome.RUNNING})


class Numbers(Protocol):
    """Asks the model registry: :meth:`serinus.models.registry.ModelRegistry.numbers`."""

    def __call__(self, name: str, alias: str = "") -> tuple[int, ...]:
        """The versions of a model, or the one at which its alias points."""
        ...


@dataclass(frozen=True, slots=True)
class Triggered:
    """A trigger was found."""

    pipeline: str
    model: str


@dataclass(frozen=True, slots=True)
class Over:
    """What a trigger has led to; ``run`` is empty and ``why`` says why where no run could be started."""

    trigger: Trigger
    run: str
    outcome: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Blind:
    """A look at the registry failed; the next may go well."""

    why: str


Heard = Triggered | Over | Blind
Hear = Callable[[Heard], None]


def check(pipeline: Pipeline) -> None:
    """See that a pipeline can be told for which version it runs.

    Raises:
        PipelineError: it has no such parameter.
    """
    names = [parameter.name for parameter in pipeline.parameters]
    if MODEL not in names:
        raise PipelineError(
            f"the pipeline {pipeline.name} has no parameter {MODEL!r}; it has {', '.join(names) or 'none'}",
            f"Declare it, `params.{MODEL} = {{ about = ... }}`; the built-in pipeline has it where the "
            "project names model.source.",
        )


@dataclass(frozen=True)
class Watch:
    """What is watched, and what is run for it."""

    subject: Subject
    pipeline: str
    params: Mapping[str, Value]


class Watcher:
    """Looks and works for one project.

    Args:
        load: reads the project anew: its file may change while this lasts.
        ledger: keeps the triggers.
        numbers: asks the model registry.
        hear: is told what is found and what came of it.
        tell: is told what happens in the runs.
    """

    def __init__(
        self,
        load: Callable[[], Project],
        ledger: Ledger,
        numbers: Numbers,
        *,
        hear: Hear,
        tell: Tell = unheard,
    ) -> None:
        self._load = load
        self._ledger = ledger
        self._numbers = numbers
        self._hear = hear
        self._tell = tell
        self._root = load().root

    def look(self, watch: Watch, *, everything: bool = False) -> None:
        """Look once; triggers are on disk when this returns."""
        try:
            found = self._numbers(watch.subject.name, watch.subject.alias)
        except SerinusError as error:
            self._hear(Blind(error.message))
            return
        saw = self._ledger.saw(watch.pipeline, watch.subject, found, watch.params, everything=everything)
        for model in saw:
            self._hear(Triggered(watch.pipeline, model))

    def run(self, watch: Watch | None, stop: threading.Event, *, every: float = EVERY) -> None:
        """Look and work until ``stop`` is set; None works off only what others have found.

        Raises:
            KeyboardInterrupt: the run under way was interrupted; the next to work goes on with it.
        """
        looking = threading.Thread(target=self._keep_looking, args=(watch, stop, every), daemon=True)
        looking.start()
        try:
            while not stop.is_set():
                self.work(stop)
                stop.wait(min(every, 1.0))
        finally:
            stop.set()
            looking.join()

    def _keep_looking(self, watch: Watch | None, stop: threading.Event, every: float) -> None:
        while watch is not None and not stop.wait(every):
            self.look(watch)

    def work(self, stop: threading.Event | None = None) -> None:
        """Work off what is pending, unless somebody else does."""
        with _alone(self._root) as mine:
            while mine and not (stop and stop.is_set()) and (trigger := self._ledger.pending()):
                if not self._one(trigger):
                    return

    def _one(self, trigger: Trigger) -> bool:
        """Run what a trigger asks for; False where it must wait for a run that somebody has started."""
        try:
            project = self._load()
            pipeline = pipeline_of(project, trigger.pipeline)
            check(pipeline)
            result = self._begun(project, pipeline, trigger)
        except PipelineBusy:
            return False
        except SerinusError as error:
            self._ledger.settle(trigger, "", Stage.FAILED)
            self._hear(Over(trigger, "", Outcome.FAILED, error.message))
            return True
        stage = _ENDED.get(result.outcome, Stage.FAILED)
        self._ledger.settle(trigger, result.id, stage)
        self._hear(Over(trigger, result.id, result.outcome))
        return True

    def _begun(self, project: Project, pipeline: Pipeline, trigger: Trigger) -> RunResult:
        """Start the run of a trigger, go on with it, or find that it is over."""
        before, latest = self._runs_of(trigger)
        if before is not None and before.outcome in _ENDED:
            return RunResult(before.id, before.pipeline, before.outcome, 0.0, before.params)
        if before is not None and before.outcome in _STOPPED and before.id == latest:
            return run_pipeline(project, pipeline, resume=True, tell=self._tell)
        return run_pipeline(project, pipeline, {**trigger.params, MODEL: trigger.model}, tell=self._tell)

    def _runs_of(self, trigger: Trigger) -> tuple[RunRow | None, str]:
        """The run that a trigger has led to, whether it was noted or the kill came before; and the latest."""
        record = Record(self._root)
        try:
            runs = record.runs(trigger.pipeline, 50)
        finally:
            record.close()
        mine = [r for r in runs if r.began >= trigger.at and r.params.get(MODEL) == trigger.model]
        return (mine[0] if mine else None), (runs[0].id if runs else "")


@contextmanager
def _alone(root: Path) -> Iterator[bool]:
    """Whether nobody else works off triggers meanwhile; the kernel lets go when the process ends."""
    path = root / FOLDER / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
