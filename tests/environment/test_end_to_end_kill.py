"""Whatever is killed, and whenever: what serves goes on, what was decided stands, and the rollout ends."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from given import Running, tag

from serinus.environment.status import Status
from serinus.errors import ControlError
from serinus.rollout.state import End

pytestmark = [pytest.mark.envoy, pytest.mark.sandbox, pytest.mark.mmdebstrap, pytest.mark.network]

AnEnvironment = Callable[..., Running]
RATE = 200
QUICK = {"steps": [50, 100], "minimum": 0.2, "bake": 0.5, "rollout": "margin = 0.05"}
KILLED = str(Path(__file__).with_name("killed_up.py"))
DECISIONS = {"start": "same", "ready": "same again", "switch": "same as ever", "promote": "good"}
"""Each decision of a canary -> the candidate."""


@pytest.mark.parametrize("point", ["begin", "commit", "committed"])
def test_the_controller_may_die_at_any_point_of_any_decision(
    an_environment: AnEnvironment, point: str
) -> None:
    running = an_environment(**QUICK)
    running.up("good")
    running.load(RATE)
    for kind, candidate in DECISIONS.items():
        running.kill()
        _die_at(running, point, kind, candidate)
        _is_answered(running)
        before = running.journal()
        running.start()
        status = running.until(_as_wanted, f"it is as wanted after a kill at {point} {kind}")
        assert set(running.running().values()) == {1}
        assert before.rollout is None or status.rollout is None or status.rollout.number == before.count
        running.deploy(candidate).wait(60)
        running.until(lambda s: s.rollout is None and len(s.versions) == 2, "it is over")
        assert running.in_charge() == tag(candidate)
        assert running.kinds().count(kind) == 1
        running.until(lambda s, one=running: list(one.running().values()) == [1], "one version runs, once")
    assert running.seen().nothing_wrong(RATE * 10)


def test_envoy_may_be_killed_in_a_rollout(an_environment: AnEnvironment) -> None:
    running = _half_way(an_environment)
    running.load(RATE)
    before = running.envoy.pid()
    running.kill_envoy()
    running.until(lambda s: running.envoy.pid() not in (0, None, before) and _as_wanted(s), "it is back")
    assert running.in_force() == 0.5
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


def _die_at(running: Running, point: str, kind: str, candidate: str) -> None:
    """A controller starts a rollout, and is killed there."""
    running.start(program=(KILLED, point, kind))
    running.until(_serves, "it serves")
    with suppress(ControlError):  # it may die before it answers
        running.deploy(candidate)
    assert running.process is not None
    assert running.process.wait(60) == -signal.SIGKILL


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
    assert running.seen().nothing_wrong(RATE // 2)


def _nothing_runs(running: Running) -> None:
    """Wait for the kernel to have done what it was asked to."""
    for _ in range(600):
        if not running.running() and not running.envoy.alive():
            return
        time.sleep(0.1)
    pytest.fail(f"they go on: {running.running()}")


def _is_answered(running: Running) -> None:
    """Callers are answered, though no controller is there."""
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        connection.request("POST", "/predict", b'["a great day"]', {"content-type": "application/json"})
        assert json.loads(connection.getresponse().read()) == {"positive": True}
        connection.close()


def _serves(status: Status) -> bool:
    return bool(status.stable) and not status.trouble and status.weight.in_force is not None


def _as_wanted(status: Status) -> bool:
    """Whether all that is wanted runs, and the router has the weight."""
    doing = {version.health for version in status.versions} - {"stopped"}
    return _serves(status) and status.weight.in_force == status.weight.wanted and doing == {"ready"}


def _restarted(status: Status) -> set[str]:
    return {version.name for version in status.versions if version.restarts}
