"""Containers that last, before a fake of an engine's command line: what it is told, what it is not asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from images import layer_of, make_image

from serinus.errors import RuntimeUnavailable
from serinus.registry.layout import Layout
from serinus.runtimes import Bind, Replica
from serinus.runtimes.docker import docker
from serinus.runtimes.engine import LABEL, OWNER, Engine, Ran
from serinus.runtimes.following import Sink, follow


@dataclass
class FakeDaemon:
    """One container at most, whose end and whose words are said when the test says so."""

    info: dict[str, object] = field(default_factory=dict)
    state: dict[str, object] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    following: dict[str, list[Sink]] = field(default_factory=lambda: {"wait": [], "logs": []})
    ended: list[str] = field(default_factory=list)
    down: bool = False

    def __call__(  # noqa: PLR0911 (a line for each command)
        self, argv: Sequence[str], timeout: float | None = None
    ) -> Ran:
        _, *words = argv
        self.calls.append(words)
        if self.down:
            return Ran(1, "", "Cannot connect to the Docker daemon")
        match words:
            case ["image", *_]:
                return Ran(0, "id", "")
            case ["info", *_]:
                return Ran(0, json.dumps(self.info), "")
            case ["run", *rest]:
                self.labels = dict(rest[i + 1].split("=", 1) for i, w in enumerate(rest) if w == "--label")
                self.state = {"Running": True, "ExitCode": 0}
                return Ran(0, "c1\n", "")
            case ["ps", *_, "--filter", wanted]:
                _, name, value = wanted.split("=")
                return Ran(0, "c1\n" if self.state and self.labels.get(name) == value else "", "")
            case ["container", "inspect", "c1"]:
                told = {"Id": "c1", "Config": {"Labels": self.labels}, "State": self.state}
                return Ran(0, json.dumps([told]), "")
            case ["inspect", *_] if self.state:
                return Ran(0, json.dumps(self.state), "")
            case ["stop", *_]:
                self.state = {"Running": False, "ExitCode": 0}
                return Ran(0, "c1", "")
            case ["logs", *_]:
                return Ran(0, "last words\n", "")
            case ["rm", *_]:
                self.state = None
                return Ran(0, "", "")
        return Ran(1, "", "Error: No such object: c1")

    def follow(self, argv: Sequence[str], sink: Sink) -> Callable[[], object]:
        kind = next(word for word in argv if word in self.following)
        self.following[kind].append(sink)
        return lambda: self.ended.append(kind)

    def ends(self, code: int) -> None:
        """The container ends, and the commands that follow it with it."""
        self.state = {"Running": False, "ExitCode": code}
        for sinks in self.following.values():
            while sinks:
                threading.Thread(target=sinks.pop(), args=(b"",)).start()

    @property
    def engine(self) -> Engine:
        made = docker(runner=self, load=lambda *_: None, environ={})
        return replace(made, follow=self.follow)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    layout = Layout(tmp_path)
    config = {"Cmd": ["serve"], "ExposedPorts": {"8080/tcp": {}}}
    image = make_image(layout, [layer_of({"a": b""})], config)
    return Replica(
        "prod-1f-2", layout, image, 5000, lasting=True, environment="prod", number=2, labels={"k": "a=b,c"}
    )


def test_a_lasting_container_has_labels_and_no_owner(replica: Replica, tmp_path: Path) -> None:
    daemon = FakeDaemon()
    bind = Bind(tmp_path / "contract.json", "/run/serinus/contract.json")
    running = daemon.engine.start(replace(replica, memory=1 << 30, cpus=1.5, binds=(bind,)))
    run = next(" ".join(words) for words in daemon.calls if words[0] == "run")
    for part in (
        "--name serinus-prod-1f-2 ",
        f"--label {LABEL}=prod-1f-2",
        "--label dev.serinus.environment=prod",
        f"--label dev.serinus.version={replica.image.digest}",
        "--label dev.serinus.number=2",
        "--label dev.serinus.port=5000",
        "--memory 1073741824b --cpus 1.5",
        f"--volume {tmp_path.resolve()}/contract.json:/run/serinus/contract.json:ro",
    ):
        assert part in run
    assert OWNER not in run
    del running
    assert daemon.state == {"Running": True, "ExitCode": 0}


def test_it_is_found_by_its_labels(replica: Replica) -> None:
    daemon = FakeDaemon()
    daemon.engine.start(replica)
    [found] = daemon.engine.list("prod")
    assert (found.name, found.version) == ("prod-1f-2", replica.image.digest)
    assert (found.number, found.port, found.alive) == (2, 5000, True)
    assert found.labels == {"k": "a=b,c"}
    assert daemon.engine.list("else") == ()
    daemon.state = {"Running": False, "ExitCode": 9}
    [found] = daemon.engine.list("prod")
    assert not found.alive
    assert found.running.wait(5) == found.running.stop() == 9
    assert found.running.logs() == b"last words\n"
    assert daemon.state is None


def test_nothing_is_asked_while_it_runs(replica: Replica) -> None:
    daemon = FakeDaemon()
    running = daemon.engine.start(replica)
    assert running.wait(0) is None
    before = len(daemon.calls)
    assert {running.wait(0) for _ in range(1000)} == {None}
    assert len(daemon.calls) == before
    daemon.ends(3)
    assert running.wait(5) == running.wait(0) == running.stop() == 3
    assert running.logs() == b"last words\n"
    assert daemon.state is None


def test_its_log_is_read_along_once_somebody_asks(replica: Replica) -> None:
    daemon = FakeDaemon()
    running = daemon.engine.start(replica)
    running.wait(0)
    assert daemon.following["logs"] == []
    threading.Timer(0.05, lambda: daemon.following["logs"][0](b"one\n")).start()
    assert running.logs() == b"one\n"
    daemon.following["logs"][0](b"two\n")
    assert (running.logs(4), running.logs(8)) == (b"two\n", b"")
    daemon.ends(0)
    assert running.wait(5) == 0
    assert running.logs() == b"one\ntwo\n"


def test_who_drops_it_stops_following_and_it_runs_on(replica: Replica) -> None:
    daemon = FakeDaemon()
    running = daemon.engine.start(replica)
    running.wait(0)
    running.logs()
    del running
    assert sorted(daemon.ended) == ["logs", "wait"]
    assert daemon.state is not None


def test_an_engine_that_restarts_is_no_end_of_its_containers(replica: Replica) -> None:
    daemon = FakeDaemon()
    running = daemon.engine.start(replica)
    running.wait(0)
    daemon.down = True
    threading.Thread(target=daemon.following["wait"].pop(), args=(b"",)).start()
    assert running.wait(0.2) is None
    daemon.down = False
    end = time.monotonic() + 10
    while not daemon.following["wait"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    daemon.ends(5)
    assert running.wait(5) == 5


def test_what_an_engine_does_not_stop_is_told(replica: Replica) -> None:
    daemon = FakeDaemon()
    running = daemon.engine.start(replica)
    daemon.down = True
    with pytest.raises(RuntimeUnavailable, match="was not stopped: Cannot connect"):
        running.stop(1)


@pytest.mark.parametrize(
    ("info", "memory", "cpus", "wrong"),
    [
        ({"MemoryLimit": True, "CpuCfsQuota": True}, 1, 1.0, ""),
        ({"MemoryLimit": False, "CpuCfsQuota": True}, 1, 1.0, "memory"),
        ({"MemoryLimit": False, "CpuCfsQuota": False}, None, 1.0, "cpu"),
        ({"MemoryLimit": False, "CpuCfsQuota": False}, None, None, ""),
        ({"host": {"cgroupControllers": ["memory", "cpu"]}}, 1, 1.0, ""),
        ({"host": {"cgroupControllers": []}}, 1, None, "memory"),
        ({"host": {"cgroupControllers": ["memory"]}}, 1, 0.5, "cpu"),
    ],
)
def test_a_limit_that_the_kernel_would_drop_is_an_error(
    replica: Replica, info: dict[str, object], memory: int | None, cpus: float | None, wrong: str
) -> None:
    daemon = FakeDaemon(info=info)
    if not wrong:
        daemon.engine.check_limits(memory, cpus)
        return
    with pytest.raises(RuntimeUnavailable, match=f"cannot limit the {wrong}"):
        daemon.engine.check_limits(memory, cpus)
    with pytest.raises(RuntimeUnavailable, match=f"cannot limit the {wrong}"):
        daemon.engine.start(replace(replica, memory=memory, cpus=cpus))
    assert daemon.state is None


def test_a_command_is_followed_to_its_end_or_ended() -> None:
    heard: list[bytes] = []
    over = threading.Event()

    def sink(piece: bytes) -> None:
        heard.append(piece)
        if not piece:
            over.set()

    follow(["sh", "-c", "echo one; echo two >&2"], sink)
    assert over.wait(10)
    assert b"".join(heard) == b"one\ntwo\n"
    over.clear()
    stop = follow(["sleep", "60"], sink)
    stop()
    assert over.wait(10)
    stop()
