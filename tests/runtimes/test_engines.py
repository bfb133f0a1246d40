"""Docker and Podman: first before a fake of their command line, then the real ones."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from images import Tiny, answered, layer_of, make_image
from real_engines import REAL, forget, runtime_of

from serinus.errors import RuntimeUnavailable
from serinus.registry.layout import Layout
from serinus.runtimes import Replica, Running, engine, wait
from serinus.runtimes.docker import docker
from serinus.runtimes.engine import LABEL, OWNER, Engine, Ran, lives, owner
from serinus.runtimes.podman import podman


@dataclass
class FakeEngine:
    """The part of an engine's command line that Serinus uses: images, and containers that run until told."""

    images: set[str] = field(default_factory=set)
    containers: dict[str, dict[str, object]] = field(default_factory=dict)
    refusal: str = ""
    down: str = ""
    calls: list[list[str]] = field(default_factory=list)

    def __call__(  # noqa: PLR0911 (a line for each command)
        self, argv: Sequence[str], timeout: float | None = None
    ) -> Ran:
        _, *words = argv
        self.calls.append(words)
        if self.down:
            return Ran(1, "", self.down)
        match words:
            case ["image", "inspect", _, _, name]:
                return Ran(0, name, "") if name in self.images else Ran(1, "", f"No such image: {name}")
            case ["info", *_]:
                return Ran(0, "{}", "")
            case ["run", *rest]:
                return self._run(rest)
            case ["rm", _, _, name]:
                return Ran(0 if self.containers.pop(name, None) else 1, "", "")
            case [command, *_, name] if name not in self.containers:
                return Ran(1, "", f"{command}: no such container: {name}")
            case ["container", "inspect", *_, name]:
                return Ran(0, json.dumps(self.containers[name]["labels"]), "")
            case ["inspect", *_, name]:
                return Ran(0, json.dumps(self.containers[name]["state"]), "")
            case ["stop", _, _, name]:
                self.end(name, 0)
                return Ran(0, name, "")
            case ["wait", name]:
                raise subprocess.TimeoutExpired("wait", timeout or 0)
            case ["logs", name]:
                return Ran(0, "out\n", "err\n")
        raise AssertionError(f"no such command: {words}")

    def _run(self, words: Sequence[str]) -> Ran:
        name = words[words.index("--name") + 1]
        labels = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--label")
        self.containers[name] = {"labels": labels, "state": {"Running": not self.refusal, "ExitCode": 0}}
        return Ran(125, "", self.refusal) if self.refusal else Ran(0, name + "\n", "")

    def end(self, name: str, code: int) -> None:
        self.containers[name]["state"] = {"Running": False, "ExitCode": code}


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    layout = Layout(tmp_path)
    config = {"Cmd": ["serve"], "ExposedPorts": {"8080/tcp": {}}}
    return Replica("my app", layout, make_image(layout, [layer_of({"a": b""})], config), 5000)


NAME = "serinus-my-app-5000"


def loading(fake: FakeEngine, name: str = "") -> engine.Load:
    def load(engine: Engine, replica: Replica) -> None:
        manifest = json.loads(replica.layout.manifest(replica.image))
        fake.images.add(name or manifest["config"]["digest"])

    return load


def started(fake: FakeEngine, replica: Replica) -> Running:
    return docker(runner=fake, load=loading(fake)).start(replica)


def test_a_container_is_shut_in(replica: Replica) -> None:
    fake = FakeEngine()
    started(fake, replica).stop()
    run = next(words for words in fake.calls if words[0] == "run")
    text = " ".join(run)
    for part in (
        "run --detach --pull never --name serinus-my-app-5000",
        f"--label {LABEL}=my app",
        "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges",
        "--publish 127.0.0.1:5000:8080",
        f"--env SERINUS_VERSION={replica.image.digest}",
    ):
        assert part in text
    assert run[-1] in fake.images


def test_a_container_gets_the_variables_of_its_replica(replica: Replica) -> None:
    fake = FakeEngine()
    started(fake, replace(replica, env={"SERINUS_EXAMPLES": "advisory"})).stop()
    run = next(words for words in fake.calls if words[0] == "run")
    assert run[run.index("SERINUS_EXAMPLES=advisory") - 1] == "--env"


def test_an_image_is_loaded_once(replica: Replica) -> None:
    fake = FakeEngine()
    loads: list[str] = []

    def load(engine: Engine, replica: Replica) -> None:
        loads.append(engine.name)
        loading(fake)(engine, replica)

    for _ in range(2):
        podman(runner=fake, load=load).start(replica).stop()
    assert loads == ["podman"]


def test_an_engine_that_names_images_by_their_manifest_is_understood(replica: Replica) -> None:
    fake = FakeEngine()
    docker(runner=fake, load=loading(fake, replica.image.digest)).start(replica).stop()
    assert fake.images == {replica.image.digest}


def test_it_ends_with_its_code_and_its_log_and_leaves_nothing(replica: Replica) -> None:
    fake = FakeEngine()
    running = started(fake, replica)
    assert running.wait(0) is running.wait(0.1) is None
    fake.end(NAME, 3)
    assert running.wait(0) == running.wait() == running.stop() == 3
    assert running.logs().decode() == "out\nerr\n"
    assert fake.containers == {}


def test_what_is_dropped_or_left_at_the_end_is_removed(replica: Replica) -> None:
    fake = FakeEngine()
    running = started(fake, replica)
    assert list(fake.containers) == [NAME]
    del running
    assert fake.containers == {}


def test_a_container_that_somebody_removed_has_ended(replica: Replica) -> None:
    fake = FakeEngine()
    running = started(fake, replica)
    fake.containers.clear()
    assert running.wait(0) == 137


def test_what_a_killed_process_left_makes_way(replica: Replica) -> None:
    fake = FakeEngine()
    fake.containers[NAME] = {"labels": {OWNER: "4194305-1"}, "state": {"Running": True, "ExitCode": 0}}
    started(fake, replica).stop()
    assert fake.containers == {}


def test_the_replica_of_another_is_left_alone(replica: Replica) -> None:
    fake = FakeEngine()
    fake.containers[NAME] = {"labels": {OWNER: owner()}, "state": {"Running": True, "ExitCode": 0}}
    with pytest.raises(RuntimeUnavailable, match="runs already on port 5000"):
        started(fake, replica)
    assert list(fake.containers) == [NAME]


@pytest.mark.parametrize(
    ("refusal", "todo"),
    [
        ("Bind for 127.0.0.1:5000 failed: port is already allocated.", "Choose another port"),
        ("listen tcp4 127.0.0.1:5000: bind: address already in use", "Choose another port"),
        ("OCI runtime create failed", "Install Docker"),
    ],
)
def test_a_refusal_is_told_in_the_engines_words(replica: Replica, refusal: str, todo: str) -> None:
    fake = FakeEngine(refusal=f"docker: Error response from daemon: {refusal}\nSee 'docker run --help'.\n")
    with pytest.raises(RuntimeUnavailable) as caught:
        started(fake, replica)
    assert refusal in caught.value.message
    assert todo in caught.value.todo
    assert fake.containers == {}


def test_an_engine_that_does_not_answer_says_what_to_start(replica: Replica) -> None:
    fake = FakeEngine(down="Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
    with pytest.raises(RuntimeUnavailable, match="Cannot connect") as caught:
        started(fake, replica)
    assert "start its daemon" in caught.value.todo


@pytest.mark.parametrize("runtime", [docker, podman])
def test_an_engine_that_is_not_installed_says_what_to_install(
    replica: Replica, runtime: Callable[..., Engine]
) -> None:
    def missing(argv: Sequence[str], timeout: float | None = None) -> Ran:
        raise FileNotFoundError(2, "No such file or directory", argv[0])

    engine = runtime(runner=missing)
    with pytest.raises(RuntimeUnavailable, match=engine.name) as caught:
        engine.start(replica)
    assert "apt-get install" in caught.value.todo


def test_an_image_that_is_not_there_after_loading_is_an_error(replica: Replica) -> None:
    fake = FakeEngine()
    with pytest.raises(RuntimeUnavailable, match="does not have it afterwards"):
        docker(runner=fake, load=loading(fake, "another")).start(replica)


def test_an_image_without_a_port_is_an_error(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = make_image(layout, [layer_of({"a": b""})], {"Cmd": ["serve"]})
    fake = FakeEngine()
    with pytest.raises(RuntimeUnavailable, match="exposes no TCP port"):
        started(fake, Replica("x", layout, image, 5000))


def test_global_arguments_come_from_the_environment(replica: Replica) -> None:
    seen: list[Sequence[str]] = []

    def runner(argv: Sequence[str], timeout: float | None = None) -> Ran:
        seen.append(argv)
        return Ran(1, "", "no")

    for runtime, variable in ((podman, "SERINUS_PODMAN_ARGS"), (docker, "SERINUS_DOCKER_ARGS")):
        made = runtime(runner=runner, environ={variable: "--runtime '/a b/runc'"})
        with pytest.raises(RuntimeUnavailable):
            made.start(replica)
        assert list(seen[-1][:3]) == [made.name, "--runtime", "/a b/runc"]


def test_a_process_is_told_apart_from_a_later_one() -> None:
    assert lives(owner())
    assert not lives(owner() + "0")
    assert not lives("")
    assert not lives("4194305-1")


def test_a_command_runs_in_a_session_of_its_own() -> None:
    text = "import os, sys; print(os.getsid(0) == os.getpid()); print('x', file=sys.stderr); sys.exit(3)"
    assert engine.run([sys.executable, "-c", text]) == Ran(3, "True\n", "x\n")


# The real ones


@pytest.fixture
def loaded(tiny: Tiny, request: pytest.FixtureRequest) -> Iterator[Tiny]:
    """The tiny image, taken out of the engine afterwards."""
    yield tiny
    forget(request.node.callspec.params["name"], tiny.layout, tiny.image)


def left(name: str) -> str:
    command = [name, "ps", "--all", "--quiet", "--filter", f"label={LABEL}=tiny"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", REAL)
@pytest.mark.usefixtures("podman_configured")
def test_a_replica_in_a_real_engine(name: str, loaded: Tiny, port: int) -> None:
    replica = Replica("tiny", loaded.layout, loaded.image, port)
    running = runtime_of(name).start(replica)
    try:
        wait.ready(f"http://127.0.0.1:{port}", running, timeout=60)
        assert answered(port) == loaded.expected
        with pytest.raises(RuntimeUnavailable, match="runs already"):
            runtime_of(name).start(replica)
    finally:
        code = running.stop(10)
    assert code == 7
    assert "ending" in running.logs().decode()
    assert left(name) == ""


@pytest.mark.parametrize("name", REAL)
@pytest.mark.usefixtures("podman_configured")
def test_nothing_is_left_after_ctrl_c_and_what_kill_9_left_makes_way(
    name: str, loaded: Tiny, port: int
) -> None:
    text = f"""
        import os, sys, signal, time
        from serinus.runtimes import Replica, wait
        from serinus.runtimes.{name} import {name}
        from serinus.registry.layout import Layout
        layout = Layout({str(loaded.layout.root)!r})
        replica = Replica("tiny", layout, layout.resolve("latest"), {port})
        running = {name}().start(replica)
        wait.ready("http://127.0.0.1:{port}", running)
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(60)
    """
    for number, gone in (("SIGKILL", False), ("SIGINT", True)):
        command = [sys.executable, "-c", textwrap.dedent(text), number]
        subprocess.run(command, stderr=subprocess.DEVNULL, timeout=120, check=False)
        assert (left(name) == "") == gone, number
