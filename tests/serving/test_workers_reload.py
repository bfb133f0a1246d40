"""Several workers as one server; and a server that follows the files it is made of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from served import SOURCE, Served, free_port, serving

from serinus.serving.reload import follow

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
        with pytest.raises((OSError, Exception)):
            served.post("die")
        assert served.process.wait(20) == 3
        assert served.logged("worker")[0]["exit_code"] == 3


def test_workers_that_cannot_start_say_so_with_the_same_exit_code(tmp_path: Path) -> None:
    with serving(tmp_path, wait=False, entrypoint="nowhere:predict", workers=2) as served:
        assert served.process.wait(20) == 2
        assert served.logged("there is no module 'nowhere'")


# ------------------------------------------------------------------------------------------------- reload


class FakeChild:
    """A server that was started: its log of what was done with it."""

    def __init__(self, done: list[str], code: int | None = None) -> None:
        self.done, self.code = done, code
        done.append("started")

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.done.append("terminated")

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None and timeout is not None and "stuck" in self.done:
            raise subprocess.TimeoutExpired("server", timeout)
        return self.code or 0

    def kill(self) -> None:
        self.done.append("killed")
        self.code = -9


def test_each_change_starts_a_new_server() -> None:
    done: list[str] = []
    changes: list[Sequence[str]] = [[], ["service.py"], [], []]
    assert follow(changes, lambda: FakeChild(done), 1.0) == 0
    assert done == ["started", "terminated", "started", "terminated"]


def test_a_server_that_ended_is_not_stopped_again_and_waits_for_the_next_change() -> None:
    done: list[str] = []
    codes: Iterator[int | None] = iter([2, None])
    assert follow([[], [], ["service.py"]], lambda: FakeChild(done, next(codes)), 1.0) == 0
    assert done == ["started", "started", "terminated"]


def test_a_server_that_does_not_stop_is_killed() -> None:
    done = ["stuck"]
    assert follow([], lambda: FakeChild(done), 0.0) == -9
    assert done[1:] == ["started", "terminated", "killed"]


PROGRAM = """
import sys
from pathlib import Path
from serinus.serving import Settings
from serinus.serving.server import Address, leave, run
settings = Settings(name="test", entrypoint="service:predict")
leave(run(settings, Address("127.0.0.1", int(sys.argv[1])), reload_paths=[Path.cwd()]))
"""


def test_a_change_is_served_and_a_syntax_error_is_survived(tmp_path: Path) -> None:
    service, port, log = tmp_path / "service.py", free_port(), tmp_path.parent / f"{tmp_path.name}.log"
    service.write_text("def predict(text: str) -> str: return 'one'")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port)], cwd=tmp_path, env=environ, stderr=output
        )
    served = Served(process, port, log)
    try:
        served.until_ready()
        assert served.post("x").document == "one"
        service.write_text("def predict(text: str) -> str: return 'two")
        assert served.logged("importing service raised SyntaxError")
        assert served.logged("the server is not running")
        service.write_text("def predict(text: str) -> str: return 'three'")
        deadline = time.monotonic() + 20
        answer = ""
        while answer != "three" and time.monotonic() < deadline:
            served.until_ready()
            answer = served.post("x").document
        assert answer == "three"
        assert served.stop(signal.SIGINT) == 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(10)
    assert [json.loads(line) for line in log.read_text().splitlines()]
