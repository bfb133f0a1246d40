"""kill -9 in the middle of every step: what was done is not done again, and nothing half written is left."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from pipeline_projects import COUNTING, processes_of, ran, serinus, started, wait_for, written

SCRIPT = (
    COUNTING
    + """
source, target = sys.argv[1:]
text = pathlib.Path(source).read_text()
half = root / target
half.parent.mkdir(exist_ok=True)
half.write_text(text[: len(text) // 2])
(root.parent / f"at-{name}").touch()
while not (root.parent / f"go-{name}").exists():
    time.sleep(0.01)
half.write_text(text + name + "\\n")
"""
)
PIPELINE = """
[pipeline.train]
[pipeline.train.steps.prepare]
run = "python work.py data.txt build/prepared.txt"
inputs = ["data.txt", "work.py"]
outputs = ["build/prepared.txt"]

[pipeline.train.steps.train]
run = "python work.py build/prepared.txt build/model.txt"
inputs = ["build/prepared.txt"]
outputs = ["build/model.txt"]

[pipeline.train.steps.evaluate]
run = "python work.py build/model.txt build/score.txt"
inputs = ["build/model.txt"]
outputs = ["build/score.txt"]

[pipeline.train.steps.register]
run = "python register.py"
inputs = ["build/model.txt"]
needs = ["evaluate"]
cache = false
"""
REGISTER = (
    COUNTING
    + """
import subprocess
def pause(point):
    (root.parent / f"at-{point}").touch()
    while not (root.parent / f"go-{point}").exists():
        time.sleep(0.01)
pause("register")
subprocess.run([sys.executable, "-m", "serinus", "model", "register", "tiny", "build/model.txt"], check=True)
pause("registered")
"""
)
STEPS = ("prepare", "train", "evaluate", "register")
POINTS = (*STEPS, "registered")
"""In the middle of each step, and when the version is registered, but the step is not over."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = written(tmp_path / "project", PIPELINE)
    (found / "data.txt").write_text("a sentence\n" * 100)
    (found / "work.py").write_text(SCRIPT)
    (found / "register.py").write_text(REGISTER)
    return found


def outputs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "build").iterdir()} if (folder / "build").is_dir() else set()


@pytest.mark.parametrize("guarded", [True, False], ids=["guard lives", "guard killed too"])
@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_in_the_middle_of_a_step_a_run_goes_on(folder: Path, point: str, guarded: bool) -> None:
    outside = folder.parent
    step = STEPS[min(POINTS.index(point), len(STEPS) - 1)]
    for one in POINTS:
        if one != point:
            (outside / f"go-{one}").touch()
    process = started(folder, "run", "train")
    try:
        wait_for((outside / f"at-{point}").exists)
        guard = _guard_of(process.pid)
        if not guarded:
            os.kill(guard, signal.SIGKILL)
        process.kill()
        process.wait(10)
        done = set(STEPS[: STEPS.index(step)])
        if guarded:  # cleared away at once, with nobody calling
            wait_for(lambda: not processes_of(folder))
            wait_for(lambda: serinus(folder, "runs")[1][0]["outcome"] == "killed")
            assert outputs(folder) == {_output(one) for one in done if one != "register"}
        (outside / f"go-{point}").touch()
        code, document = serinus(folder, "run", "train", "--resume")
    finally:
        (outside / f"go-{point}").touch()
        process.kill()
        process.wait(10)
    assert (code, document["id"], document["outcome"]) == (0, "train-1", "done")
    times = ran(folder)
    assert {one: times.count(one) for one in STEPS} == {one: 2 if one == step else 1 for one in STEPS}
    expected = "a sentence\n" * 100
    for one in STEPS[:3]:
        expected += f"{one}\n"
        assert (folder / "build" / _output(one)).read_text() == expected
    versions = serinus(folder, "model", "show", "tiny")[1]
    assert versions["version"] == 1
    wait_for(lambda: not processes_of(folder))
    _, again = serinus(folder, "run", "train")
    assert [one["state"] for one in again["steps"]] == ["cached", "cached", "cached", "done"]


def _output(step: str) -> str:
    return {"prepare": "prepared.txt", "train": "model.txt", "evaluate": "score.txt"}[step]


def _guard_of(run: int) -> int:
    """The process that a run started to clear away behind it."""
    for child in Path(f"/proc/{run}/task/{run}/children").read_text().split():
        if b"serinus.pipeline" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("there is no guard")


MANY = """
[pipeline.many.steps.s{n}]
run = "python many.py"
inputs = {inputs}
outputs = ["out/{n}.txt"]
"""
MANY_SCRIPT = (
    COUNTING
    + """
target = root / "out" / f"{name[1:]}.txt"
target.parent.mkdir(exist_ok=True)
for number in range(5):
    with target.open("a") as file:
        file.write(f"{number}\\n")
    time.sleep(0.005)
"""
)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_no_output_is_ever_half_written(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    text = ""
    for number in range(24):
        before = chance.sample(range(number), min(number, chance.randrange(3)))
        text += MANY.format(n=number, inputs=json.dumps([f"out/{one}.txt" for one in before]))
    folder = written(tmp_path / "project", text)
    (folder / "many.py").write_text(MANY_SCRIPT)
    for attempt in range(6):
        process = started(folder, "run", *(["--resume"] if attempt else []))
        time.sleep(chance.uniform(0.15, 0.7))
        process.kill()
        process.wait(10)
        wait_for(lambda: not _in_the_making(folder))
        for file in (folder / "out").glob("*") if (folder / "out").exists() else ():
            assert file.read_text() == "0\n1\n2\n3\n4\n"
    code, document = serinus(folder, "run", *(["--resume"] if _open(folder) else []))
    assert (code, document["outcome"]) == (0, "done")
    assert len(list((folder / "out").iterdir())) == 24
    times = ran(folder)
    assert len(times) <= 24 + 6 * len(os.sched_getaffinity(0)), "what was done is not done again"


def _in_the_making(folder: Path) -> list[object]:
    """What the record says is half done; the guard has cleared away when there is nothing."""
    if not (folder / ".serinus/runs.sqlite").exists():
        return []
    with closing(sqlite3.connect(folder / ".serinus/runs.sqlite", timeout=10)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'making'").fetchone():
            return []
        return (
            db.execute("SELECT run FROM making").fetchall()
            or db.execute("SELECT id FROM runs WHERE outcome = 'running'").fetchall()
        )


def _open(folder: Path) -> bool:
    runs = serinus(folder, "runs")[1]
    return bool(runs) and runs[0]["outcome"] != "done"
