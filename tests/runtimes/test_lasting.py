"""Replicas that outlive the process that started them: found again, and never two of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from images import Tiny, answered, digest_of, layer_of, make_image, sys_python
from real_engines import ENGINES, REAL, forget, runtime_of

from serinus.errors import RuntimeUnavailable
from serinus.runtimes import Bind, Replica, Runtime, lasting, wait
from serinus.runtimes.sandbox import Sandbox

ENVIRONMENT = f"test-{os.getpid()}"
"""Of this test run, for engines are shared by all."""
EVERY = [pytest.param("sandbox", marks=pytest.mark.sandbox), *REAL]

STARTER = """
    import os, signal, sys, time
    from pathlib import Path
    from serinus.registry.layout import Layout
    from serinus.runtimes import Replica, wait
    from serinus.runtimes.docker import docker
    from serinus.runtimes.podman import podman
    from serinus.runtimes.sandbox import Sandbox

    kind, layout, cache, state, environment, port, moment = sys.argv[1:]
    layout = Layout(layout)
    engines = {"docker": docker, "podman": podman}
    runtime = engines[kind]() if kind in engines else Sandbox(cache=Path(cache), state=Path(state))
    replica = Replica(
        f"{environment}-0", layout, layout.resolve("latest"), int(port),
        lasting=True, environment=environment, number=3, labels={"colour": "red, or blue=ish"},
    )
    if moment != "ready":
        signal.setitimer(signal.ITIMER_REAL, float(moment))
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    running = runtime.start(replica)
    if moment == "ready":
        wait.ready(f"http://127.0.0.1:{port}", running)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(5)
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def box(cache: Path, state: Path) -> Iterator[Sandbox]:
    """A sandbox that leaves nothing behind."""
    made = Sandbox(cache=cache, state=state)
    yield made
    for one in made.list(ENVIRONMENT):
        one.running.stop(0)


@pytest.fixture
def replica(tiny: Tiny, port: int) -> Replica:
    return Replica("tiny-0", tiny.layout, tiny.image, port, lasting=True, environment=ENVIRONMENT)


def killed_while_it_starts(kind: str, tiny: Tiny, cache: Path, state: Path, port: int, moment: str) -> None:
    """A process that starts a replica, and is killed at a moment."""
    words = [kind, tiny.layout.root, cache, state, ENVIRONMENT, port, moment]
    command = [sys.executable, "-c", textwrap.dedent(STARTER), *map(str, words)]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL


def processes(state: Path) -> list[int]:
    return [pid for pids in lasting._bearing(state.resolve()).values() for pid in pids]


def named(state: Path) -> list[str]:
    """The folders of replicas; one that never got its name is dropped an hour later."""
    return [folder.name for folder in state.iterdir() if not folder.name.startswith(".")]


def until_ready(port: int, runtime: Runtime) -> None:
    [one] = runtime.list(ENVIRONMENT)
    wait.ready(f"http://127.0.0.1:{port}", one.running, timeout=60)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.usefixtures("podman_configured")
def test_it_outlives_its_starter_and_is_found_by_the_next(
    name: str, tiny: Tiny, cache: Path, state: Path, port: int
) -> None:
    runtime = Sandbox(cache=cache, state=state) if name == "sandbox" else runtime_of(name)
    try:
        killed_while_it_starts(name, tiny, cache, state, port, "ready")
        assert answered(port) == tiny.expected
        [found] = runtime.list(ENVIRONMENT)
        assert (found.name, found.version) == (f"{ENVIRONMENT}-0", tiny.image.digest)
        assert (found.number, found.port, found.alive) == (3, port, True)
        assert found.labels == {"colour": "red, or blue=ish"}
        assert runtime.list("another") == ()
        running = found.running
        assert running.wait(0) is running.wait(0.2) is None
        answered(port)
        log, end = b"", time.monotonic() + 10
        while log.count(b"GET /hello") < 2:
            log += running.logs(len(log))
            time.sleep(0.02)
            assert time.monotonic() < end
        assert log.count(b"listening\n") == 1
        assert running.stop(10) == running.wait(0) == 7
        assert b"ending" in running.logs()
        assert runtime.list(ENVIRONMENT) == ()
    finally:
        for one in runtime.list(ENVIRONMENT):
            one.running.stop(0)
        if name in ENGINES:
            forget(name, tiny.layout, tiny.image)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.usefixtures("podman_configured")
def test_one_that_ended_alone_is_listed_once_more_and_cleared_away(
    name: str, tiny: Tiny, cache: Path, state: Path, port: int
) -> None:
    runtime = Sandbox(cache=cache, state=state) if name == "sandbox" else runtime_of(name)
    replica = Replica(
        f"{ENVIRONMENT}-1", tiny.layout, tiny.image, port, lasting=True, environment=ENVIRONMENT
    )
    try:
        running = runtime.start(replica)
        wait.ready(f"http://127.0.0.1:{port}", running, timeout=60)
        del running
        if name == "sandbox":
            [service] = lasting.children(int(status(state)["child-pid"]))
            os.kill(service, signal.SIGKILL)
        else:
            subprocess.run([name, "kill", f"serinus-{ENVIRONMENT}-1"], check=True, capture_output=True)
        end = time.monotonic() + 10
        while (found := runtime.list(ENVIRONMENT)) and found[0].alive:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert found[0].running.stop(0) == 128 + signal.SIGKILL
        assert b"listening" in found[0].running.logs()
        assert runtime.list(ENVIRONMENT) == ()
    finally:
        for one in runtime.list(ENVIRONMENT):
            one.running.stop(0)
        if name in ENGINES:
            forget(name, tiny.layout, tiny.image)


def status(state: Path) -> dict[str, int]:
    [folder] = state.iterdir()
    first: dict[str, int] = json.loads((folder / "status").read_text().splitlines()[0])
    return first


@pytest.mark.parametrize("name", REAL)
@pytest.mark.usefixtures("podman_configured")
def test_an_engine_that_goes_on_without_us_makes_no_second_one(
    name: str, tiny: Tiny, cache: Path, state: Path, port: int
) -> None:
    runtime = runtime_of(name)
    replica = Replica(
        f"{ENVIRONMENT}-0", tiny.layout, tiny.image, port, lasting=True, environment=ENVIRONMENT
    )
    runtime.start(replace(replica, name=f"{ENVIRONMENT}-first")).stop(0)  # the image is there from now on
    try:
        for moment in ("0.2", "0.4"):
            killed_while_it_starts(name, tiny, cache, state, port, moment)
            end = time.monotonic() + 60
            while True:
                try:
                    running = runtime.start(replica)
                    break
                except RuntimeUnavailable:  # the command of the killed one was a moment faster
                    assert time.monotonic() < end
            wait.ready(f"http://127.0.0.1:{port}", running, timeout=60)
            assert [one.alive for one in runtime.list(ENVIRONMENT)] == [True]
            running.stop(5)
        assert runtime.list(ENVIRONMENT) == ()
    finally:
        for one in runtime.list(ENVIRONMENT):
            one.running.stop(0)
        forget(name, tiny.layout, tiny.image)


@pytest.mark.sandbox
def test_whenever_its_starter_is_killed_there_is_one_or_none(
    box: Sandbox, tiny: Tiny, cache: Path, state: Path, port: int
) -> None:
    killed_while_it_starts("sandbox", tiny, cache, state, port, "ready")  # the root is unpacked from now on
    for moment in ("0.001", "0.002", "0.004", "0.007", "0.01", "0.015", "0.02", "0.03", "0.05", "0.1"):
        for one in box.list(ENVIRONMENT):
            one.running.stop(0)
        assert (named(state), processes(state)) == ([], [])
        killed_while_it_starts("sandbox", tiny, cache, state, port, moment)
        time.sleep(0.2)  # what had been forked is bubblewrap by now
        found = [one for one in box.list(ENVIRONMENT) if one.alive]
        assert bool(processes(state)) == bool(found)
        assert len(found) <= 1
        if found:
            until_ready(port, box)


@pytest.mark.sandbox
def test_what_bears_the_name_makes_way(box: Sandbox, replica: Replica, state: Path, tiny: Tiny) -> None:
    first = box.start(replica)
    second = box.start(replica)
    assert first.wait(10) == lasting.UNKNOWN
    wait.ready(f"http://127.0.0.1:{replica.port}", second, timeout=30)
    assert len(box.list(ENVIRONMENT)) == 1
    # Whoever still holds the first does not harm the second.
    assert first.stop() == lasting.UNKNOWN
    assert second.wait(0) is None
    assert answered(replica.port) == tiny.expected


@pytest.mark.sandbox
@pytest.mark.parametrize("victim", ["outside", "inside"])
def test_half_a_sandbox_is_none(box: Sandbox, replica: Replica, state: Path, victim: str) -> None:
    running = box.start(replica)
    inside = int(status(state)["child-pid"])
    [outside] = set(processes(state)) - {inside}
    os.kill(outside if victim == "outside" else inside, signal.SIGKILL)
    assert running.wait(10) == lasting.UNKNOWN
    assert (list(state.iterdir()), processes(state)) == ([], [])


@pytest.mark.sandbox
def test_half_a_sandbox_is_found_as_one_that_ended(box: Sandbox, replica: Replica, state: Path) -> None:
    box.start(replica)
    inside = int(status(state)["child-pid"])
    [outside] = set(processes(state)) - {inside}
    os.kill(outside, signal.SIGKILL)
    os.waitpid(outside, 0)
    [found] = box.list(ENVIRONMENT)
    assert not found.alive
    assert found.running.stop() == lasting.UNKNOWN
    assert (list(state.iterdir()), processes(state)) == ([], [])


@pytest.mark.sandbox
def test_what_has_no_folder_any_more_is_ended(box: Sandbox, replica: Replica, state: Path) -> None:
    running = box.start(replica)
    [folder] = state.iterdir()
    folder.rename(folder.with_name("tiny-0.moved"))
    box.list(ENVIRONMENT)
    assert running.wait(10) == lasting.UNKNOWN
    assert processes(state) == []


LEAVING = b"""
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
print("left")
raise SystemExit(4)
"""


@pytest.mark.sandbox
def test_what_its_service_leaves_behind_ends_with_it(
    box: Sandbox, tiny: Tiny, python_layer: Path, replica: Replica, state: Path
) -> None:
    code = layer_of({"main.py": LEAVING})
    config = {"Entrypoint": [sys_python(), "-I", "-S", "-u", "/main.py"]}
    image = make_image(tiny.layout, [python_layer.read_bytes(), code], config, tag=digest_of(code)[7:])
    running = box.start(replace(replica, image=image))
    assert running.wait(10) == 4
    assert running.logs() == b"left\n"
    assert processes(state) == []


@pytest.mark.sandbox
def test_its_secrets_are_on_nobodys_command_line(box: Sandbox, replica: Replica, state: Path) -> None:
    box.start(replace(replica, env={"KEY": "hush"}))
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes(state)]
    assert len(lines) == 2
    assert not any(b"hush" in line for line in lines)


@pytest.mark.sandbox
def test_a_folder_that_cannot_be_written_is_named(replica: Replica, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeUnavailable, match="cannot be noted"):
        Sandbox(cache=cache, state=tmp_path / "file").start(replica)


@pytest.mark.sandbox
def test_a_refusal_leaves_nothing(replica: Replica, cache: Path, state: Path, tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text(
        '#!/bin/sh\ncase "$*" in *--version) exit 0;; esac\necho "bwrap: no more" >&2\nexit 1\n'
    )
    program.chmod(0o755)
    with pytest.raises(RuntimeUnavailable, match="no more"):
        Sandbox(cache=cache, state=state, program=str(program)).start(replica)
    assert list(state.iterdir()) == []


# Limits and binds

HUNGRY = """
import os, time
print(open("/run/serinus/word").read(), flush=True)
try:
    kept = bytearray(400 << 20)
    print("got it", flush=True)
except MemoryError:
    print("no more", flush=True)
"""


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.usefixtures("podman_configured")
@pytest.mark.parametrize("limit", [200 << 20, None])
def test_memory_is_limited_and_files_are_bound(
    name: str, limit: int | None, tiny: Tiny, python_layer: Path, cache: Path, tmp_path: Path, port: int
) -> None:
    code = layer_of({"main.py": HUNGRY.encode()})
    config = {"Entrypoint": [sys_python(), "-I", "-S", "/main.py"], "ExposedPorts": {"5000/tcp": {}}}
    image = make_image(tiny.layout, [python_layer.read_bytes(), code], config, tag=digest_of(code)[7:])
    (tmp_path / "word").write_text("chirp")
    binds = (Bind(tmp_path / "word", "/run/serinus/word"),)
    runtime = Sandbox(cache=cache, state=tmp_path / "state") if name == "sandbox" else runtime_of(name)
    runtime.check_limits(limit, None)
    replica = Replica(
        f"{ENVIRONMENT}-hungry", tiny.layout, image, port,
        binds=binds, memory=limit, lasting=True, environment=ENVIRONMENT,
    )  # fmt: skip
    try:
        running = runtime.start(replica)
        code = running.wait(60)
        words = running.logs().decode().split("\n")[:2]
        assert words[0] == "chirp"
        if limit is None:
            assert (code, words[1]) == (0, "got it")
        elif name == "sandbox":
            assert (code, words[1]) == (0, "no more")
        else:
            assert (code, words[1]) == (137, "")
    finally:
        if name in ENGINES:
            forget(name, tiny.layout, image)


def test_what_the_sandbox_cannot_limit_is_an_error_before_anything_starts(replica: Replica) -> None:
    box = Sandbox()
    box.check_limits(1 << 30, None)
    with pytest.raises(RuntimeUnavailable, match=r"cannot limit a replica to 1\.5 cores") as caught:
        box.check_limits(None, 1.5)
    assert "docker" in caught.value.todo


@pytest.mark.sandbox
def test_it_is_not_started_under_a_limit_that_is_not_held(
    box: Sandbox, replica: Replica, state: Path
) -> None:
    with pytest.raises(RuntimeUnavailable, match="cores"):
        box.start(replace(replica, cpus=0.5))
    assert not state.exists()
