"""The ways in which a version gets its traffic, and what a person can do on the way; with real parts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable

import pytest
from given import Running, foreign, tag

from serinus.environment.status import Status
from serinus.errors import NotFound
from serinus.rollout.state import End

pytestmark = [pytest.mark.envoy, pytest.mark.sandbox, pytest.mark.mmdebstrap, pytest.mark.network]

AnEnvironment = Callable[..., Running]
RATE = 200
QUICK = {"steps": [50, 100], "minimum": 0.2, "bake": 0.5}
MARGIN = "margin = 0.05\n"
SHADOW = MARGIN + "[rollout.shadow]\nanswers = 50\n"


def test_blue_green_switches_once_the_examples_are_answered(an_environment: AnEnvironment) -> None:
    running = an_environment(**QUICK)
    running.up("good")
    running.load(RATE)
    assert running.deploy("same", "blue-green").wait(60) is End.PROMOTED
    assert running.kinds() == ["start", "ready", "pass", "switch", "promote"]
    assert running.deploy("confused by a router", "blue-green").wait(60) is End.ABORTED
    assert "an example through the router: example 1: at /positive: " in running.said("abort")
    assert running.deploy("unlike its example", "blue-green").wait(60) is End.ABORTED
    assert "at /positive: found the boolean false, expected the boolean true" in running.said("abort")
    assert running.in_charge() == tag("same")
    assert running.seen().nothing_wrong(RATE)


def test_a_breach_after_the_switch_switches_back(an_environment: AnEnvironment) -> None:
    running = an_environment(steps=[50, 100], bake=30.0)
    running.up("good")
    running.load(RATE)
    running.until(lambda s: s.traffic.stable.rate > RATE / 2, "stable has traffic")
    assert running.deploy("always 500", "blue-green").wait(60) is End.ABORTED
    assert running.kinds()[-1] == "abort"
    assert running.in_charge() == tag("good")
    assert running.seen().nothing_wrong(RATE)


def test_a_shadow_is_compared_and_answers_nobody(an_environment: AnEnvironment) -> None:
    running = an_environment(**QUICK, rollout=SHADOW)
    running.up("good")
    running.load(RATE)
    rollout = running.deploy("same", "shadow")
    running.until(lambda s: s.rollout is not None and s.rollout.held == "shown", "it is shown")
    shadow = running.status().rollout
    assert shadow is not None
    assert shadow.shadow is not None
    assert shadow.shadow.agreement == 1.0
    seen = running.seen()
    assert seen.nothing_wrong(RATE // 2)
    assert set(seen.versions) == {running.digest("good")}
    running.load(RATE)
    running.environment.promote()
    assert rollout.wait(60) is End.PROMOTED
    assert "step" in running.kinds()
    assert running.seen().nothing_wrong(RATE // 2)


def test_a_shadow_that_answers_otherwise_holds_with_examples(an_environment: AnEnvironment) -> None:
    running = an_environment(**QUICK, rollout=SHADOW)
    running.up("good")
    running.load(RATE)
    running.deploy("negative", "shadow")
    status = running.until(lambda s: s.rollout is not None and s.rollout.held == "disagreement", "it holds")
    assert status.rollout is not None
    assert status.rollout.shadow is not None
    assert status.rollout.shadow.agreement == 0.0
    example = status.rollout.shadow.examples[0]
    assert (example.where, example.stable, example.candidate) == (
        "/positive",
        '200 {"positive": true}',
        '200 {"positive": false}',
    )
    running.environment.abort("it is wrong")
    assert running.seen().nothing_wrong(RATE // 2)


def test_a_caller_who_sticks_never_goes_back(an_environment: AnEnvironment) -> None:
    running = an_environment(
        steps=[10, 50, 100], minimum=0.5, bake=0.5, rollout=MARGIN + 'sticky = "header:x-user"'
    )
    running.up("good")
    running.load(RATE, "--users", "200")
    assert running.deploy("same").wait(90) is End.PROMOTED
    seen = running.seen()
    assert seen.nothing_wrong(RATE)
    old, new = running.digest("good"), running.digest("same")
    assert len(seen.users) == 200
    assert all(versions in ([old], [new], [old, new]) for versions in seen.users.values())


def test_a_tester_reaches_the_candidate_at_any_share(an_environment: AnEnvironment) -> None:
    running = an_environment(steps=[0.01, 100])
    running.up("good")
    running.deploy("same")
    running.until_at(0.0001)
    for arm, image in (("candidate", "same"), ("stable", "good")):
        assert _version(running.port, arm) == running.digest(image)
    running.environment.undo()
    assert _version(running.port, "candidate") == running.digest("good")
    assert running.kinds()[-1] == "abort"


def test_a_person_can_hold_it_let_it_go_on_and_take_it_back(an_environment: AnEnvironment) -> None:
    running = an_environment(**QUICK, rollout=MARGIN)
    running.up("good")
    running.load(RATE)
    rollout = running.deploy("same")
    running.until_at(0.5)
    running.environment.pause()
    running.until(_shown, "all is shown that the step asks for")
    assert (running.in_force(), running.kinds()[-1]) == (0.5, "pause")
    running.environment.resume()
    assert rollout.wait(60) is End.PROMOTED
    for image in ("good", "same"):  # and back, and back again
        running.environment.undo()
        running.until(lambda s, name=tag(image): _in_charge(s, name), f"{image} is in charge")
        assert running.kinds() == ["undo", "start", "ready", "promote"]
    numbers = [entry.number for entry in running.environment.history(limit=1000)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert running.seen().nothing_wrong(RATE)


def test_as_good_as_the_other_is_promoted_one_after_the_other(an_environment: AnEnvironment) -> None:
    running = an_environment(**QUICK, rollout=MARGIN)
    running.up("good")
    running.load(RATE)
    for image in ("same", "same again", "same as ever"):
        assert running.deploy(image).wait(90) is End.PROMOTED, running.said("abort")
        assert running.in_charge() == tag(image)
    assert running.seen().nothing_wrong(RATE * 3)


def test_what_cannot_be_is_said_and_what_serves_goes_on(an_environment: AnEnvironment) -> None:
    running = an_environment(**QUICK)
    foreign(running.folder)
    running.up("good")
    running.load(RATE)
    before = running.status().last
    again = running.deploy("good")
    assert (again.new, again.end) == (False, End.PROMOTED)
    assert "in charge already" in again.message
    with pytest.raises(NotFound, match="nowhere"):
        running.environment.deploy("mood:nowhere")
    with pytest.raises(NotFound, match="is for linux/s390x, and this machine is"):
        running.environment.deploy("mood:foreign")
    assert "another controller runs this environment" in _refused(running)
    assert "is taken by" in _refused(_with(an_environment(), "port", running.port))
    control = running.project.environment.control
    assert f"port {control}" in _refused(_with(an_environment(), "control", control))
    assert running.status().last == before
    assert running.seen().nothing_wrong(RATE // 4)


@pytest.mark.parametrize("runtime", ["sandbox", pytest.param("docker", marks=pytest.mark.docker)])
@pytest.mark.usefixtures("docker_forgets")
def test_two_projects_of_one_name_do_not_meet(an_environment: AnEnvironment, runtime: str) -> None:
    name = f"mood-{os.urandom(4).hex()}"
    mine, theirs = (an_environment(name=name, environment=f'runtime = "{runtime}"') for _ in range(2))
    mine.up("good")
    mine.load(RATE)
    theirs.up("same")
    assert theirs.stop() == 0
    assert mine.running() == {mine.digest("good"): 1}
    assert mine.seen().nothing_wrong(RATE // 4)


def test_the_version_in_charge_comes_back_after_a_stop(an_environment: AnEnvironment) -> None:
    running = an_environment(**QUICK, rollout=MARGIN)
    running.up("good")
    running.load(RATE)
    running.deploy("same")
    running.until_at(0.5)
    running.environment.promote(full=True)
    running.environment.promote()
    assert running.stop() == 0
    assert (running.running(), running.envoy.alive()) == ({}, False)
    # Who comes later finds nobody, and who came before was answered.
    assert all(what.startswith(("ok", "no answer", "no connection")) for what in running.seen().answers)
    running.up("good")
    assert running.in_charge() == tag("same")


def _with(running: Running, key: str, port: int) -> Running:
    """An environment that wants a port which is another one's."""
    file = running.folder / "serinus.toml"
    file.write_text(re.sub(rf"^{key} = \d+$", f"{key} = {port}", file.read_text(), flags=re.MULTILINE))
    return running


def _refused(running: Running) -> str:
    """What `serinus up` says that ends with 2; it has started nothing."""
    before = running.replicas()
    command = [sys.executable, "-m", "serinus", "up", tag("good"), "-C", str(running.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert running.replicas() == before
    return done.stderr


def _shown(status: Status) -> bool:
    promise = status.rollout.promise if status.rollout else None
    return promise is not None and promise.shown


def _in_charge(status: Status, name: str) -> bool:
    return status.rollout is None and status.stable is not None and status.stable.name == name


def _version(port: int, arm: str) -> str:
    """Which version answers a tester."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        json.dumps(["a great day"]).encode(),
        {"content-type": "application/json", "serinus-version": arm},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers["serinus-version"])
