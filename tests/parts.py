"""Real parts that tests start: Debian's ``docker-registry``, on a free loopback port, with a password."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class RealRegistry:
    """A registry program that runs, speaks plain HTTP, and lets one user in."""

    host: str
    """``127.0.0.1:PORT``."""
    username: str
    password: str
    log: Path

    def auth_file(self, folder: Path) -> Path:
        """A ``config.json`` with the password, in the form that Docker, Podman and Skopeo read."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        file = folder / "config.json"
        file.write_text(json.dumps({"auths": {self.host: {"auth": pair}}}))
        return file

    def environment(self) -> dict[str, str]:
        """The variables with which Serinus finds the password."""
        return {
            "SERINUS_REGISTRY_HOST": self.host,
            "SERINUS_REGISTRY_USERNAME": self.username,
            "SERINUS_REGISTRY_PASSWORD": self.password,
        }


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def docker_registry(folder: Path) -> Iterator[RealRegistry]:
    """Run ``docker-registry`` with its store under ``folder`` while the block runs."""
    username, password = "canary", secrets.token_urlsafe(12)
    hashed = subprocess.run(
        ["htpasswd", "-Bbn", username, password], check=True, capture_output=True, text=True
    ).stdout
    (folder / "htpasswd").write_text(hashed)
    host = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "for tests alone"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    log = folder / "log"
    with log.open("wb") as output:
        command = ["docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _await(host, process, log)
        yield RealRegistry(host, username, password, log)
    finally:
        process.terminate()
        process.wait(10)


def _await(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    address = host.split(":", maxsplit=1)[0], int(host.split(":")[1])
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            with socket.create_connection(address, 1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"docker-registry did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """Debian's ``docker-registry``, one for all tests; take a repository of your own in it."""
    with docker_registry(tmp_path_factory.mktemp("docker-registry")) as running:
        yield running
