"""Machines, and the services that models come from."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fetching import Machine

from fakes.cloud import Authority, Double

_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_", "HF_", "MLFLOW_", "STORAGE_", "GCE_", "HTTPS_PROXY", "HTTP_PROXY")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test depends on the logins and proxies that a developer happens to have."""
    for name in [n for n in os.environ if n.upper().startswith(_CLOUDS)]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that has fetched nothing yet."""
    return Machine(tmp_path)


@pytest.fixture
def double() -> Iterator[Double]:
    """A service that knows nothing yet."""
    with Double() as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority.make(folder)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """AWS, as moto plays it; gives its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty AWS that we are logged in to; gives boto3."""
    import boto3
    import httpx

    httpx.post(f"{moto_server}/moto-api/reset", trust_env=False).raise_for_status()
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return boto3
