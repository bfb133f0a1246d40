"""Nothing is dropped: a hundred thousand requests at full rate, while everything moves that can be moved."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from given import Running, tag

from serinus.environment.status import VersionStatus
from serinus.rollout.state import End

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.sandbox,
    pytest.mark.mmdebstrap,
    pytest.mark.network,
    pytest.mark.wrk,
]

AnEnvironment = Callable[..., Running]
LEAST = 100_000
ROUNDS = 8
QUIET = 'margin = 0.05\nslow = "ignore"'  # at its limit the machine is slow to all, and not evenly
SCRIPT = """wrk.method = "POST"
wrk.body = '["a great day"]'
wrk.headers["Content-Type"] = "application/json"
"""


def test_weights_promotions_aborts_deaths_and_drains_drop_nothing(
    an_environment: AnEnvironment, tmp_path: Path
) -> None:
    running = an_environment(
        steps=[10, 50, 100], minimum=0.5, bake=1.0, rollout=QUIET, environment="replicas = 2"
    )
    running.up("good")
    script = tmp_path / "post.lua"
    script.write_text(SCRIPT)
    asked, moves = 0, [_promotes, _aborts, _dies]
    for number in range(ROUNDS):
        load = _wrk(running.port, script)
        moves[number % len(moves)](running)
        said, _ = load.communicate(timeout=60)
        asked += _requests(said)
        if asked >= LEAST and number >= len(moves) - 1:
            break
    assert asked >= LEAST


def _wrk(port: int, script: Path) -> subprocess.Popen[str]:
    command = ["wrk", "-t1", "-c16", "-d12s", "--timeout", "30s", "-s", str(script)]
    url = f"http://127.0.0.1:{port}/predict"
    return subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True)


def _requests(said: str) -> int:
    """How many were asked; all of them were answered, and with 2xx."""
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    found = re.search(r"(\d+) requests in", said)
    assert found is not None, said
    return int(found[1])


def _promotes(running: Running) -> None:
    """The version in charge is replaced, step by step, and the old one drained."""
    new = "same" if running.in_charge() == tag("good") else "good"
    assert running.deploy(new).wait(60) is End.PROMOTED, running.log
    running.until(lambda s: [v.health for v in s.versions if v.role == "stable"] == ["ready"], "it serves")


def _aborts(running: Running) -> None:
    rollout = running.deploy("same again")
    running.until(lambda s: (s.weight.in_force or 0.0) > 0, "it has a share")
    running.environment.abort("to see whether anybody notices")
    assert rollout.wait(60) is End.ABORTED


def _dies(running: Running) -> None:
    """One of two replicas of the version in charge."""
    name = running.in_charge().partition(":")[2]
    running.kill_replica(name, 1)
    running.until(lambda s: any(_is_back(version) for version in s.versions), "it is back")


def _is_back(version: VersionStatus) -> bool:
    return version.restarts > 0 and version.health == "ready"
