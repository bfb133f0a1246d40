"""What the tests need from outside: looked for once, and said plainly when it is not there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SERINUS_SHARED", ROOT.parent / "shared"))

settings.register_profile("serinus", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("serinus")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so; tests that interrupt something would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _sandbox() -> bool:
    from serinus.runtimes.sandbox import available

    return available()


def _envoy() -> bool:
    return bool(importlib.util.find_spec("envoy"))


PARTS: dict[str, tuple[Callable[[], bool], str]] = {
    "docker": (lambda: _runs("docker", "info"), "apt-get install docker.io, and start dockerd"),
    "podman": (lambda: _runs("podman", "info"), "apt-get install podman runc containernetworking-plugins"),
    "registry": (
        lambda: bool(shutil.which("docker-registry") and shutil.which("htpasswd")),
        "apt-get install docker-registry apache2-utils",
    ),
    "chromium": (lambda: bool(shutil.which("chromium")), "apt-get install chromium"),
    "envoy": (_envoy, "pip install 'serinus[environment]'"),
    "wrk": (lambda: bool(shutil.which("wrk")), "apt-get install wrk"),
    "skopeo": (lambda: bool(shutil.which("skopeo")), "apt-get install skopeo"),
    "mmdebstrap": (lambda: bool(shutil.which("mmdebstrap")), "apt-get install mmdebstrap"),
    "sandbox": (_sandbox, "a kernel that lets this user make user namespaces"),
    "shared": ((SHARED / "models").is_dir, "the models and data at ../shared, or SERINUS_SHARED"),
    "network": (lambda: not os.environ.get("SERINUS_OFFLINE"), "a package index, and SERINUS_OFFLINE unset"),
}
"""Marker: is the part there, and what to do when it is not."""


@cache
def _present(part: str) -> bool:
    return PARTS[part][0]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what lacks a part, or fail it where every part is required."""
    for part, (_, remedy) in PARTS.items():
        if item.get_closest_marker(part) and not _present(part):
            message = f"{part} is not here: {remedy}"
            if os.environ.get("SERINUS_REQUIRE") == "all":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on variables that the developer happens to have set."""
    keep = {"SERINUS_CACHE", "SERINUS_REQUIRE", "SERINUS_SHARED", "SERINUS_OFFLINE", "SERINUS_PODMAN_ARGS"}
    for name in [n for n in os.environ if n.startswith("SERINUS_") and n not in keep]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published models and data."""
    return SHARED


@pytest.fixture
def podman_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """runc and modest limits, where the developer has not said otherwise: crun needs cgroups of version 2."""
    chosen = os.environ.get("CONTAINERS_CONF") or os.environ.get("SERINUS_PODMAN_ARGS")
    if chosen or Path("/sys/fs/cgroup/cgroup.controllers").exists() or not shutil.which("runc"):
        return
    path = tmp_path / "containers.conf"
    limits = '"nofile=1024:1024", "nproc=1024:1024"'
    path.write_text(f'[engine]\nruntime = "runc"\n[containers]\ndefault_ulimits = [{limits}]\n')
    monkeypatch.setenv("CONTAINERS_CONF", str(path))
