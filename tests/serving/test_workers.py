"""Several workers as one server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy
import onnx
import pytest
from onnx import helper, numpy_helper
from served import SOURCE, Served, serving
from tiny_models import model

from serinus.serving.helpers import threads

PIDS = """
import os
def predict(text: str) -> int:
    if text == "die":
        os._exit(3)
    return os.getpid()
"""


def count(served: Served, name: str) -> float:
    lines = served.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_workers_share_a_port_and_speak_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(PIDS)
    with serving(tmp_path, entrypoint="service:predict", workers=3) as served:
        answers: list[int] = []
        while len(set(answers)) < 3 and len(answers) < 200:
            answers.append(served.post("who").document)
        assert len(set(answers)) == 3
        for _ in range(4):
            assert count(served, 'serinus_requests_total{route="/predict",status="200"}') == len(answers)
        assert count(served, "serinus_ready") == 1
        assert served.stop() == 0


def test_a_worker_that_dies_at_once_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(PIDS)
    with serving(tmp_path, entrypoint="service:predict", workers=2) as served:
        with pytest.raises(OSError, match="closed"):
            served.post("die")
        assert served.process.wait(20) == 3
        assert served.logged("worker")[0]["exit_code"] == 3


def test_workers_that_cannot_start_say_so_with_the_same_exit_code(tmp_path: Path) -> None:
    with serving(tmp_path, wait=False, entrypoint="nowhere:predict", workers=2) as served:
        assert served.process.wait(20) == 2
        assert served.logged("there is no module 'nowhere'")


RESTARTED = """
import itertools, os, signal, sys
from pathlib import Path
from serinus.serving.workers import supervise

def serve(worker):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Path("starts").open("a") as starts:
        starts.write(f"{worker.number} of {worker.count} ")
    if Path("starts").read_text().count("of") == 1:
        return 1
    os.kill(os.getppid(), signal.SIGTERM)
    return 0

sys.exit(supervise(1, serve, itertools.count(0, 60).__next__))
"""


def test_a_worker_that_dies_after_a_while_is_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RESTARTED]
    ended = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(SOURCE)}, timeout=30, check=False)
    assert ended.returncode == 0
    assert (tmp_path / "starts").read_text() == "0 of 1 0 of 1 "


SIDE, LAYERS = 2048, 8


def wide(folder: Path, *, beside: bool) -> int:
    """A model of matrix products, its weights in its own file or beside it; their size in bytes."""
    chance = numpy.random.default_rng(1)
    weights = [
        numpy_helper.from_array(chance.random((SIDE, SIDE), "float32") / SIDE, f"w{n}") for n in range(LAYERS)
    ]
    names = ["x", *(f"h{n}" for n in range(1, LAYERS)), "y"]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(LAYERS)]
    rows: list[int | str | None] = ["n", SIDE]
    made = model([("x", "float32", rows)], [("y", "float32", rows)], nodes, weights)
    onnx.save(made, folder / "model.onnx", save_as_external_data=beside, location="weights.bin")
    return LAYERS * SIDE * SIDE * 4


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def private(pid: int) -> int:
    """Bytes of a process that nobody else holds."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


@pytest.mark.parametrize("beside", [False, True], ids=["in its file", "beside it"])
def test_workers_hold_the_weights_of_a_model_once(tmp_path: Path, *, beside: bool) -> None:
    size = wide(tmp_path, beside=beside)
    with serving(tmp_path, model="model.onnx", workers=2, threads=1) as served:
        workers = children(served.process.pid)
        assert len(workers) == 2
        answers = [served.post({"x": [[0.5] * SIDE] * 4}).document["y"] for _ in range(12)]
        assert all(answer == answers[0] for answer in answers)
        assert numpy.ptp(numpy.asarray(answers[0])) > 0
        assert sum(map(private, workers)) < size
        assert served.stop() == 0


def test_a_broken_model_stops_several_workers_before_they_start(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x00not a model")
    with serving(tmp_path, wait=False, model="model.onnx", workers=2) as served:
        assert served.process.wait(20) == 2
        [line] = [line for line in served.log() if line["level"] == "critical"]
        assert "model.onnx" in line["message"]
        assert line["todo"]


SHARED = """
import sys, threading
from serinus.serving import Settings, logs
from serinus.serving.sharing import shared_session

logs.configure()
if sys.argv[1] == "threads":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
settings = Settings("test", model="model.onnx", workers=2, entrypoint=sys.argv[2] or None)
print(shared_session(settings) is not None)
"""


@pytest.mark.parametrize(
    ("has", "entrypoint", "shared"),
    [("nothing", "", "True"), ("threads", "", "False"), ("nothing", "service:predict", "False")],
)
def test_a_model_is_shared_by_a_process_with_one_thread(
    tmp_path: Path, has: str, entrypoint: str, shared: str
) -> None:
    wide(tmp_path, beside=False)
    command = [sys.executable, "-c", SHARED, has, entrypoint]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(SOURCE)}, timeout=60, check=True, capture_output=True
    )
    assert ended.stdout.decode().strip() == shared
    assert (b"not shared" in ended.stderr) == (has == "threads")


def test_threads_are_known_where_the_kernel_says(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
    assert threads(tmp_path) == {0, 1, 2}
    assert threads(tmp_path / "nothing") == set()
