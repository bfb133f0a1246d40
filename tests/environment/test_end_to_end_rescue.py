"""No user sees a canary's mistake: real Envoy, real images, a load from outside, every way to be broken."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest
from given import Running, tag

from serinus.environment.status import Status
from serinus.rollout.state import End

pytestmark = [pytest.mark.envoy, pytest.mark.sandbox, pytest.mark.mmdebstrap, pytest.mark.network]

AnEnvironment = Callable[..., Running]
RATE = 200
BROKEN = ("wrong type", "always 500", "crashes", "hangs", "stream breaks", "eats memory")


@pytest.mark.parametrize("weight", [10, 50])
def test_no_user_sees_it_and_the_rollout_goes_back(an_environment: AnEnvironment, weight: int) -> None:
    """One environment and one load; the candidates come one after the other."""
    running = an_environment(steps=[weight, 100], rollout='timeout = "1s"', environment='memory = "600MiB"')
    running.up("good")
    untouched = running.replicas("good")
    running.load(RATE)
    for name in BROKEN:
        assert running.deploy(name).wait(60) is End.ABORTED, name
        assert "rescue" in running.kinds(), f"{name} was never asked"
        status = running.until(lambda s: s.weight.in_force == 0 and len(s.versions) == 1, f"{name} is gone")
        assert running.in_force() == 0
        assert status.stable is not None
        assert (status.stable.name, status.versions[0].restarts) == (tag("good"), 0)
    assert running.replicas("good") == untouched
    assert running.seen().nothing_wrong(RATE * 5)


@pytest.mark.parametrize("weight", [10, 50])
def test_nobody_sees_a_candidate_that_is_killed(an_environment: AnEnvironment, weight: int) -> None:
    running = an_environment(steps=[weight, 100], minimum=2.0, rollout="margin = 0.05")
    running.up("good")
    running.load(RATE)
    rollout = running.deploy("same")
    candidate = rollout.version.digest
    running.until_at(weight / 100)
    for times in (1, 2, 3):
        running.kill_replica("same")
        running.until(
            lambda s, n=times: s.rollout is None or _back(s, candidate, n), "it is back, or sent back"
        )
        if running.status().rollout is None:
            break
    assert rollout.wait(90) in (End.PROMOTED, End.ABORTED)
    assert running.seen().nothing_wrong(RATE // 2)


def _back(status: Status, candidate: str, times: int) -> bool:
    """Whether a version is ready again after so many ends."""
    return any(v.digest == candidate and v.restarts >= times and v.health == "ready" for v in status.versions)


@pytest.mark.docker
@pytest.mark.usefixtures("docker_forgets")
def test_nobody_sees_a_candidate_that_runs_out_of_memory_in_docker(an_environment: AnEnvironment) -> None:
    begin = time.time()
    running = an_environment(
        steps=[50, 100], environment='runtime = "docker"\nmemory = "256MiB"', rollout='timeout = "15s"'
    )
    running.up("good")
    running.load(RATE)
    assert running.deploy("eats memory").wait(120) is End.ABORTED
    assert "rescue" in running.kinds()
    assert _ran_out(running, begin), "the kernel did not kill it"
    assert running.seen().nothing_wrong(RATE // 2)


def _ran_out(running: Running, begin: float) -> bool:
    """Whether a container of the environment ran out of memory, as Docker tells."""
    named = f"label=dev.serinus.environment={running.known_as}"
    since = ["--since", f"{begin:.3f}", "--until", f"{time.time():.3f}"]
    command = ["docker", "events", *since, "--filter", named, "--filter", "event=oom"]
    return bool(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
