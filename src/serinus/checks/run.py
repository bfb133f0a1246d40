"""Running checks: jobs in parallel, a verdict each. The loop around ``plan`` and ``verdicts``."""

from __future__ import annotations

import os
import platform
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serinus.checks import LAYERS, Check, Verdict, chosen, priority
from serinus.checks.fixtures import FIXTURES, Fixture
from serinus.checks.plan import Job, Plan, plan
from serinus.checks.report import Report, Span
from serinus.checks.subjects import Given
from serinus.checks.verdicts import judged, skipped, unmade
from serinus.errors import ProjectError


@dataclass(frozen=True, slots=True)
class Planned:
    """The run is about to begin with these jobs; name and title of each."""

    jobs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Began:
    """A job has begun."""

    name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is over; the making of a fixture has no verdict."""

    name: str
    seconds: float
    verdict: Verdict | None = None


Moment = Planned | Began | Ended
"""What happens while checks run; told by one thread."""


def slots() -> int:
    """How many checks run at once where nobody says: many wait rather than compute."""
    return max(4, 2 * len(os.sched_getaffinity(0)))


def run(
    checks: Sequence[Check],
    given: Given,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    jobs: int | None = None,
    fail_fast: bool = False,
    tell: Callable[[Moment], None] = lambda moment: None,
    fixtures: Sequence[Fixture] = FIXTURES,
    clock: Callable[[], float] = time.perf_counter,
) -> Report:
    """Run checks in parallel.

    Args:
        checks: those there are.
        given: what they are to look at.
        only: ids, layers or patterns; none runs all.
        skip: ids, layers or patterns of those to leave out, beside ``checks.skip``; the report says so.
        jobs: how many run at once; those that measure time run one by one beside them.
        fail_fast: start nothing more once a check has failed.
        tell: told what happens.
        fixtures: what checks can take.
        clock: seconds that only grow.

    Raises:
        ProjectError: a name in ``only`` or ``skip`` fits no check, or a check takes what there is not.
    """
    _known(checks, [*only, *skip, *given.settings.skip, *given.settings.warn])
    wanted = [check for check in checks if not only or chosen(check.id, only)]
    left_out = {c.id: "asked for by --skip" for c in wanted if chosen(c.id, skip)}
    left_out |= {
        c.id: "asked for by checks.skip in the project file"
        for c in wanted
        if chosen(c.id, given.settings.skip)
    }
    active = [check for check in wanted if check.id not in left_out]
    begin = datetime.now(UTC).isoformat(timespec="seconds")
    runner = _Run(active, given, fixtures, slots=jobs or slots(), fail_fast=fail_fast, tell=tell, clock=clock)
    seconds = runner.go()
    verdicts = [*runner.verdicts.values(), *(skipped(name, why) for name, why in left_out.items())]
    order = {check.id: (_rank(check.layer), number) for number, check in enumerate(checks)}
    image = runner.values.get("image")
    named = given.image or (given.project.service.name if given.project else "")
    return Report(
        name=getattr(image, "name", named),
        digest=getattr(image, "digest", None),
        verdicts=tuple(sorted(verdicts, key=lambda verdict: order[verdict.check])),
        seconds=seconds,
        begin=begin,
        spans=tuple(sorted(runner.spans, key=lambda span: span.begin)),
        machine=machine() | {"runtime": given.runtime.name},
        complete=not only,
        source=given.image is None and given.url is None,
    )


def machine() -> dict[str, Any]:
    """The machine: what numbers in a report depend on."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0))
    return {
        "processor": name,
        "cores": cores,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _rank(layer: str) -> int:
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def _known(checks: Sequence[Check], names: Sequence[str]) -> None:
    from difflib import get_close_matches

    ids = [check.id for check in checks]
    for name in names:
        if not any(chosen(known, [name]) for known in ids) and name not in LAYERS:
            close = get_close_matches(name, [*ids, *LAYERS], n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else "`serinus check --list` shows all."
            raise ProjectError(f"there is no check {name!r}; {hint}", "Name a check by its id, or a layer.")


def jobs_of(checks: Sequence[Check], fixtures: Sequence[Fixture]) -> Plan:
    """The jobs of these checks and of the fixtures that they need. Pure.

    Raises:
        ProjectError: a parameter names no fixture; or as :func:`plan`.
    """
    known = {fixture.name: fixture for fixture in fixtures}
    wanted: dict[str, Job] = {}

    def want(name: str, user: str) -> None:
        if name == "given" or name in wanted:
            return
        if name not in known:
            shown = ", ".join(sorted(known))
            raise ProjectError(
                f"{user} takes {name!r}, which there is not; there are {shown}", "Rename the parameter."
            )
        fixture = known[name]
        needs = frozenset(fixture.needs) - {"given"}
        wanted[name] = Job(name, needs, fixture.measuring, fixture.seconds)
        for need in needs:
            want(need, f"the fixture {name}")

    for check in checks:
        for need in check.needs:
            want(need, f"the check {check.id}")
    made = [Job(c.id, frozenset(c.needs) - {"given"}, c.measuring, c.seconds) for c in checks]
    return plan([*made, *wanted.values()])


@dataclass(frozen=True, slots=True)
class _Over:
    """What a worker reports: the job, what came of it, when."""

    name: str
    value: Any
    error: BaseException | None
    begin: float
    seconds: float
    lane: int


class _Run:
    """One run: what is known of its jobs so far."""

    def __init__(
        self,
        checks: Sequence[Check],
        given: Given,
        fixtures: Sequence[Fixture],
        *,
        slots: int,
        fail_fast: bool,
        tell: Callable[[Moment], None],
        clock: Callable[[], float],
    ) -> None:
        self._plan = jobs_of(checks, fixtures)
        self._checks = {check.id: check for check in checks}
        self._fixtures = {fixture.name: fixture for fixture in fixtures}
        self._given = given
        self._slots = slots
        self._fail_fast = fail_fast
        self._tell = tell
        self._clock = clock
        self._over: queue.SimpleQueue[_Over] = queue.SimpleQueue()
        self._crew = Crew(slots)
        self._users = {name: self._plan.after(name) for name in self._plan.jobs}
        self._open: dict[str, Iterator[Any]] = {}
        self._errors: dict[str, BaseException] = {}
        self._begin = 0.0
        self.values: dict[str, Any] = {"given": given}
        self.verdicts: dict[str, Verdict] = {}
        self.spans: list[Span] = []

    def go(self) -> float:
        """Run all jobs; the seconds it took."""
        self._begin = self._clock()
        self._tell(Planned(tuple((name, self._title(name)) for name in self._plan.jobs)))
        done: set[str] = set()
        running: set[str] = set()
        try:
            while len(done) < len(self._plan.jobs):
                done |= self._settle(done | running)
                for job in self._plan.ready(done, running, self._slots):
                    running.add(job.name)
                    self._start(job)
                if not running:
                    continue
                over = self._over.get()
                running.discard(over.name)
                done.add(over.name)
                self._heed(over)
                for name in self._released(done):
                    self._close(name)
        finally:
            for name in reversed(list(self._open)):
                self._close(name)
            self._crew.end()
        return self._clock() - self._begin

    def _title(self, name: str) -> str:
        return self._fixtures[name].title if name in self._fixtures else self._checks[name].looks_at

    def _settle(self, begun: set[str]) -> set[str]:
        """The jobs that need not be started, since something they need is missing or the run is to end."""
        stop = self._fail_fast and any(v.status == "failed" for v in self.verdicts.values())
        settled: set[str] = set()
        for job in self._plan.jobs.values():
            if job.name in begun:
                continue
            missing = next((need for need in self._needs(job.name) if need in self._errors), None)
            if missing is not None:
                self._give_up(job.name, missing)
                settled.add(job.name)
            elif stop:
                if job.name in self._checks:
                    self._judge(skipped(job.name, "a check failed, and --fail-fast was asked for"))
                settled.add(job.name)
        return settled

    def _needs(self, name: str) -> tuple[str, ...]:
        return self._checks[name].needs if name in self._checks else self._fixtures[name].needs

    def _give_up(self, name: str, missing: str) -> None:
        error = self._errors[missing]
        if name in self._checks:
            # What went wrong first, rather than what needed it, says what could not be done, and whose fault.
            first = self._fixtures[next(n for n, known in self._errors.items() if known is error)]
            self._judge(unmade(name, first.title, error, first.owner == name))
        else:
            self._errors[name] = error

    def _start(self, job: Job) -> None:
        begin = self._clock() - self._begin
        needs = {name: self.values[name] for name in self._needs(job.name)}
        self._tell(Began(job.name))

        def work(lane: int) -> None:
            value, error = None, None
            try:
                value = self._made(job.name, needs)
            except BaseException as caught:  # noqa: BLE001 - judged by the thread that waits for it
                error = caught
            seconds = self._clock() - self._begin - begin
            self._over.put(_Over(job.name, value, error, begin, seconds, lane))

        self._crew.give(work, job.measuring)

    def _made(self, name: str, needs: Mapping[str, Any]) -> Any:
        if name in self._checks:
            return self._checks[name].function(**needs)
        made = self._fixtures[name].make(**needs)
        if isinstance(made, Iterator):
            value = next(made)
            self._open[name] = made
            return value
        return made

    def _heed(self, over: _Over) -> None:
        job = self._plan.jobs[over.name]
        needs = tuple(sorted(job.needs))
        self.spans.append(Span(over.name, self._title(over.name), over.begin, over.seconds, over.lane, needs))
        if over.name in self._checks:
            warn = chosen(over.name, self._given.settings.warn)
            verdict = judged(self._checks[over.name], over.value, over.error, self._given.project, warn)
            self._judge(replace(verdict, begin=over.begin, seconds=over.seconds))
            return
        if over.error is None:
            self.values[over.name] = over.value
        else:
            self._errors[over.name] = over.error
        self._tell(Ended(over.name, over.seconds))

    def _judge(self, verdict: Verdict) -> None:
        self.verdicts[verdict.check] = verdict
        self._tell(Ended(verdict.check, verdict.seconds, verdict))

    def _released(self, done: set[str]) -> list[str]:
        """The open fixtures that nobody needs any more."""
        return [name for name in self._open if name in done and self._users[name] <= done]

    def _close(self, name: str) -> None:
        """Finish a fixture; what it says at its end is no verdict about anything."""
        made = self._open.pop(name)
        self._crew.give(lambda lane: deque(made, maxlen=0), measuring=False)


class Crew:
    """Threads that live as long as a run: replicas end with the thread that started them.

    Args:
        slots: threads for what gives way to measurements; one more, of full priority, measures.
    """

    def __init__(self, slots: int) -> None:
        self._work: queue.SimpleQueue[Callable[[int], object] | None] = queue.SimpleQueue()
        self._measuring: queue.SimpleQueue[Callable[[int], object] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, args=(self._measuring, 0), daemon=True)]
        # One thread more than slots: what finishes fixtures must not wait for a check.
        for lane in range(1, slots + 2):
            self._threads.append(threading.Thread(target=self._serve, args=(self._work, lane), daemon=True))
        for thread in self._threads:
            thread.start()

    def give(self, work: Callable[[int], object], measuring: bool) -> None:
        """Have something done by one of the threads; it is told which, and must not raise."""
        (self._measuring if measuring else self._work).put(work)

    def end(self, patience: float = 60.0) -> None:
        """Wait until all that was given is done, and let the threads go; some seconds, if one hangs."""
        until = time.monotonic() + patience
        self._measuring.put(None)
        for _ in self._threads[1:]:
            self._work.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    @staticmethod
    def _serve(work: queue.SimpleQueue[Callable[[int], object] | None], lane: int) -> None:
        if lane:
            priority.give_way()
        while (task := work.get()) is not None:
            with suppress(Exception):  # only finishing a fixture can raise here
                task(lane)
