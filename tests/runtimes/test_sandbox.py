"""A replica in the sandbox: what it sees, what it may, how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from images import Tiny, answered, digest_of, layer_of, make_image, put, sys_python

from serinus.errors import RuntimeUnavailable, ServiceError
from serinus.image import Layer
from serinus.registry import LAYER
from serinus.registry.layout import Layout
from serinus.runtimes import Replica, rootfs, wait
from serinus.runtimes.launch import User
from serinus.runtimes.sandbox import Bind, Sandbox, arguments, available, run

Script = Callable[[str], Replica]


@pytest.fixture
def script(tiny: Tiny, python_layer: Path, port: int) -> Script:
    """An image of the tiny one's Python that runs a script."""

    def make(text: str) -> Replica:
        code = layer_of({"main.py": textwrap.dedent(text).encode()})
        config = {"Entrypoint": [sys_python(), "-I", "-S", "-u", "/main.py"]}
        image = make_image(tiny.layout, [python_layer.read_bytes(), code], config, tag=digest_of(code)[7:])
        return Replica("script", tiny.layout, image, port)

    return make


@pytest.mark.sandbox
def test_a_replica_sees_its_image_alone(
    tiny: Tiny, port: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKED", "from the host")
    running = Sandbox(cache=cache).start(Replica("tiny", tiny.layout, tiny.image, port))
    try:
        wait.ready(f"http://127.0.0.1:{port}", running, timeout=30)
        assert answered(port) == tiny.expected
    finally:
        code = running.stop(10)
    assert code == 7
    assert running.stop() == running.wait() == 7
    assert running.logs().decode().splitlines()[-1] == "ending"


@pytest.mark.sandbox
def test_a_replica_gets_its_own_variables(script: Script, cache: Path) -> None:
    replica = replace(script("import os; print(os.environ['COLOUR'])"), env={"COLOUR": "yellow"})
    running = Sandbox(cache=cache).start(replica)
    assert running.wait(30) == 0
    assert running.logs() == b"yellow\n"


@pytest.mark.sandbox
def test_what_a_replica_may_not(script: Script, cache: Path) -> None:
    running = Sandbox(cache=cache).start(
        script("""
        import os, socket
        lines = open("/proc/self/status").read().splitlines()
        print([line.split()[1] for line in lines if line.startswith(("CapBnd", "CapEff", "NoNewPrivs"))])
        print(sorted(os.listdir("/proc"))[:2], sorted(os.listdir("/sys")), os.path.exists("/dev/sda"))
        for act in (lambda: os.mkdir("/x"), lambda: os.mkdir("/sys/x"), lambda: socket.sethostname("x")):
            try:
                act()
                print("allowed")
            except OSError:
                print("refused")
        """)
    )
    assert running.wait(30) == 0
    assert running.logs().decode().splitlines() == [
        "['0000000000000000', '0000000000000000', '1']",
        "['1', '2'] ['devices', 'fs'] False",
        *["refused"] * 3,
    ]


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise SystemExit(5)", 5),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 128 + 11),
        ("raise ValueError('my fault')", 1),
    ],
)
def test_the_exit_code_is_passed_on(script: Script, cache: Path, text: str, code: int) -> None:
    running = Sandbox(cache=cache).start(script(text))
    with pytest.raises(ServiceError, match=f"exit code {code}") as caught:
        wait.ready("http://127.0.0.1:1", running, timeout=30)
    assert ("my fault" in str(caught.value)) == (code == 1)


@pytest.mark.sandbox
def test_who_does_not_listen_to_sigterm_is_killed_after_the_grace(script: Script, cache: Path) -> None:
    running = Sandbox(cache=cache).start(
        script("""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, lambda *_: print("no"))
        print("up")
        while True:
            time.sleep(1)
        """)
    )
    until(lambda: "up" in running.logs().decode())
    assert running.wait(0) is None
    assert running.stop(0.5) == 128 + signal.SIGKILL
    assert running.logs().decode().split() == ["up", "no"]


@pytest.mark.sandbox
def test_the_sandbox_dies_with_the_one_who_started_it(tiny: Tiny, port: int, cache: Path) -> None:
    text = f"""
        import time
        from pathlib import Path
        from serinus.runtimes import Replica, wait
        from serinus.runtimes.sandbox import Sandbox
        from serinus.registry.layout import Layout
        layout = Layout({str(tiny.layout.root)!r})
        replica = Replica("tiny", layout, layout.resolve("latest"), {port})
        running = Sandbox(cache=Path({str(cache)!r})).start(replica)
        wait.ready("http://127.0.0.1:{port}", running)
        print("ready", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        assert answered(port) == tiny.expected
        parent.kill()
    until(lambda: not answers(port))


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="every other test shows it")
def test_an_ordinary_user_can_do_all_this(tiny: Tiny, port: int) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(tiny.layout.root, place / "layout")
        for here, folders, files in os.walk(place):
            for name in (here, *folders, *files):
                os.chown(Path(here, name), 65534, 65534)
        child = os.fork()
        if not child:
            _as_nobody(place, tiny, port)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(place)


def _as_nobody(place: Path, tiny: Tiny, port: int) -> NoReturn:
    """In a child process: it must not come back to pytest."""
    code = 1
    try:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        layout = Layout(place / "layout")
        running = Sandbox(cache=place / "cache").start(Replica("tiny", layout, tiny.image, port))
        wait.ready(f"http://127.0.0.1:{port}", running, timeout=30)
        assert answered(port) == tiny.expected
        code = 0 if running.stop(10) == 7 else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@pytest.mark.sandbox
def test_a_command_in_a_root_file_system(tiny: Tiny, python_layer: Path, cache: Path, tmp_path: Path) -> None:
    data = python_layer.read_bytes()
    layers = [Layer("python", put(tiny.layout, data, LAYER), digest_of(data))]
    tree = rootfs.root(tiny.layout, layers, cache=cache)
    (tmp_path / "word").write_text("chirp")
    text = "import os, sys; print(open('/srv/word').read() + os.environ['X'] + sys.stdin.read()); sys.exit(4)"
    done = run(
        tree,
        [sys_python(), "-I", "-S", "-c", text],
        binds=[Bind(tmp_path, "/srv")],
        env={"X": "!"},
        stdin="?",
    )
    assert (done.returncode, done.stdout, done.stderr) == (4, "chirp!?\n", "")


@pytest.mark.sandbox
def test_what_the_image_does_not_say_is_as_docker_has_it(tmp_path: Path) -> None:
    (tmp_path / "tmp").symlink_to("var/tmp")
    line = arguments(
        tmp_path,
        User(1, 2, "/home/x"),
        argv=["run", "it"],
        env={"A": "b"},
        workdir="/missing",
        volumes=["/data"],
        binds=[Bind(tmp_path, "/mine", writable=True)],
    )
    text = " ".join(line)
    for part in (
        "--uid 1 --gid 2",
        f"--ro-bind {tmp_path} /",
        "--tmpfs /var/tmp",
        "--perms 1777 --tmpfs /data",
        f"--bind {tmp_path} /mine",
        "--chdir /missing --clearenv --setenv HOME /home/x --setenv A b -- run it",
    ):
        assert part in text
    assert all(
        (tmp_path / name).is_dir() for name in ("proc", "dev", "sys", "var/tmp", "data", "mine", "missing")
    )
    assert (tmp_path / "etc/hosts").is_file()


def test_a_kernel_that_forbids_it_is_named_with_what_to_change(tiny: Tiny, port: int, tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    replica = Replica("tiny", tiny.layout, tiny.image, port)
    with pytest.raises(RuntimeUnavailable, match="No permissions") as caught:
        Sandbox(program=str(program), cache=tmp_path / "cache").start(replica)
    assert "user namespaces" in caught.value.todo
    with pytest.raises(RuntimeUnavailable, match="missing"):
        Sandbox(program=str(tmp_path / "missing")).start(replica)


def test_a_refusal_at_the_start_is_told(tiny: Tiny, port: int, tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text(
        '#!/bin/sh\ncase "$*" in *--version) exit 0;; esac\necho "bwrap: no more" >&2\nexit 1\n'
    )
    program.chmod(0o755)
    with pytest.raises(RuntimeUnavailable, match="no more"):
        Sandbox(program=str(program), cache=tmp_path / "cache").start(
            Replica("tiny", tiny.layout, tiny.image, port)
        )


@pytest.mark.sandbox
def test_what_is_available_can_be_asked() -> None:
    assert available()


def answers(port: int) -> bool:
    try:
        answered(port)
    except OSError:
        return False
    return True


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
