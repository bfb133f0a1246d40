"""The controller: observe, decide, record, act, read back; again and again.

One thread does all of it. Commands come from other threads, wait for their turn, and are decided, recorded
and acted on like everything else. What cannot be recorded is not done; what cannot be seen is not judged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue

from serinus.errors import JournalError, RolloutError, RouterError, SerinusError
from serinus.rollout import Arm, Attempt, Fleet, Found, Router, Routing, Wanted, plan
from serinus.rollout.command import Command, command
from serinus.rollout.compare import Answered
from serinus.rollout.decide import decide
from serinus.rollout.drift import Interval
from serinus.rollout.evidence import p95
from serinus.rollout.journal import Journal, Recorded
from serinus.rollout.policy import Policy
from serinus.rollout.seen import Decision, Probed, Seen
from serinus.rollout.state import State
from serinus.rollout.traffic import Traffic

log = logging.getLogger("serinus.rollout")

EVERY = 0.1
"""Seconds between two looks."""
_LONGEST_LOOK = 1.0
"""As many seconds count at most between two looks: a controller that did not look has judged nothing."""
_LATENCIES = 2000
"""Latest answers of stable whose 95th percentile is frozen when a rollout begins."""


Sensed = tuple[tuple[Interval, ...], tuple[tuple[Answered, Answered], ...], Probed | None]
"""New predictions, new pairs of answers, and what the examples have shown."""
Senses = Callable[[State, Mapping[str, Found], Routing | None], Sensed]
"""What else can be seen of an environment, beside attempts and replicas; returns at once."""


def _nothing(state: State, found: Mapping[str, Found], routing: Routing | None) -> Sensed:
    return (), (), None


Told = Callable[[Recorded], None]
"""Is told each entry of the history, after it was recorded."""


def _ignore(recorded: Recorded) -> None:
    return


@dataclass(frozen=True, slots=True)
class View:
    """What a look has shown, for those who watch."""

    state: State
    routing: Routing | None
    """The one in force, as far as it is known."""
    found: Mapping[str, Found] = field(hash=False)
    traffic: Traffic
    trouble: str
    """What keeps the controller from its work; empty when nothing does."""


class Controller:
    """Runs the rollouts of one environment.

    Args:
        journal: keeps what is wanted.
        router: splits the traffic.
        fleet: runs the replicas.
        idle: the policy where there is no rollout.
        replicas: of each version.
        senses: see :class:`Senses`.
        told: is told each entry.
        clock: seconds since the epoch.
        monotonic: seconds that only grow.
    """

    def __init__(
        self,
        journal: Journal,
        router: Router,
        fleet: Fleet,
        *,
        idle: Policy,
        replicas: int = 1,
        senses: Senses = _nothing,
        told: Told = _ignore,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._router = router
        self._fleet = fleet
        self._idle = idle
        self._replicas = replicas
        self._senses = senses
        self._told = told
        self._clock = clock
        self._monotonic = monotonic
        self._commands: SimpleQueue[tuple[Command, Future[State]]] = SimpleQueue()
        self._state, self._place = journal.load()
        self._applied: Routing | None = None
        self._trouble = ""
        self._looked: float | None = None
        self._latencies: list[float] = []
        self._traffic = Traffic()
        self._view = View(self._state, None, {}, self._traffic, "")

    @property
    def view(self) -> View:
        """What the latest look has shown; may be read from any thread."""
        return self._view

    def submit(self, wanted: Command) -> Future[State]:
        """Ask for something; may be called from any thread.

        Returns:
            The state after it was recorded; RolloutError where it makes no sense now.
        """
        answer: Future[State] = Future()
        self._commands.put((wanted, answer))
        return answer

    def run(self, stop: threading.Event, every: float = EVERY) -> None:
        """Look, decide and act until ``stop`` is set."""
        while not stop.is_set():
            begin = self._monotonic()
            try:
                self.tick()
            except Exception as error:  # what serves goes on serving, and the next look may go well
                log.exception("a look at the environment failed")
                self._trouble = f"a fault of Serinus: {error!r}"
                self._view = replace(self._view, trouble=self._trouble)
            stop.wait(max(0.0, every - (self._monotonic() - begin)))
        self._refuse_all()

    def tick(self) -> None:
        """One look, and what follows from it."""
        found = self._fleet.look()
        seen, place, trouble = self._observe(found)
        obeyed: list[tuple[Future[State], State]] = []
        try:
            self._record(decide(self._state, seen), place)
            self._obey(obeyed)
        except JournalError as error:
            trouble = error.message
        try:
            self._trouble = self._act(found) or trouble
            self._view = View(self._state, self._applied, found, self._traffic, self._trouble)
        finally:
            for answer, state in obeyed:
                answer.set_result(state)

    # Observe

    def _observe(self, found: Mapping[str, Found]) -> tuple[Seen, str, str]:
        """What there is to see, the place in the record behind it, what keeps the router from being seen."""
        now = self._monotonic()
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        place, trouble = self._place, ""
        attempts: tuple[Attempt, ...] = ()
        try:
            attempts, place = self._router.attempts(self._place)
            in_force = self._in_force()
        except RouterError as error:
            trouble, in_force = error.message, False
        self._keep_latencies(attempts)
        self._traffic = self._traffic.after(attempts, self._clock())
        intervals, pairs, probed = self._senses(self._state, found, self._applied if in_force else None)
        seen = Seen(
            now=self._clock(),
            seconds=passed,
            attempts=attempts,
            found=found,
            p95=p95(self._latencies),
            predictions=intervals,
            pairs=pairs,
            probed=probed,
            in_force=in_force,
            blind=trouble or self._trouble,
        )
        return seen, place, trouble

    def _in_force(self) -> bool:
        """Whether the router says that it has what it was given, and that is what is wanted."""
        if self._applied is None or self._router.generation() != self._applied.generation:
            return False
        rollout = self._state.rollout
        return rollout is None or self._applied.weight == rollout.weight

    def _keep_latencies(self, attempts: Sequence[Attempt]) -> None:
        fresh = [a.seconds for a in attempts if a.arm is Arm.STABLE and a.predicts and 200 <= a.status < 300]
        if fresh:
            self._latencies = (self._latencies + fresh)[-_LATENCIES:]

    # Record

    def _record(self, decision: Decision, place: str) -> None:
        recorded = self._journal.record(decision.state, decision.entries, place)
        if decision.state.stable != self._state.stable:
            self._latencies = []
        if decision.state.count != self._state.count:
            self._traffic = Traffic()  # what is shown is of these two versions
        self._state, self._place = decision.state, place
        self._view = replace(self._view, state=decision.state)
        for one in recorded:
            self._told(one)

    def _obey(self, obeyed: list[tuple[Future[State], State]]) -> None:
        """Carry out the commands that have come, one after the other; they are answered once it is done."""
        while True:
            try:
                wanted, answer = self._commands.get_nowait()
            except Empty:
                return
            try:
                self._record(command(self._state, wanted, self._clock()), self._place)
            except SerinusError as error:
                answer.set_exception(error)
            else:
                obeyed.append((answer, self._state))

    def _refuse_all(self) -> None:
        while True:
            try:
                _, answer = self._commands.get_nowait()
            except Empty:
                return
            answer.set_exception(RolloutError("the environment is stopping", "Start it again: `serinus up`."))

    # Act

    def _act(self, found: Mapping[str, Found]) -> str:
        """Bring replicas and router to what is wanted; what keeps it from that, or nothing.

        What is still routed goes on running until the router has let go of it.
        """
        wanted = plan.wanted(self._state, self._replicas)
        self._fleet.keep((*wanted, *self._still_routed(wanted, found)))
        routing = plan.routing(self._state, found, self._idle)
        if self._applied is None or replace(routing, generation=self._applied.generation) != self._applied:
            before = self._applied.generation if self._applied else 0
            routing = replace(routing, generation=max(before + 1, int(self._clock() * 1000)))
            try:
                self._router.apply(routing)
            except RouterError as error:
                return error.message
            self._applied = routing
        self._fleet.keep(wanted)
        return ""

    def _still_routed(self, wanted: Sequence[Wanted], found: Mapping[str, Found]) -> tuple[Wanted, ...]:
        """What the router may send requests to; after a restart nobody knows, and it is whatever runs."""
        routed = set(found)
        if self._applied is not None:
            backends = (self._applied.stable, self._applied.candidate)
            routed = {one.version for one in backends if one is not None and one.addresses}
        return tuple(Wanted(version, self._replicas) for version in routed - {one.version for one in wanted})
