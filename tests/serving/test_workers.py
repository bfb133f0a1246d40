"""Several workers as one server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from served import SOURCE, Served, serving

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
