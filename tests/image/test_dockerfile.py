"""The export for docker build: its text, its folder, and that what it builds answers as our image does."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uv
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract import Contract
from serinus.errors import BuildError, SecretFound
from serinus.image import base
from serinus.image import lock as locks
from serinus.image.build import build, layout_of
from serinus.image.dockerfile import Recipe, dockerfile, export, requirements
from serinus.image.lock import Lock, LockedBase, Pin
from serinus.image.promises import of_project
from serinus.project import Image, Model, Project, Service
from serinus.registry import Platform
from serinus.runtimes import Replica, Running, wait
from serinus.runtimes.docker import docker as docker_runtime

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PINNED = Lock("3.11", (), (), (Pin("six", "1.17.0", "", (A,)),), A)
CONTRACT = Contract({"type": "string", "pattern": '^\\$["$]'}, {"type": "boolean"})
SLIM = "docker.io/library/python:3.11-slim"
HADOLINT = Path(sys.executable).with_name("hadolint")
ENTRYPOINT = ["python3", "-m", "serinus.serving"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    (root / "weights").mkdir(parents=True)
    (root / "service.py").write_text("def predict(text: str) -> bool: ...\n")
    (root / "weights/model.bin").write_bytes(b"weights")
    (root / "tool.sh").write_text("#!/bin/sh\n")
    (root / "tool.sh").chmod(0o700)
    (root / "same.py").symlink_to("service.py")
    (root / ".env").write_text("PASSWORD=1\n")
    return Project(
        root=root,
        service=Service(name="tiny", entrypoint="service:predict", port=8080),
        model=Model(path="weights"),
    )


# The text


def instructions(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", text)
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


printable = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")))


@given(st.booleans(), st.booleans(), st.integers(1, 65535), printable)
def test_dependencies_come_first_and_code_last(contract: bool, model: bool, port: int, label: str) -> None:
    recipe = Recipe(SLIM, "", port, (("a", label),), contract, model)
    lines = instructions(dockerfile(recipe))
    copied = [line.split()[1] for line in lines if line.startswith("COPY")]
    wanted = ["requirements.txt", "runtime", "model", "code", "contract.json", "service.json"]
    assert copied == [w for w in wanted if (w != "model" or model) and (w != "contract.json" or contract)]
    install = next(line for line in lines if line.startswith("RUN"))
    assert lines.index(install) == lines.index("COPY requirements.txt /opt/serinus/requirements.txt") + 1
    assert {"--require-hashes", "--no-cache-dir", "--no-deps"} <= set(
        json.loads(install.removeprefix("RUN "))
    )
    compiling = next(line for line in lines[::-1] if line.startswith("RUN"))
    assert lines.index(compiling) == lines.index("COPY runtime /opt/serinus/runtime") + 1
    assert lines.index(compiling) < lines.index("COPY code /srv"), "code is never run from bytecode"
    assert f"EXPOSE {port}" in lines
    assert "USER 65532:65532" in lines
    assert shlex.split(next(line for line in lines if line.startswith("LABEL"))) == ["LABEL", f"a={label}"]


@pytest.mark.parametrize("contract", [True, False])
def test_the_text_is_clean_under_hadolint(tmp_path: Path, contract: bool) -> None:
    label = (("dev.serinus.contract", CONTRACT.to_json()),) if contract else (("a", "b"),)
    file = tmp_path / "Dockerfile"
    file.write_text(dockerfile(Recipe(SLIM, "A reason.", 80, label, contract, True)))
    done = subprocess.run([HADOLINT, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# The folder


def test_the_folder_holds_what_the_image_would(project: Project, tmp_path: Path) -> None:
    files = {f.as_posix() for f in export(project, PINNED, CONTRACT, tmp_path / "out")}
    serving = {f for f in files if f.startswith("runtime/")}
    assert files - serving == {
        ".dockerignore", "Dockerfile", "code/same.py", "code/service.py", "code/tool.sh", "contract.json",
        "model/weights/model.bin", "requirements.txt", "service.json",
    }  # fmt: skip
    assert "runtime/serinus/serving/__main__.py" in serving
    out = tmp_path / "out"
    assert (out / "requirements.txt").read_text() == f"six==1.17.0 \\\n    --hash={A}\n"
    assert (out / "code/same.py").readlink() == Path("service.py")
    assert Contract.from_json((out / "contract.json").read_bytes()) == CONTRACT
    settings = json.loads((out / "service.json").read_text())
    assert (settings["model"], settings["port"], settings["name"]) == ("weights", 8080, "tiny")
    assert settings["build"].startswith("sha256:")


def test_modes_do_not_depend_on_the_umask(project: Project, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        export(project, PINNED, None, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {
        p.relative_to(tmp_path).as_posix(): p.stat().st_mode & 0o777 for p in (tmp_path / "out").rglob("*")
    }
    assert {m for path, m in modes.items() if not path.endswith("tool.sh")} == {0o644, 0o755}
    assert modes["out/code/service.py"] == 0o644
    assert modes["out/code/tool.sh"] == modes["out/code"] == 0o755


def test_an_earlier_export_is_replaced_and_anything_else_is_not(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(project, PINNED, CONTRACT, out)
    (out / "left.txt").write_text("")
    (project.root / "service.py").write_text("def predict(text: str) -> bool: return True\n")
    export(project, PINNED, None, out)
    assert not (out / "left.txt").exists()
    assert not (out / "contract.json").exists()
    assert "return True" in (out / "code/service.py").read_text()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(BuildError, match="is not an exported folder"):
        export(project, PINNED, None, mine)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_an_export_that_fails_leaves_what_was_there(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(project, PINNED, None, out)
    before = (out / "Dockerfile").read_bytes()
    (project.root / "notes.txt").write_text("-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIE" * 16 + "\n")
    with pytest.raises(SecretFound, match=r"notes\.txt"):
        export(project, PINNED, None, out)
    assert (out / "Dockerfile").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "project"]


@pytest.mark.parametrize(
    ("reference", "bases", "expected"),
    [
        (
            "debian:bookworm",
            (LockedBase("debian:bookworm", "linux/amd64", B),),
            SLIM,
        ),
        ("oci:bases", (), SLIM),
        ("acme/python:3", (), "acme/python:3"),
        ("acme/python:3", (LockedBase("acme/python:3", "linux/amd64", B),), f"acme/python:3@{B}"),
        (f"acme/python@{A}", (LockedBase(f"acme/python@{A}", "linux/amd64", B),), f"acme/python@{A}"),
    ],
)
def test_the_base_is_the_projects_or_the_nearest(
    project: Project, tmp_path: Path, reference: str, bases: tuple[LockedBase, ...], expected: str
) -> None:
    own = replace(project, image=Image(base=reference))
    lock = Lock("3.11", (), (), PINNED.pins, A, bases)
    export(own, lock, None, tmp_path / "out")
    text = (tmp_path / "out/Dockerfile").read_text()
    assert f"ARG BASE={expected}\n" in text
    assert ("Docker cannot use the base" in text) is reference.startswith(("debian:", "oci:"))


def test_an_index_goes_along_unless_it_holds_a_password_or_a_folder() -> None:
    assert requirements(PINNED, ["--extra-index-url https://example.com/simple"]).startswith(
        "--extra-index-url https://example.com/simple\nsix==1.17.0"
    )
    with pytest.raises(BuildError, match="holds credentials") as caught:
        requirements(PINNED, ["--index-url https://me:hidden@example.com/simple"])
    assert "hidden" not in str(caught.value)
    with pytest.raises(BuildError, match="a folder of this machine"):
        requirements(PINNED, ["--find-links /home/me/wheels"])


# Built and run


SERVICE = r"""
from typing import Annotated
from pydantic import Field

Text = Annotated[str, Field(description="it's a \"text\" for $HOME\\ and `more`")]

def predict(texts: list[Text]) -> dict[str, int]:
    return {text: len(text) for text in texts}
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("real") / "project"
    root.mkdir()
    (root / "service.py").write_text(SERVICE)
    (root / "serinus.toml").write_text(
        '[service]\nname = "serinus-test-exported"\nentrypoint = "service:predict"\n'
    )
    (root / "examples.jsonl").write_text('{"request": ["$HOME"], "response": {"$HOME": 5}}\n')
    return Project.load(root)


@pytest.fixture(scope="module")
def docker_base(real: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Our own base as an image of Docker, with pip and the wheels: nothing is fetched while it builds."""
    work = tmp_path_factory.mktemp("base")
    lock, _ = locks.ensure(real)
    (work / "requirements.txt").write_text(requirements(lock))
    pip = str(work / "pip")
    install = [uv.find_uv_bin(), "pip", "install", "-q", "--python", sys.executable, "--target", pip, "pip"]
    subprocess.run(install, check=True, capture_output=True)
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    subprocess.run(
        [*download, "-r", str(work / "requirements.txt"), "-d", str(work / "wheels")],
        env={**os.environ, "PYTHONPATH": pip}, check=True, capture_output=True,
    )  # fmt: skip
    resolved = base.resolve("debian:bookworm", Platform(), layout_of(real))
    shutil.copy(layout_of(real).path(resolved.layers[0].descriptor.digest), work / "base.tar.gz")
    (work / "Dockerfile").write_text(
        "FROM scratch\nADD base.tar.gz /\nCOPY pip /usr/lib/python3/dist-packages\nCOPY wheels /wheels\n"
        "ENV PATH=/usr/local/bin:/usr/bin:/bin PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\n"
    )
    tag = f"serinus-test-base:{os.getpid()}"
    docker("build", "-q", "-t", tag, str(work))
    yield tag
    docker("rmi", "-f", tag)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.strip()


NOT_FROM_BYTECODE = """
import json, sys, serinus.serving.server, service
print(json.dumps([n for n, m in sys.modules.items() if (c := getattr(m, "__cached__", None))
                  and not __import__("os").path.exists(c)]))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answered(port: int, body: bytes) -> bytes:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=10) as response:
        return bytes(response.read())


class Container:
    """A container that Docker was told to run, as ``wait.ready`` looks at one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def wait(self, timeout: float | None = None) -> int | None:
        state = json.loads(docker("inspect", "-f", "{{json .State}}", self.name))
        return None if state["Running"] else int(state["ExitCode"])

    def stop(self, grace: float = 30.0) -> int:
        docker("stop", "-t", str(int(grace)), self.name)
        return self.wait() or 0

    def logs(self, since: int = 0) -> bytes:
        return docker("logs", self.name).encode()[since:]


def ask(running: Running, port: int) -> bytes:
    wait.ready(f"http://127.0.0.1:{port}", running, timeout=60)
    return answered(port, b'["a", "$HOME", "\\u00e9"]')


@pytest.mark.docker
@pytest.mark.mmdebstrap
@pytest.mark.network
def test_docker_builds_the_same_service(real: Project, docker_base: str, tmp_path: Path) -> None:
    lock, inputs = locks.ensure(real)
    contract = of_project(real)
    export(real, lock, contract, tmp_path / "context", index=inputs.index)
    tag = f"serinus-test-export:{os.getpid()}"
    docker("build", "-q", "--build-arg", f"BASE={docker_base}", "-t", tag, str(tmp_path / "context"))
    name, port = f"serinus-test-{os.getpid()}", free_port()
    try:
        config = json.loads(docker("inspect", "-f", "{{json .Config}}", tag))
        docker(
            "run", "-d", "--name", name, "--read-only", "--tmpfs", "/tmp", "-p", f"127.0.0.1:{port}:5000", tag
        )
        theirs = ask(Container(name), port)
        compiled_anew = json.loads(docker("exec", name, "python3", "-c", NOT_FROM_BYTECODE))
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)
        subprocess.run(["docker", "rmi", "-f", tag], capture_output=True, check=False)
    assert compiled_anew == ["service"]
    assert contract is not None
    assert config["Labels"]["dev.serinus.contract"] == Contract(contract.request, contract.response).to_json()
    assert (config["User"], config["Entrypoint"], config["WorkingDir"]) == ("65532:65532", ENTRYPOINT, "/srv")
    built, port = build(real), free_port()
    running = docker_runtime().start(
        Replica(f"serinus-test-ours-{os.getpid()}", layout_of(real), built.descriptor, port)
    )
    try:
        ours = ask(running, port)
    finally:
        running.stop(10)
        subprocess.run(["docker", "rmi", "-f", "serinus-test-exported"], capture_output=True, check=False)
    assert theirs == ours == '{"a":1,"$HOME":5,"é":1}'.encode()
