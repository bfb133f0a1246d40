"""Small projects with pipelines, run in this process or by the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serinus.pipeline import Parameter, Pipeline, Step
from serinus.pipeline.moments import Moment, RunResult
from serinus.pipeline.run import run_pipeline
from serinus.project import Project, Service

HEAD = '[service]\nname = "tiny"\nentrypoint = "service:predict"\n'
COUNTING = """\
import os, pathlib, sys, time
name = os.environ["SERINUS_STEP"]
root = pathlib.Path(os.environ["SERINUS_PROJECT"])
with open(root.parent / "ran.txt", "a") as ran:
    ran.write(name + "\\n")
"""
"""The beginning of a script that tells outside of the project that it ran."""


def project_in(folder: Path) -> Project:
    folder.mkdir(exist_ok=True)
    return Project(root=folder.resolve(), service=Service(name="tiny", entrypoint="service:predict"))


def written(folder: Path, text: str) -> Path:
    """A project with these tables of pipelines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "serinus.toml").write_text(HEAD + text)
    return folder


def sh(name: str, script: str, **rest: Any) -> Step:
    """A step that runs a script of the shell."""
    return Step(name, ("sh", "-c", script), **rest)


def python(name: str, script: str, **rest: Any) -> Step:
    """A step that runs Python, with the beginning that counts."""
    return Step(name, ("python", "-c", COUNTING + script), **rest)


def pipeline_of(*steps: Step, parameters: Sequence[Parameter] = (), **rest: Any) -> Pipeline:
    return Pipeline("tiny", tuple(steps), tuple(parameters), **rest)


class Ran:
    """A run in this process, with all that was told of it."""

    def __init__(
        self, project: Project, pipeline: Pipeline, params: Mapping[str, Any] | None = None, **options: Any
    ):
        self.moments: list[Moment] = []
        options = {"grace": 1.0, "pause": 0.01, "metrics_of": lambda model: {}} | options
        tell: Callable[[Moment], None] = options.pop("tell", self.moments.append)
        self.result: RunResult = run_pipeline(project, pipeline, params, tell=tell, **options)

    @property
    def states(self) -> dict[str, str]:
        return {step.name: step.state.value for step in self.result.steps}

    def reason(self, name: str) -> str:
        return next(step.reason for step in self.result.steps if step.name == name)


def ran(folder: Path) -> list[str]:
    """The steps that ran, as their scripts told beside the project."""
    file = folder.parent / "ran.txt"
    return file.read_text().split() if file.exists() else []


def serinus(
    folder: Path, *words: str, env: Mapping[str, str] | None = None, timeout: float = 120
) -> tuple[int, Any]:
    """The command line with ``--json``: its exit code and its document."""
    done = subprocess.run(
        [sys.executable, "-m", "serinus", *words, "--json"],
        cwd=folder,
        env=os.environ | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def started(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """The command line, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "serinus", *words],
        cwd=folder,
        env=os.environ | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something is there."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
    return found


def processes_of(folder: Path) -> list[int]:
    """The processes that steps of a project started."""
    mark = b"SERINUS_PROJECT=" + os.fsencode(folder.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                found.append(int(entry.name))
    return found
