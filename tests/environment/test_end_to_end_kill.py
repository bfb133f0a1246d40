"""Whatever is killed, and whenever: what serves goes on, what was decided stands, and the rollout ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from given import Running, tag

from serinus.environment.status import Status
from serinus.errors import ControlError
from serinus.rollout.state import End, Phase, State

pytestmark = [pytest.mark.envoy, pytest.mark.sandbox, pytest.mark.mmdebstrap, pytest.mark.network]

AnEnvironment = Callable[..., Running]
RATE = 200
QUICK = {"steps": [50, 100], "minimum": 0.2, "bake": 0.5, "rollout": "margin = 0.05"}
KILLED = str(Path(__file__).with_name("killed_up.py"))
DECISIONS = ("start", "ready", "switch", "promote")
"""The decisions of a canary of two steps, each by an entry of its own."""
POINTS = ("begin", "commit", "committed")


def test_the_controller_may_die_at_every_point_of_every_decision(an_environment: AnEnvironment) -> None:
    """One rollout, and one controller after the other, of which each dies a little later than the last."""
    running = an_environment(**QUICK)
    running.up("good")
    running.load(RATE)
    running.kill()
    for kind, point in product(DECISIONS, POINTS):
        before = running.journal()
        _die_at(running, point, kind, deploys="same" if kind == "start" else None)
        now = running.journal()
        # What was decided a moment ago was not done any more; all that was decided before it is in force.
        assert running.in_force() == _weight(before if point == "committed" else now), f"{point} {kind}"
        _runs_once(running, now)
    running.start()
    running.until(lambda s: _as_wanted(s) and s.rollout is None, "it goes on, and it is over")
    assert running.in_charge() == tag("same")
    decided = [kind for kind in running.kinds() if kind != "hold"]
    assert decided == ["start", "ready", "step", "pass", "switch", "promote"]
    running.until(lambda s: running.running() == {running.digest("same"): 1}, "one version runs, once")
    assert running.in_force() == 0
    assert running.seen().nothing_wrong(RATE * 10)


def test_the_controller_may_die_at_every_point_of_an_abort(
    an_environment: AnEnvironment,
) -> None:
    """The candidate answers 500: nobody sees it, whoever lives; and it goes back, whoever dies."""
    running = an_environment(**QUICK)
    running.up("good")
    running.load(RATE)
    running.kill()
    for point in POINTS:
        _die_at(running, point, "abort", deploys="always 500" if point == POINTS[0] else None)
        _runs_once(running, running.journal(), starting="always 500")
    running.start()
    running.until(lambda s: _as_wanted(s) and s.rollout is None, "it goes on, and it is over")
    assert running.kinds().count("abort") == 1
    assert running.in_charge() == tag("good")
    running.until(lambda s: running.running() == {running.digest("good"): 1}, "one version runs, once")
    assert running.in_force() == 0
    assert running.seen().nothing_wrong(RATE * 2)


def test_the_controller_may_die_where_it_only_counts(an_environment: AnEnvironment) -> None:
    """Each answer of the candidate is counted once, whoever was there to count it."""
    running = _half_way(an_environment)
    running.kill()
    before = _counted(running.journal())
    running.load(RATE)
    for point in POINTS * 2:
        _die_at(running, point, "counted")
        now = running.journal()
        assert running.in_force() == _weight(now) == 0.5
        _runs_once(running, now)
    running.start()
    running.until(_as_wanted, "it goes on")
    callers = running.seen()
    assert callers.nothing_wrong(RATE * 2)
    time.sleep(1)  # ten looks
    running.kill()
    assert _counted(running.journal()) == before + callers.versions[running.digest("same")]
    running.start()
    running.until(_as_wanted, "it goes on")
    _goes_on(running)


def test_envoy_may_be_killed_in_a_rollout(an_environment: AnEnvironment) -> None:
    running = _half_way(an_environment)
    running.load(RATE)
    before = running.envoy.pid()
    running.kill_envoy()
    running.until(lambda s: running.in_force() == 0.5 and _as_wanted(s), "it is back, as it was")
    assert running.envoy.pid() != before
    broken = set(running.seen().answers) - {"ok"}
    assert all(what.startswith(("no answer", "no connection")) for what in broken)
    _goes_on(running)


def test_a_replica_of_the_version_in_charge_may_be_killed(an_environment: AnEnvironment) -> None:
    """There are two of them: with one alone there would be nobody to ask."""
    running = _half_way(an_environment, environment="replicas = 2")
    running.load(RATE)
    running.kill_replica("good", 1)
    running.until(lambda s: _restarted(s) == {tag("good")} and _as_wanted(s), "it is back")
    assert set(running.running().values()) == {2}
    assert running.seen().nothing_wrong(RATE // 4)
    _goes_on(running)


def test_a_replica_of_the_candidate_may_be_killed(an_environment: AnEnvironment) -> None:
    running = _half_way(an_environment)
    running.load(RATE)
    running.kill_replica("same")
    running.until(lambda s: _restarted(s) == {tag("same")} and _as_wanted(s), "it is back")
    assert set(running.running().values()) == {1}
    assert running.seen().nothing_wrong(RATE // 4)
    _goes_on(running)


def test_everything_may_be_killed_at_once(an_environment: AnEnvironment) -> None:
    running = _half_way(an_environment)
    before = running.status()
    running.kill_all()
    _nothing_runs(running)
    running.start()
    after = running.until(_as_wanted, "it is as it was")
    assert running.in_force() == 0.5
    assert set(running.running()) == {running.digest("good"), running.digest("same")}
    assert after.rollout is not None
    assert before.rollout is not None
    assert (after.stable, after.rollout.number) == (before.stable, before.rollout.number)
    _goes_on(running)


def _die_at(running: Running, point: str, kind: str, deploys: str | None = None) -> None:
    """A controller goes on where the last one died, and is killed there."""
    running.start(program=(KILLED, point, kind))
    if deploys:
        running.until(_serves, "it serves")
        with suppress(ControlError):  # it may die before it answers
            running.deploy(deploys)
    assert running.process is not None
    assert running.process.wait(60) == -signal.SIGKILL, running.log


def _counted(state: State) -> int:
    assert state.rollout is not None
    return state.rollout.asked


def _weight(state: State) -> float:
    return state.rollout.weight if state.rollout else 0.0


def _runs_once(running: Running, state: State, starting: str = "same") -> None:
    """No version is lost, none is there twice; a candidate may still have to be started."""
    found = running.running()
    assert set(found.values()) == {1}
    wanted = {state.stable, state.rollout.candidate if state.rollout else None} - {None}
    is_starting = state.rollout is not None and state.rollout.phase is Phase.STARTING
    assert wanted - ({running.digest(starting)} if is_starting else set()) <= set(found)


def _half_way(an_environment: AnEnvironment, environment: str = "") -> Running:
    """A rollout that stays at half of the traffic."""
    running = an_environment(**QUICK, environment=environment)
    running.up("good")
    running.deploy("same")
    running.until_at(0.5)
    running.environment.pause()
    return running


def _goes_on(running: Running) -> None:
    """The rollout goes on to its end, and nobody sees anything of it."""
    running.load(RATE)
    rollout = running.environment.rollout
    assert rollout is not None
    running.environment.resume()
    assert rollout.wait(60) is End.PROMOTED
    assert running.seen().nothing_wrong(RATE // 10)


def _nothing_runs(running: Running) -> None:
    """Wait for the kernel to have done what it was asked to."""
    for _ in range(600):
        if not running.running() and not running.envoy.alive():
            return
        time.sleep(0.1)
    pytest.fail(f"they go on: {running.running()}")


def _serves(status: Status) -> bool:
    return bool(status.stable) and not status.trouble and status.weight.in_force is not None


def _as_wanted(status: Status) -> bool:
    """Whether all that is wanted runs, and the router has the weight."""
    doing = {version.health for version in status.versions} - {"stopped"}
    return _serves(status) and status.weight.in_force == status.weight.wanted and doing == {"ready"}


def _restarted(status: Status) -> set[str]:
    return {version.name for version in status.versions if version.restarts}
