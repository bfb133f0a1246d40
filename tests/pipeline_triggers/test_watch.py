"""A pipeline runs for each new version of a model: once, also when the watcher is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.pipeline_projects import wait_for
from serinus.errors import PipelineError
from serinus.models.registry import ModelRegistry
from serinus.pipeline import history
from serinus.pipeline.plan import Outcome
from serinus.pipeline.triggers import Ledger, Stage, Subject
from serinus.pipeline.watch import Blind, Heard, Over, Triggered, Watch, Watcher, check
from serinus.project import Project

PROJECT = """
[service]
name = "mood"
entrypoint = "service:predict"

[pipeline.note]
params.model = { about = "the version" }

[pipeline.note.steps.write]
run = ["python", "note.py", "{model}"]
cache = false
"""
NOTE = """
import pathlib, sys, time
with open("noted.txt", "a") as noted:
    noted.write(sys.argv[1] + "\\n")
while pathlib.Path("wait").exists():
    time.sleep(0.05)
if pathlib.Path("fail").exists():
    sys.exit(3)
"""
WATCH = Watch(Subject("mood"), "note", {})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "serinus.toml").write_text(PROJECT)
    (tmp_path / "note.py").write_text(NOTE)
    (tmp_path / "model.bin").write_bytes(b"weights")
    return tmp_path


def register(project: Path, *aliases: str) -> str:
    registry = ModelRegistry.of(Project.load(project))
    return registry.register("mood", [project / "model.bin"], aliases=aliases).id


def noted(project: Path) -> list[str]:
    file = project / "noted.txt"
    return file.read_text().split() if file.exists() else []


def watcher(project: Path, heard: list[Heard]) -> Watcher:
    registry = ModelRegistry.of(Project.load(project))
    return Watcher(lambda: Project.load(project), Ledger(project), registry.numbers, hear=heard.append)


def test_a_pipeline_runs_for_each_new_version_once(project: Path) -> None:
    register(project)
    heard: list[Heard] = []
    one = watcher(project, heard)
    one.look(WATCH)
    one.work()
    assert noted(project) == [], "what was there before is no news"
    register(project)
    register(project)
    for _ in range(3):
        one.look(WATCH)
        one.work()
    assert noted(project) == ["mood:2", "mood:3"]
    assert [h for h in heard if isinstance(h, Triggered)] == [
        Triggered("note", "mood:2"),
        Triggered("note", "mood:3"),
    ]
    assert [(h.run, h.outcome) for h in heard if isinstance(h, Over)] == [
        ("note-1", Outcome.DONE),
        ("note-2", Outcome.DONE),
    ]


def test_it_runs_whenever_an_alias_points_elsewhere(project: Path) -> None:
    register(project, "production")
    one, watch = watcher(project, []), Watch(Subject("mood", "production"), "note", {})
    registry = ModelRegistry.of(Project.load(project))
    one.look(watch)
    register(project)
    one.look(watch)
    for target in ("mood:2", "mood:1", "mood:1"):
        registry.alias(target, "production")
        one.look(watch)
    one.work()
    assert noted(project) == ["mood:2", "mood:1"]


def test_a_failed_run_is_told_and_not_tried_again(project: Path) -> None:
    heard: list[Heard] = []
    one = watcher(project, heard)
    one.look(WATCH)
    register(project)
    (project / "fail").touch()
    one.look(WATCH)
    one.work()
    one.work()
    assert noted(project) == ["mood:1"]
    (told,) = [h for h in heard if isinstance(h, Over)]
    assert (told.run, told.outcome) == ("note-1", Outcome.FAILED)


def test_a_project_that_is_broken_meanwhile_fails_the_trigger_and_not_the_watcher(project: Path) -> None:
    heard: list[Heard] = []
    one = watcher(project, heard)
    one.look(WATCH)
    register(project)
    one.look(WATCH)
    (project / "serinus.toml").write_text(PROJECT.replace("pipeline.note", "pipeline.other"))
    one.work()
    (told,) = [h for h in heard if isinstance(h, Over)]
    assert "note" in told.why
    assert told.run == ""


def test_a_registry_that_cannot_be_asked_is_told_and_asked_again(project: Path) -> None:
    heard: list[Heard] = []

    def broken(name: str, alias: str = "") -> tuple[int, ...]:
        raise PipelineError("it is away")

    one = Watcher(lambda: Project.load(project), Ledger(project), broken, hear=heard.append)
    one.look(WATCH)
    assert heard == [Blind("it is away")]


def test_a_pipeline_must_be_able_to_be_told_the_version(project: Path) -> None:
    from serinus.pipeline.known import pipeline_of

    text = PROJECT.replace('params.model = { about = "the version" }', "").replace(', "{model}"', "")
    (project / "serinus.toml").write_text(text)
    with pytest.raises(PipelineError, match="no parameter 'model'"):
        check(pipeline_of(Project.load(project), "note"))


def test_while_somebody_runs_the_pipeline_the_trigger_waits(project: Path) -> None:
    one = watcher(project, [])
    one.look(WATCH)
    (project / "wait").touch()
    command = [sys.executable, "-m", "serinus", "run", "note", "-p", "model=by hand", "-C", str(project)]
    by_hand = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: noted(project) == ["by", "hand"])
        register(project)
        one.look(WATCH)
        one.work()
        assert noted(project) == ["by", "hand"]
    finally:
        (project / "wait").unlink()
        by_hand.wait(30)
    one.work()
    assert noted(project) == ["by", "hand", "mood:1"]


def test_a_killed_watcher_goes_on_with_its_run_and_starts_none_twice(project: Path) -> None:
    register(project)
    first = start(project)
    wait_for(lambda: "watching mood" in (project / "log").read_text())
    register(project)
    (project / "wait").touch()
    wait_for(lambda: noted(project) == ["mood:2"])
    register(project)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (project / "wait").unlink()
    second = start(project)
    try:
        wait_for(lambda: len(noted(project)) == 3 and Ledger(project).pending() is None)
        assert [row.outcome for row in history.runs(project)] == [Outcome.DONE] * 2
        # The step that was killed in its middle ran again; its run is the same.
        assert noted(project) == ["mood:2", "mood:2", "mood:3"]
        assert [(one.model, one.stage, one.run) for one in Ledger(project).latest()] == [
            ("mood:3", Stage.DONE, "note-2"),
            ("mood:2", Stage.DONE, "note-1"),
        ]
    finally:
        second.send_signal(signal.SIGINT)
        assert second.wait(30) == 130


def start(project: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "serinus", "watch", "mood", "--run", "note", "--every", "0.2"]
    with (project / "log").open("ab") as log:
        return subprocess.Popen([*command, "-C", str(project)], stdout=log, stderr=log)
