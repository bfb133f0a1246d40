"""A rollout from end to end, with a fake router and fleet and a real journal; each invariant by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rollout_fakes import NEW, NEWER, OLD, QUICK, World, version

from serinus.errors import JournalError, RolloutError
from serinus.rollout import Arm, Attempt
from serinus.rollout.command import Abort, Command, Deploy, Pause, Promote, Resume, Undo
from serinus.rollout.journal import Journal
from serinus.rollout.policy import Policy, Strategy
from serinus.rollout.run import Controller


class Bench:
    """A controller over a world, moved on by hand."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.path = folder / "journal.db"
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.path, clock=lambda: self.world.now)
        self.controller = Controller(
            self.journal,
            self.world,
            self.world,
            idle=QUICK,
            clock=lambda: self.world.now,
            monotonic=lambda: self.world.now,
        )

    def restart(self) -> None:
        """Die without a word, and come back."""
        self.journal.close()
        self.start()

    def tick(self, times: int = 1, requests: int = 0, bad: float = 0.0) -> None:
        for _ in range(times):
            self.world.now += 0.1
            self.world.serve(requests, bad=bad)
            self.controller.tick()

    def until(self, kind: str, *, requests: int = 100, bad: float = 0.0, most: int = 3000) -> None:
        """Move on until the latest rollout has come to an entry of this kind."""
        for _ in range(most):
            if kind in self.kinds():
                return
            self.tick(requests=requests, bad=bad)
        pytest.fail(f"no {kind} in {self.kinds()}: {self.controller.view}")

    def say(self, wanted: Command) -> None:
        answer = self.controller.submit(wanted)
        self.tick()
        answer.result(0)

    def kinds(self) -> list[str]:
        history = self.journal.history()
        latest = max((one.entry.rollout for one in history), default=0)
        return [one.entry.kind for one in history if one.entry.rollout == latest]

    @property
    def weight(self) -> float:
        return self.world.routing.weight if self.world.routing else 0.0

    @property
    def stable(self) -> str | None:
        return self.controller.view.state.stable


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.tick()
    made.say(Deploy(version(OLD), QUICK))
    made.until("promote")
    made.tick(20, requests=100)
    yield made
    made.journal.close()


def test_the_first_version_is_in_charge_as_soon_as_it_is_ready(bench: Bench) -> None:
    assert (bench.stable, bench.weight) == (OLD, 0.0)
    assert bench.world.routing is not None
    assert bench.world.routing.stable is not None
    assert bench.world.routing.stable.addresses


def test_a_clean_canary_goes_step_by_step_and_is_promoted(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("promote")
    kinds = bench.kinds()
    assert kinds == ["start", "ready", "step", "pass", "step", "pass", "switch", "promote"]
    weights = [routing.weight for routing in bench.world.applied]
    assert [w for w, before in zip(weights[1:], weights, strict=False) if w != before] == [0.1, 0.5, 1.0, 0.0]
    bench.tick(2)
    assert set(bench.world.running) == {NEW}


def test_a_candidate_that_is_always_wrong_goes_back_at_once(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.until("abort", requests=20, bad=1.0, most=5)
    assert (bench.weight, bench.stable) == (0.0, OLD)
    said = next(one.entry for one in bench.journal.history() if one.entry.kind == "abort")
    assert "more errors than stable" in said.message
    assert said.numbers["metric"] == "errors"
    bench.tick(2)
    assert set(bench.world.running) == {OLD}


def test_1_the_weight_rises_only_after_a_recorded_pass_for_this_digest_and_step(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    seen: list[tuple[float, list[str]]] = []

    def watch(routing: object) -> None:
        seen.append((bench.world.routing.weight if bench.world.routing else 0.0, bench.kinds()))

    bench.world.before_apply = watch
    bench.until("promote")
    for (before, _), (_, kinds) in pairwise(seen):
        passes = kinds.count("pass") + kinds.count("ready")
        assert passes >= {0.0: 1, 0.1: 2, 0.5: 3, 1.0: 3}[before]


def test_2_no_data_is_never_a_pass(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step", requests=0)
    bench.tick(3000)
    assert bench.weight == 0.1
    assert "hold" in bench.kinds()


def test_2_a_router_that_cannot_be_read_is_never_a_pass(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.world.deaf = True
    bench.tick(100, requests=1000)
    assert bench.kinds()[-1] in {"step", "hold"}
    assert "does not answer" in bench.controller.view.trouble
    bench.world.deaf = False
    bench.until("promote")


def test_2_a_stopped_controller_is_never_a_pass(bench: Bench) -> None:
    policy = replace(QUICK, minimum=60.0)
    bench.say(Deploy(version(NEW), policy))
    bench.until("step")
    bench.world.serve(20_000)
    bench.world.now += 3600
    bench.restart()
    bench.tick(5)
    assert bench.weight == 0.1
    assert "s more at 10 %" in (bench.controller.view.state.rollout or pytest.fail("it is over")).waits


def test_3_abort_beats_a_pause_and_a_gate_and_a_candidate_that_never_starts(bench: Bench) -> None:
    bench.world.broken.add(NEW)
    bench.say(Deploy(version(NEW), QUICK))
    bench.say(Pause())
    bench.say(Abort("because"))
    bench.tick(2)
    assert set(bench.world.running) == {OLD}
    bench.world.broken.clear()
    bench.say(Deploy(version(NEW), replace(QUICK, gates=(0.5,))))
    bench.until("hold")
    assert bench.weight == 0.1
    bench.say(Pause())
    bench.say(Abort())
    assert bench.weight == 0.0


def test_4_a_candidate_whose_replicas_are_gone_gets_no_traffic(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.world.broken.add(NEW)
    bench.tick(2)
    assert bench.weight == 0.0
    bench.world.broken.clear()
    bench.tick(2)
    assert bench.weight == 0.1


def test_5_what_is_wanted_is_in_the_journal_before_it_is_done(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))

    def held(routing: object) -> None:
        state, _ = bench.journal.load()
        assert (state.rollout.weight if state.rollout else 0.0) == routing.weight  # type: ignore[attr-defined]

    bench.world.before_apply = held
    bench.until("promote")


def test_6_a_new_digest_starts_with_no_evidence_and_takes_the_place_of_the_old(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.tick(10, requests=100)
    bench.say(Deploy(version(NEWER), QUICK))
    rollout = bench.controller.view.state.rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.here.candidate.total, rollout.weight) == (NEWER, 0, 0.0)
    assert all(metric.candidate == 0 for metric in rollout.evidence.metrics)
    assert "supersede" in [one.entry.kind for one in bench.journal.history()]
    bench.until("promote")
    assert bench.stable == NEWER


def test_7_after_all_traffic_the_old_version_stays_warm_and_the_judging_goes_on(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("switch")
    assert {OLD, NEW} <= set(bench.world.running)
    bench.until("abort", requests=100, bad=0.5, most=15)
    assert (bench.stable, bench.weight) == (OLD, 0.0)


def test_8_what_is_not_supported_is_an_error(bench: Bench) -> None:
    foreign = replace(version(NEW), records=False)
    answer = bench.controller.submit(Deploy(foreign, replace(QUICK, strategy=Strategy.SHADOW)))
    bench.tick()
    with pytest.raises(RolloutError, match="notes no answers"):
        answer.result(0)


def test_9_one_controller_for_an_environment(bench: Bench) -> None:
    with pytest.raises(JournalError, match="another controller"):
        Journal(bench.path)


def test_a_gate_waits_for_a_person(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), replace(QUICK, gates=(0.1, 0.5))))
    bench.until("hold")
    assert bench.weight == 0.0
    bench.say(Promote())
    bench.tick(2)
    assert bench.weight == 0.1
    bench.tick(200, requests=100)
    assert bench.weight == 0.1
    bench.say(Promote())
    bench.until("promote")


def test_pausing_stays_and_goes_on_judging(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.say(Pause())
    bench.tick(100, requests=100)
    assert bench.weight == 0.1
    bench.say(Resume())
    bench.until("promote")
    bench.say(Deploy(version(OLD), QUICK))
    bench.until("step")
    bench.say(Pause())
    bench.until("abort", bad=1.0, most=10)


def test_undo_while_baking_goes_back_to_the_warm_version(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("switch")
    bench.say(Undo(QUICK))
    assert (bench.stable, bench.weight) == (OLD, 0.0)


def test_undo_afterwards_starts_the_version_before_and_switches(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("promote")
    bench.say(Undo(QUICK))
    bench.tick(3)
    assert bench.stable == OLD
    bench.say(Undo(QUICK))
    bench.tick(3)
    assert bench.stable == NEW


def test_promote_passes_a_step_and_ends_the_bake(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.say(Promote())
    assert bench.weight == 0.5
    bench.say(Promote(full=True))
    assert bench.weight == 1.0
    bench.say(Promote())
    assert bench.stable == NEW


def test_blue_green_waits_for_the_examples(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), replace(QUICK, strategy=Strategy.BLUE_GREEN)))
    bench.tick(50, requests=100)
    assert bench.weight == 0.0
    rollout = bench.controller.view.state.rollout
    assert rollout is not None
    assert rollout.phase == "probing"


def test_deploying_what_is_in_charge_does_nothing(bench: Bench) -> None:
    before = bench.journal.history()
    bench.say(Deploy(version(OLD), QUICK))
    assert bench.journal.history() == before
    with pytest.raises(RolloutError, match="no rollout is under way"):
        bench.say(Abort())


def test_a_candidate_that_keeps_crashing_goes_back(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.world.crashes[NEW] = 5
    bench.tick()
    assert bench.kinds()[-1] == "abort"


def test_a_full_disk_moves_nothing_and_is_told(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    bench.journal._db.execute("PRAGMA max_page_count = 1")  # SQLite says: database or disk is full
    bench.tick(400, requests=100)
    assert bench.weight == 0.1
    assert "full" in bench.controller.view.trouble
    bench.journal._db.execute("PRAGMA max_page_count = 1073741823")
    bench.until("promote")


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal._db.execute("UPDATE meta SET schema = 99")
    journal.close()
    with pytest.raises(JournalError, match="schema 99"):
        Journal(path)
    (tmp_path / "other.db").write_text("this is no database, and never was one")
    with pytest.raises(JournalError, match="not a database"):
        Journal(tmp_path / "other.db")


def test_a_policy_is_kept_whole() -> None:
    assert Policy.from_json(QUICK.to_json()) == QUICK


@pytest.mark.parametrize(("slow", "end"), [("abort", "abort"), ("hold", "hold"), ("ignore", "promote")])
def test_slow_answers_do_what_the_policy_says(bench: Bench, slow: str, end: str) -> None:
    bench.say(Deploy(version(NEW), replace(QUICK, slow=slow, bake=1.0)))
    bench.until("step")
    for _ in range(400):
        if end in bench.kinds():
            break
        bench.tick()
        bench.world.serve(100)
        bench.world.record[-10:] = [replace(one, seconds=9.0) for one in bench.world.record[-10:]]
    assert end in bench.kinds()


def test_6_a_late_answer_of_the_candidate_before_is_no_evidence(bench: Bench) -> None:
    bench.say(Deploy(version(NEW), QUICK))
    bench.until("step")
    old = bench.world.routing
    assert old is not None
    bench.say(Deploy(version(NEWER), QUICK))
    bench.until("step")
    late = Attempt(Arm.CANDIDATE, 0.1, 500, 0.1, generation=old.generation)
    bench.world.record += [late] * 50
    bench.tick(3)
    rollout = bench.controller.view.state.rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.here.candidate.errors) == (NEWER, 0)
