"""Given the RoBERTa example, two real models of it as images, and an environment for both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from given import ROOT, Running

from serinus.environment.fleet import ports
from serinus.image.build import build
from serinus.project import Project

SETTINGS = """
[environment]
name = "{name}"
port = {port}
control = {control}

[rollout]
steps = [20, 50, 100]
minimum = "1s"
bake = "3s"
margin = 0.05
"""
FIRST, SECOND = "roberta:latest", "roberta:second"


def project(folder: Path, shared: Path, *retrain: str) -> str:
    """The example, both models built, in a folder that is not there yet; what the training said.

    Args:
        folder: of the project.
        shared: where the first model and the sentences are.
        retrain: options of the training.
    """
    shutil.copytree(ROOT / "examples/roberta", folder, ignore=shutil.ignore_patterns("model", ".serinus"))
    port = ports.free(())
    text = SETTINGS.format(name=f"roberta-{os.urandom(4).hex()}", port=port, control=ports.free((port,)))
    with (folder / "serinus.toml").open("a") as file:
        file.write(text)
    script(folder, shared, "fetch.py")
    build(Project.load(folder))
    said = script(folder, shared, "retrain.py", *retrain)
    build(Project.load(folder), tag=SECOND.partition(":")[2])
    return said


def script(folder: Path, shared: Path, *command: str) -> str:
    """Run a script of the example to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"SERINUS_SHARED": str(shared), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(folder: Path) -> Running:
    """The environment of such a project, with the first model in charge once it is up."""
    port = Project.load(folder).environment.port
    assert port is not None
    return Running(folder, port)


def bodies(folder: Path) -> Path:
    """A file with the sentences that no model was trained on, a request a line."""
    rows: list[Any] = [json.loads(line) for line in (folder / "labelled.jsonl").read_text().splitlines()]
    file = folder.with_name(f"{folder.name}-bodies.jsonl")
    file.write_text("".join(json.dumps(row["request"]) + "\n" for row in rows))
    return file
