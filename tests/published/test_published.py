"""What `serinus publish` pushed, taken by the tools that others use: skopeo, Docker, Podman."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from parts import RealRegistry, docker_registry, free_port
from serinus.cli import run
from serinus.registry.layout import Layout
from serinus.runtimes.wait import ask

pytestmark = [pytest.mark.registry, pytest.mark.mmdebstrap, pytest.mark.network]


@dataclass(frozen=True)
class Published:
    """An image in a registry that asks for a password."""

    registry: RealRegistry
    reference: str
    digest: str
    config: Path
    """Folder with a ``config.json`` that holds the password."""
    project: Path

    def auth(self) -> list[str]:
        return ["--authfile", str(self.config / "config.json")]


def ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    with docker_registry(folder) as registry, pytest.MonkeyPatch.context() as patch:
        for name, value in registry.environment().items():
            patch.setenv(name, value)
        project = folder / "project"
        reference = f"{registry.host}/acme/greeting:1.2"
        assert run(["init", "-C", str(project), "--name", "greeting"]) == 0
        assert run(["build", "-C", str(project)]) == 0
        assert run(["publish", "-C", str(project), reference]) == 0
        digest = Layout(project / ".serinus/layout").resolve("greeting:latest").digest
        yield Published(registry, reference, digest, registry.auth_file(folder).parent, project)


@pytest.mark.skopeo
def test_skopeo_inspects_and_copies_it(published: Published, tmp_path: Path) -> None:
    tls = "--tls-verify=false"
    document = json.loads(ran("skopeo", "inspect", tls, *published.auth(), f"docker://{published.reference}"))
    assert document["Digest"] == published.digest
    assert document["Labels"]["org.opencontainers.image.title"] == "greeting"
    source, target = f"docker://{published.reference}", f"oci:{tmp_path}/copied:1"
    ran("skopeo", "copy", "--src-tls-verify=false", *published.auth(), source, target)
    assert Layout(tmp_path / "copied").resolve("1").digest == published.digest


@pytest.mark.docker
def test_docker_pulls_and_runs_it(published: Published) -> None:
    docker = ["docker", "--config", str(published.config)]
    name = f"serinus-test-{free_port()}"
    port = free_port()
    ran(*docker, "pull", published.reference)
    try:
        image = f"{published.reference.rpartition(':')[0]}@{published.digest}"
        ran(*docker, "image", "inspect", image)
        ran(
            *docker,
            "run",
            "-d",
            "--read-only",
            "--name",
            name,
            "-p",
            f"127.0.0.1:{port}:5000",
            published.reference,
        )
        answers(port)
        ran(*docker, "stop", name)
        assert ran(*docker, "inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
    finally:
        subprocess.run([*docker, "rm", "--force", name], capture_output=True, check=False)
        subprocess.run([*docker, "rmi", published.reference], capture_output=True, check=False)


@pytest.mark.podman
def test_podman_pulls_and_runs_it(published: Published, podman_configured: None) -> None:
    port = free_port()
    name = f"serinus-test-{port}"
    ran("podman", "pull", "--tls-verify=false", *published.auth(), published.reference)
    try:
        ran(
            "podman",
            "run",
            "-d",
            "--read-only",
            "--name",
            name,
            "-p",
            f"127.0.0.1:{port}:5000",
            published.reference,
        )
        answers(port)
    finally:
        subprocess.run(["podman", "rm", "--force", name], capture_output=True, check=False)
        subprocess.run(["podman", "rmi", published.reference], capture_output=True, check=False)


@pytest.mark.podman
def test_an_image_that_podman_pushed_is_a_base(
    published: Published, podman_configured: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman pushes Docker's or its own media types, and compresses anew: the base is what it made of it."""
    mine = f"{published.registry.host}/acme/base:podman"
    ran("podman", "pull", "--tls-verify=false", *published.auth(), published.reference)
    try:
        ran("podman", "tag", published.reference, mine)
        ran("podman", "push", "--tls-verify=false", *published.auth(), mine)
    finally:
        subprocess.run(["podman", "rmi", "--force", published.reference], capture_output=True, check=False)
    for name, value in published.registry.environment().items():
        monkeypatch.setenv(name, value)
    project = tmp_path / "project"
    assert run(["init", "-C", str(project), "--name", "on-podman"]) == 0
    with (project / "serinus.toml").open("a") as file:
        file.write(f'\n[image]\nbase = "{mine}"\n')
    assert run(["build", "-C", str(project)]) == 0
    lock = (project / "serinus.lock").read_text()
    assert mine in lock, "the base's digest is recorded"
    assert run(["contract", "diff", str(published.project), str(project)]) == 0


def test_what_was_published_is_pulled_back_as_it_was(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in published.registry.environment().items():
        monkeypatch.setenv(name, value)
    target = tmp_path / "layout"
    assert run(["pull", published.reference, "--layout", str(target)]) == 0
    back = Layout(target)
    assert back.resolve(published.reference).digest == published.digest
    assert len(back.referrers(published.digest)) == 1, "the SBOM came along"


def test_the_contract_of_a_published_image_is_compared_with_the_project(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in published.registry.environment().items():
        monkeypatch.setenv(name, value)
    assert run(["contract", "diff", published.reference, str(published.project)]) == 0
    project = tmp_path / "changed"
    assert run(["init", "-C", str(project), "--name", "greeting"]) == 0
    service = project / "service.py"
    service.write_text(service.read_text().replace("texts: list[str]", "texts: list[int]"))
    (project / "examples.jsonl").unlink()
    assert run(["contract", "diff", published.reference, str(project)]) == 1


def test_a_wrong_password_is_said_to_be_wrong_and_leaves_nothing(
    published: Published, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in published.registry.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SERINUS_REGISTRY_PASSWORD", "not-this-one")
    reference = f"{published.registry.host}/acme/other:1"
    assert run(["publish", "-C", str(published.project), reference, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "Unauthorized"
    assert "not-this-one" not in json.dumps(error)
    monkeypatch.setenv("SERINUS_REGISTRY_PASSWORD", published.registry.password)
    assert run(["pull", reference, "--layout", "nowhere", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "NotFound"
    assert not Path("nowhere").exists()


def answers(port: int) -> None:
    import time

    for _ in range(150):
        status, why = ask(f"http://127.0.0.1:{port}")
        if status == 200:
            return
        time.sleep(0.2)
    pytest.fail(why)
