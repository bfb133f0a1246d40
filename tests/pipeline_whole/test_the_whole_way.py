"""From training to production, nothing faked: what a team does with the sentiment example.

Train, register; a watcher sees the version and delivers it: retrieve, check, build, verify, publish to a real
registry with a password, and a canary in an environment with callers. Then models that should not get there.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from environment.given import ROOT, Running
from parts import RealRegistry
from serinus.environment.fleet import ports
from serinus.models.registry import ModelRegistry
from serinus.pipeline import history
from serinus.pipeline.plan import Outcome, State
from serinus.project import Project

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.sandbox,
    pytest.mark.mmdebstrap,
    pytest.mark.network,
    pytest.mark.registry,
]

SETTINGS = """
[environment]
name = "{name}"
port = {port}
control = {control}

[rollout]
steps = [10, 50, 100]
minimum = 0.5
bake = 1
margin = 0.05

[deploy]
require = ["code", "contract"]
"""
RATE = 100
SLOW = '"speed", "transport.cut-off", "transport.drain", "drift"'
"""Checks that take long, and have tests of their own."""
FINDING = '"quality", "behaviour", "own", "tests"'
"""What would have found the model that answers probabilities above one."""


class Team:
    """A copy of the example, its environment and its watcher; everything by the command line."""

    def __init__(self, folder: Path, registry: RealRegistry) -> None:
        self.folder = folder
        self.registry = registry
        left_out = shutil.ignore_patterns(".serinus", "*.onnx", "build", "published", "serinus.lock")
        shutil.copytree(ROOT / "examples/sentiment", folder, ignore=left_out)
        port = ports.free(())
        settings = SETTINGS.format(
            name=f"sentiment-{os.urandom(4).hex()}", port=port, control=ports.free((port,))
        )
        self.repository = f"{registry.host}/acme/sentiment"
        self._edit("[image]\n", f'[image]\nrepository = "{self.repository}"\n')
        self._edit("[checks]\n", f"[checks]\nskip = [{SLOW}]\n")
        (folder / "serinus.toml").write_text((folder / "serinus.toml").read_text() + settings)
        self.running = Running(folder, port)
        self.watcher: subprocess.Popen[bytes] | None = None

    def serinus(self, *words: str) -> Any:
        """Run a command to its end; its JSON."""
        command = [sys.executable, "-m", "serinus", *words, "--json"]
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def train(self, *params: str) -> str:
        """A new version of the model."""
        options = [word for param in params for word in ("-p", param)]
        self.serinus("run", "train", "-p", "ask=false", *options)
        return self.registered()[-1]

    def registered(self) -> list[str]:
        """The versions in the model registry."""
        return [one.id for one in ModelRegistry.of(Project.load(self.folder)).versions("sentiment")]

    def watch(self) -> None:
        """Deliver each new version from now on."""
        command = [sys.executable, "-m", "serinus", "watch", "sentiment", "--run=deliver", "--every=0.5"]
        with (self.folder.parent / "watch.log").open("ab") as log:
            self.watcher = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        until(lambda: "watching sentiment" in self.watched(), "the watcher looks")

    def watched(self) -> str:
        return (self.folder.parent / "watch.log").read_text()

    def delivered(self, model: str) -> history.Past:
        """The end of the one run that a version has led to."""

        def over() -> bool:
            found = self.runs_for(model)
            return len(found) == 1 and found[0].outcome not in {Outcome.RUNNING}

        until(over, f"{model} is delivered, or is not", 240, self.watched)
        return history.show(self.folder, self.runs_for(model)[0].id)

    def runs_for(self, model: str) -> list[Any]:
        return [row for row in history.runs(self.folder, "deliver") if row.params["model"] == model]

    def skip_checks(self) -> None:
        self._edit(SLOW, f"{SLOW}, {FINDING}")

    def _edit(self, before: str, after: str) -> None:
        file = self.folder / "serinus.toml"
        text = file.read_text()
        assert text.count(before) == 1
        file.write_text(text.replace(before, after))

    def down(self) -> None:
        if self.watcher is not None and self.watcher.poll() is None:
            self.watcher.terminate()
            self.watcher.wait(60)
        self.running.down()


@pytest.fixture
def team(tmp_path: Path, registry: RealRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    for name, value in registry.environment().items():
        monkeypatch.setenv(name, value)
    made = Team(tmp_path / "sentiment", registry)
    yield made
    made.down()


def test_from_training_to_production_and_what_does_not_get_there(team: Team) -> None:
    first = team.train()
    team.serinus("run", "deliver", "-p", f"model={first}", "-p", "deploy=false", "-p", "tag=v1")
    team.running.start()
    team.running.until(lambda status: True, "it answers")
    team.serinus("deploy", f"{team.repository}:v1", "--watch")
    bodies = _bodies(team)
    team.running.load(RATE, "--bodies", str(bodies))
    team.watch()

    better = team.train("strength=5")
    assert (first, better) == ("sentiment:1", "sentiment:2")
    past = team.delivered(better)
    assert past.run.outcome is Outcome.DONE, team.watched()
    names = ["retrieve", "check", "build", "verify", "publish", "deploy"]
    assert [(step.step, step.state) for step in past.steps] == [(name, State.DONE) for name in names]
    assert team.running.kinds()[-1] == "promote"
    promoted = team.running.in_charge()

    worse = team.train("strength=0.001")
    past = team.delivered(worse)
    assert past.run.outcome is Outcome.FAILED
    states = {step.step: step.state for step in past.steps}
    assert states["build"] is State.DONE
    assert states["verify"] is State.FAILED
    assert states["publish"] is states["deploy"] is State.BLOCKED
    said = history.log(team.folder, past.run.id, "verify").decode()
    assert "quality.floor" in said

    team.skip_checks()
    team.serinus("model", "register", "sentiment", str(_oversure(team, better)))
    past = team.delivered(team.registered()[-1])
    states = {step.step: step.state for step in past.steps}
    assert states["publish"] is State.DONE, team.watched()
    assert states["deploy"] is State.FAILED
    assert team.running.kinds()[-1] == "abort"
    assert "contract" in team.running.said("abort")

    assert team.running.in_charge() == promoted
    assert team.running.in_force() == 0
    assert team.running.seen().nothing_wrong(RATE * 20)
    assert len(history.runs(team.folder, "deliver")) == 4, "each version was delivered once"
    looked_at = _see_that_it_is_nowhere(team.registry.password, team.folder.parent, team.registry.log.parent)
    assert looked_at > 200


def _see_that_it_is_nowhere(secret: str, *folders: Path) -> int:
    """Look into every file, log, database, image layer and model that is left; how many there were."""
    wanted = [secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for path in files:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data += gzip.decompress(data)
        assert not any(one in data for one in wanted), f"the secret is in {path}"
    return len(files)


def _bodies(team: Team) -> Path:
    """The sentences that no model was trained on, a request a line."""
    rows = [json.loads(line) for line in (team.folder / "labelled.jsonl").read_text().splitlines()]
    file = team.folder.with_name("bodies.jsonl")
    file.write_text("".join(json.dumps(row["request"]) + "\n" for row in rows))
    return file


def _oversure(team: Team, good: str) -> Path:
    """A model that is right, and says a probability above one where it is rather sure: in no example."""
    made = team.folder.with_name("oversure") / "model.onnx"
    team.serinus("model", "pull", good, str(made.parent))
    model = onnx.load(made)
    graph = model.graph
    probabilities = graph.output[1].name
    for node in graph.node:
        node.output[:] = ["before" if name == probabilities else name for name in node.output]
    number = onnx.TensorProto.FLOAT
    for name, value in {"rather": 0.9, "very": 0.96}.items():
        graph.initializer.append(onnx.helper.make_tensor(name, number, [], [value]))
    graph.node.extend(
        [
            onnx.helper.make_node("Greater", ["before", "rather"], ["above"]),
            onnx.helper.make_node("Less", ["before", "very"], ["below"]),
            onnx.helper.make_node("And", ["above", "below"], ["between"]),
            onnx.helper.make_node("Cast", ["between"], ["one"], to=number),
            onnx.helper.make_node("Add", ["before", "one"], [probabilities]),
        ]
    )
    onnx.save(model, made)
    return made


def until(
    holds: Callable[[], bool], what: str, seconds: float = 60.0, why: Callable[[], str] = lambda: ""
) -> None:
    for _ in range(int(seconds / 0.1)):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail(f"never: {what}\n{why()}")
