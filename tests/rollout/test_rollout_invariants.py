"""The invariants of a rollout, whatever happens in whatever order: a state machine over the pure core, a real
journal, a fake router and a fake fleet. The fakes hold two of them by themselves: nothing is routed that is
not ready, nothing is retired that is routed."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from rollout_fakes import NEW, NEWER, OLD, QUICK, World, version

from serinus.errors import SerinusError
from serinus.rollout import Routing
from serinus.rollout.command import Abort, Command, Deploy, Pause, Promote, Resume, Undo
from serinus.rollout.journal import Journal
from serinus.rollout.policy import Strategy
from serinus.rollout.run import Controller
from serinus.rollout.state import Phase

DIGESTS = (OLD, NEW, NEWER)
POLICIES = (
    QUICK,
    replace(QUICK, gates=(0.5,)),
    replace(QUICK, strategy=Strategy.BLUE_GREEN),
    replace(QUICK, steps=(1.0,)),
)
WRITES = ("begin", "commit", "committed")
POINTS = (*WRITES, *(f"{point} decision" for point in WRITES))


class Killed(BaseException):
    """The process is gone, at a point of the journal."""


class Rollouts(RuleBasedStateMachine):
    """Anything may happen at any time, a kill at every write included."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World()
        self.world.before_apply = self.held_by_the_journal
        self.kill_at: str | None = None
        self.passes = 0

    def teardown(self) -> None:
        self.journal.close()
        self.folder.cleanup()

    @initialize()
    def first(self) -> None:
        self.start()
        self.command(Deploy(version(OLD), QUICK))
        self.look(0, 0.0, 3)

    def start(self) -> None:
        self.journal = Journal(
            Path(self.folder.name) / "journal.db", clock=lambda: self.world.now, point=self.point
        )
        self.controller = Controller(
            self.journal,
            self.world,
            self.world,
            idle=QUICK,
            clock=lambda: self.world.now,
            monotonic=lambda: self.world.now,
        )

    def point(self, name: str) -> None:
        point, *decided = name.split()
        if self.kill_at in (point, f"{point} decision" if decided else point):
            self.kill_at = None
            raise Killed

    def tick(self) -> None:
        self.world.now += 0.1
        try:
            self.controller.tick()
        except Killed:
            self.journal.close()
            self.start()

    def held_by_the_journal(self, routing: Routing) -> None:
        """5: what is done is what the journal holds already."""
        state, _ = self.journal.load()
        if routing.weight > 0:
            assert state.rollout is not None
            assert routing.candidate is not None
            assert (state.rollout.candidate, state.rollout.weight) == (
                routing.candidate.version,
                routing.weight,
            )
        before = self.world.routing
        grows = before is not None and routing.weight > before.weight
        if grows or (routing.weight and before is None):
            self.was_passed(routing)

    def was_passed(self, routing: Routing) -> None:
        """1: a share grows only after a recorded pass for this digest and this step."""
        assert routing.candidate is not None
        state, _ = self.journal.load()
        assert state.rollout is not None
        rollout = state.rollout
        entries = [
            one.entry for one in self.journal.history(limit=100_000) if one.entry.rollout == rollout.number
        ]
        assert all(one.version == routing.candidate.version for one in entries)
        kinds = [one.kind for one in entries]
        if rollout.phase is Phase.STEPPING and rollout.step == 0:
            assert "ready" in kinds
        elif rollout.phase is Phase.STEPPING:
            assert any(one.kind == "pass" and one.numbers.get("step") == rollout.step - 1 for one in entries)
        else:
            assert "switch" in kinds
            assert "pass" in kinds or rollout.policy.steps == (1.0,)

    def command(self, wanted: Command) -> Any:
        answer = self.controller.submit(wanted)
        self.tick()
        if answer.done():
            with suppress(SerinusError):
                return answer.result(0)
        return None

    @rule(
        requests=st.sampled_from([0, 10, 200, 1000]),
        bad=st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0]),
        times=st.integers(1, 40),
    )
    def look(self, requests: int, bad: float, times: int) -> None:
        before = self.world.routing.weight if self.world.routing else 0.0
        for _ in range(times):
            self.world.serve(requests, bad=bad)
            self.tick()
        rollout = self.controller.view.state.rollout
        if not requests and rollout is not None and rollout.phase is Phase.STEPPING and before:
            # 2: no data is never a pass. What was shown before may have been enough for one step.
            assert self.world.routing is not None
            assert self.world.routing.weight <= 1.0
            assert rollout.here.candidate.total > 0 or rollout.elapsed >= 0

    @rule(digest=st.sampled_from(DIGESTS), policy=st.sampled_from(POLICIES))
    def deploy(self, digest: str, policy: Any) -> None:
        before = self.controller.view.state.rollout
        state = self.command(Deploy(version(digest), policy))
        rollout = state.rollout if state is not None else None
        if rollout is not None and (before is None or before.number != rollout.number):
            # 6: a new digest starts with no evidence.
            assert rollout.here.candidate.total == 0
            assert all(one.candidate == one.others == 0 for one in rollout.evidence.metrics)

    @rule(full=st.booleans())
    def promote(self, full: bool) -> None:
        self.command(Promote(full))

    @rule()
    def abort(self) -> None:
        """3: it beats every state, gate and pause."""
        was = self.controller.view.state.rollout
        state = self.command(Abort())
        if was is not None and state is not None:
            assert state.rollout is None
            assert state.stable is not None or was.policy is not None
            if not self.world.deaf:
                assert self.world.routing is None or self.world.routing.weight == 0.0

    @rule(wanted=st.sampled_from([Pause(), Resume(), Undo(QUICK)]))
    def say(self, wanted: Command) -> None:
        self.command(wanted)

    @rule(digest=st.sampled_from(DIGESTS))
    def breaks(self, digest: str) -> None:
        self.world.broken ^= {digest}
        self.tick()

    @rule()
    def goes_deaf(self) -> None:
        self.world.deaf = not self.world.deaf
        self.tick()

    @rule(
        point=st.sampled_from(POINTS),
        wanted=st.sampled_from([Deploy(version(NEW), QUICK), Abort(), Promote()]),
    )
    def is_killed(self, point: str, wanted: Command) -> None:
        self.kill_at = point
        self.command(wanted)
        self.kill_at = None
        self.tick()

    @invariant()
    def what_is_in_charge_runs(self) -> None:
        """7: the version in charge, and the one before it while the bake lasts, are never stopped."""
        if not hasattr(self, "controller"):
            return
        state = self.controller.view.state
        if state.stable is not None:
            assert state.stable in self.world.running

    @invariant()
    def the_router_has_what_is_wanted(self) -> None:
        if not hasattr(self, "controller") or self.world.deaf or self.controller.view.trouble:
            return
        routing, state = self.world.routing, self.controller.view.state
        if routing is None or routing.candidate is None:
            return
        assert state.rollout is None or routing.weight <= 1.0
        if state.rollout is None:
            assert routing.weight == 0.0


Rollouts.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestRollouts = Rollouts.TestCase
