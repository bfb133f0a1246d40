"""A run of a pipeline: the loop around ``plan``, with processes, the record and people."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from serinus.errors import PipelineError
from serinus.models import lineage
from serinus.pipeline import Pipeline, Value
from serinus.pipeline.approvals import YES
from serinus.pipeline.contents import Missing
from serinus.pipeline.evidence import Evidence, MetricsOf, gather, metrics_in
from serinus.pipeline.guard import Guard, clear_away, held
from serinus.pipeline.guard import tell as say_who
from serinus.pipeline.moments import (
    Answered,
    Asked,
    Ended,
    Hint,
    Opened,
    RunResult,
    StepResult,
    Tell,
    unheard,
)
from serinus.pipeline.plan import Outcome, Progress, State, after, outcome, startable
from serinus.pipeline.prepare import Options, Prepared, prepare
from serinus.pipeline.process import GRACE, Group
from serinus.pipeline.record import Record, RunRow
from serinus.pipeline.tidy import tidy
from serinus.pipeline.words import greedy
from serinus.pipeline.work import Bench, bench_for, do
from serinus.project import Project

_LOOK = 0.2
"""Seconds between looks whether somebody has answered."""


def run_pipeline(
    project: Project,
    pipeline: Pipeline,
    params: Mapping[str, Value] | None = None,
    *,
    force: bool = False,
    start: str = "",
    only: Sequence[str] = (),
    resume: bool = False,
    jobs: int | None = None,
    fail_fast: bool = False,
    wait: bool = True,
    environment: Mapping[str, str] = os.environ,
    tell: Tell = unheard,
    metrics_of: MetricsOf | None = None,
    grace: float = GRACE,
    pause: float = 1.0,
) -> RunResult:
    """Run a pipeline.

    Args:
        project: the project.
        pipeline: one of its pipelines.
        params: values by name, or texts that stand for them.
        force: run every step, even if nothing has changed.
        start: run this step and those behind it, even if nothing has changed.
        only: run these steps alone.
        resume: go on with the latest run, with its parameters and options.
        jobs: how many processes run at once; default one for each core.
        fail_fast: start nothing more once a step has failed.
        wait: whether to wait for people; else the run ends as one that waits.
        environment: variables of the steps, and where secrets come from.
        tell: is told what happens, by several threads.
        metrics_of: asks the model registry; default that of the project.
        grace: seconds between the request to end and the kill, for processes that are stopped.
        pause: seconds before a failed step is tried again; doubled each time.

    Raises:
        PipelineError: it could not be started or gone on with; nothing was run.
        KeyboardInterrupt: it was interrupted; its processes have ended, and it can be gone on with.
    """
    with held(project.root, pipeline.name) as lock, _recording(project) as record:
        clear_away(project.root, pipeline.name, record)
        options = Options(force, start, tuple(only))
        before = _to_go_on(record, pipeline, params, options) if resume else None
        given = params or {}
        if before is not None:
            given, options = (
                before.params,
                Options(**{**before.options, "only": tuple(before.options["only"])}),
            )
        prepared = prepare(project, pipeline, given, options, environment)
        opened = _open(project, record, prepared, before)
        say_who(lock, opened)
        bench = bench_for(project.root, opened, prepared, record, environment=environment, tell=tell)
        bench = replace(bench, grace=grace, pause=pause)
        tell(Opened(opened, pipeline.name, tuple(bench.graph.steps), prepared.values, before is not None))
        slots, asked = jobs or len(os.sched_getaffinity(0)), metrics_of or metrics_in(project)
        loop = _Loop(bench, prepared.begin(), jobs=slots, fail_fast=fail_fast, wait=wait, metrics_of=asked)
        return loop.run()


@contextmanager
def _recording(project: Project) -> Iterator[Record]:
    record = Record(project.root)
    try:
        yield record
    finally:
        record.close()


def _to_go_on(
    record: Record, pipeline: Pipeline, params: Mapping[str, Value] | None, options: Options
) -> RunRow:
    """The run that is to be gone on with.

    Raises:
        PipelineError: there is none, or something was given that it has already.
    """
    if params or options != Options():
        raise PipelineError(
            "a run that is gone on with has its parameters and options already",
            "Leave them out, or start anew without --resume: what is unchanged is not run again.",
        )
    latest = record.runs(pipeline.name, 1)
    if not latest:
        raise PipelineError(
            f"there is no run of {pipeline.name} to go on with", "Start one without --resume."
        )
    if latest[0].outcome is Outcome.DONE:
        raise PipelineError(
            f"the latest run of {pipeline.name}, {latest[0].id}, is done", "Start one without --resume."
        )
    return latest[0]


def _open(project: Project, record: Record, prepared: Prepared, before: RunRow | None) -> str:
    """Record that a run begins, or goes on; its id."""
    steps = tuple(prepared.graph.steps)
    if before is not None:
        record.go_on(before.id, steps, os.getpid())
        return before.id
    around = lineage.around(project.root, environ={})
    revision = around.commit + ("+" if around.clean is False else "")
    options = prepared.options
    return record.new_run(
        prepared.graph.pipeline.name,
        steps,
        params=prepared.values,
        options={"force": options.force, "start": options.start, "only": list(options.only)},
        who=around.who,
        revision=revision,
        pid=os.getpid(),
    )


class _Loop:
    """One run under way."""

    def __init__(
        self,
        bench: Bench,
        progress: Progress,
        *,
        jobs: int,
        fail_fast: bool,
        wait: bool,
        metrics_of: MetricsOf,
    ) -> None:
        self._bench = bench
        self._progress = progress
        self._jobs = jobs
        self._fail_fast = fail_fast
        self._wait = wait
        self._metrics_of = metrics_of
        self._over: queue.SimpleQueue[StepResult | tuple[str, Evidence] | BaseException] = queue.SimpleQueue()
        self._results: dict[str, StepResult] = {}
        self._groups: dict[str, Group] = {}
        self._gathering: set[str] = set()
        self._questions: dict[str, str] = {}
        """Step that asks -> key of its question."""
        self._guard: Guard | None = None
        self._recorded: dict[str, State] = dict.fromkeys(progress.states, State.PENDING)
        self._began = time.monotonic()

    def run(self) -> RunResult:
        """Run all steps."""
        for step in self._bench.graph.pipeline.steps:
            if self._progress.states[step.name] is State.PENDING and (text := greedy(step)):
                self._bench.tell(Hint(text))
        with ThreadPoolExecutor(self._jobs + 1, thread_name_prefix="step") as crew:
            try:
                self._settle()
                while self._go_on(crew):
                    self._heed()
            except BaseException:
                self._stop()
                raise
        return self._end(outcome(self._progress))

    def _go_on(self, crew: ThreadPoolExecutor) -> bool:
        """Start what can be started; whether there is anything to wait for."""
        for name in startable(self._progress, self._jobs, fail_fast=self._fail_fast):
            step = self._bench.graph.steps[name]
            if step.approve is not None:
                self._progress = after(self._progress, name, State.ASKING)
                self._gathering.add(name)
                crew.submit(self._show, name)
            else:
                self._progress = after(self._progress, name, State.RUNNING)
                self._groups[name] = Group()
                if self._guard is None:
                    self._guard = Guard(self._bench.root, self._bench.pipeline)
                crew.submit(self._do, name, self._groups[name])
        stopping = self._fail_fast and self._progress.failed
        return bool(self._groups or self._gathering or (self._questions and self._wait and not stopping))

    def _do(self, name: str, group: Group) -> None:
        """In a thread: do a step."""
        try:
            self._over.put(do(self._bench, self._bench.graph.steps[name], group))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for it
            self._over.put(error)

    def _show(self, name: str) -> None:
        """In a thread: gather what a person is to see."""
        bench, step = self._bench, self._bench.graph.steps[name]
        assert step.approve is not None  # noqa: S101 - it asks
        try:
            mask = bench.secrets.mask
            self._over.put((name, gather(bench.root, step.approve, bench.index, self._metrics_of, mask)))
        except (Missing, OSError) as error:
            self._over.put(StepResult(name, State.FAILED, reason=str(error)))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for it
            self._over.put(error)

    def _heed(self) -> None:
        """Wait for something to happen, and take it in."""
        try:
            found = self._over.get(timeout=_LOOK if self._questions else None)
        except queue.Empty:
            self._listen()
            return
        if isinstance(found, BaseException):
            raise found
        if isinstance(found, tuple):
            self._ask(*found)
        else:
            self._take(found)

    def _take(self, result: StepResult) -> None:
        """A step is over."""
        self._groups.pop(result.name, None)
        self._gathering.discard(result.name)
        self._results[result.name] = result
        if self._bench.index.fresh:
            self._bench.record.remember(self._learnt())
        if self._bench.graph.steps[result.name].approve is None:
            self._recorded[result.name] = result.state  # by the thread that did it
        self._bench.tell(Ended(result.name, result.state, result.seconds, result.reason))
        self._progress = after(self._progress, result.name, result.state, result.reason)
        self._settle()

    def _learnt(self) -> dict[str, tuple[Sequence[int], str]]:
        fresh = self._bench.index.fresh
        return {path: fresh.pop(path) for path in list(fresh)}

    def _ask(self, name: str, evidence: Evidence) -> None:
        self._gathering.discard(name)
        question = self._bench.record.ask(self._bench.run, name, evidence.key, evidence.document)
        self._recorded[name] = State.ASKING
        self._questions[name] = evidence.key
        if question.answer is None:
            self._bench.tell(Asked(self._bench.run, name, evidence.document))
        self._listen()

    def _listen(self) -> None:
        """See whether somebody has answered."""
        for name, key in list(self._questions.items()):
            question = next(
                q for q in self._bench.record.questions(self._bench.run, name)[::-1] if q.key == key
            )
            if question.answer is None:
                continue
            del self._questions[name]
            who, comment = question.who or "", question.comment or ""
            self._bench.tell(Answered(name, question.answer, who, comment))
            state = State.DONE if question.answer == YES else State.DECLINED
            told = f"{'approved' if state is State.DONE else 'declined'} by {who}"
            self._take(StepResult(name, state, 0.0, f"{told}: {comment}" if comment else told))

    def _settle(self) -> None:
        """Record and tell what steps became because of others."""
        changed = {}
        for name, state in self._progress.states.items():
            if state is not self._recorded[name] and state is not State.RUNNING and state is not State.ASKING:
                changed[name] = (state, self._progress.reasons.get(name, ""))
                self._recorded[name] = state
        if not changed:
            return
        self._bench.record.set_steps(self._bench.run, changed)
        for name, (state, reason) in changed.items():
            if name not in self._results:
                self._results[name] = StepResult(name, state, 0.0, reason)
                self._bench.tell(Ended(name, state, 0.0, reason))

    def _stop(self) -> None:
        """End all processes, wait for them, and record that the run was interrupted."""
        for group in self._groups.values():
            group.stop()
        while self._groups:
            found = self._over.get()
            if isinstance(found, StepResult):
                self._groups.pop(found.name, None)
                self._results[found.name] = found
            elif isinstance(found, BaseException):
                break  # the record cannot be written: the guard clears away
        else:
            self._end(Outcome.INTERRUPTED)

    def _end(self, ended: Outcome) -> RunResult:
        bench = self._bench
        if self._fail_fast and ended is Outcome.FAILED:
            self._give_up("a step failed, and --fail-fast was asked for")
        bench.record.remember(self._learnt())
        bench.record.end_run(bench.run, ended)
        if self._guard is not None:
            self._guard.dismiss()
        tidy(bench)
        states = self._progress.states
        steps = tuple(self._results.get(name) or StepResult(name, states[name]) for name in states)
        seconds = time.monotonic() - self._began
        return RunResult(bench.run, bench.pipeline, ended, seconds, bench.values, steps)

    def _give_up(self, why: str) -> None:
        """What has not begun never will."""
        waiting = {State.PENDING, State.ASKING}
        rest = [name for name, state in self._progress.states.items() if state in waiting]
        self._bench.record.set_steps(self._bench.run, dict.fromkeys(rest, (State.BLOCKED, why)))
        self._results |= {name: StepResult(name, State.BLOCKED, reason=why) for name in rest}
