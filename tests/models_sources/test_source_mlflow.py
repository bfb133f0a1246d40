"""Models from MLflow's model registry: a real server, in an environment of its own for its many pins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fetching import FILES, Machine, contents

from parts import free_port
from serinus.errors import ModelError, SourceUnavailable
from serinus.events import Progress


@dataclass
class Server:
    """A server that runs."""

    url: str

    def call(self, method: str, /, **arguments: str) -> Any:
        """A call of its REST API: its client takes seconds to start."""
        answer = httpx.post(
            f"{self.url}/api/2.0/mlflow/{method}", json=arguments, trust_env=False, timeout=60
        )
        return answer.raise_for_status().json()

    def register(self, experiment: str, run: str, files: dict[str, bytes]) -> None:
        """Log files as artifacts of a run, and make them the next version of the model ``mood``."""
        folder = f"{experiment}/{run}/artifacts/{len(files)}"
        for path, data in files.items():
            url = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{folder}/{path}"
            httpx.put(url, content=data, trust_env=False, timeout=60).raise_for_status()
        self.call("model-versions/create", name="mood", source=f"mlflow-artifacts:/{folder}", run_id=run)

    def point(self, version: str) -> None:
        """Let the alias ``champion`` point at a version."""
        self.call("registered-models/alias", name="mood", alias="champion", version=version)


def _installed(folder: Path) -> Path:
    """An environment with MLflow; gives its Python."""
    uv, python = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv", folder / "bin/python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, timeout=120)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", str(python), "mlflow>=3"], check=True, timeout=600
    )
    return python


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two versions of a model ``mood``, ``champion`` at the first."""
    folder = tmp_path_factory.mktemp("mlflow")
    python, port = _installed(folder / "environment"), free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
    own |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [
        str(python.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/store.sqlite",
        "--artifacts-destination", str(folder / "files"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=own, start_new_session=True
        )
    try:
        _await(f"http://127.0.0.1:{port}/health", process, folder / "log")
        running = Server(f"http://127.0.0.1:{port}")
        experiment = running.call("experiments/create", name="mood")["experiment_id"]
        run = running.call("runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
        running.call("registered-models/create", name="mood")
        running.register(experiment, run, FILES)
        running.register(experiment, run, {"two.onnx": b"two"})
        running.point("1")
        yield running
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its own group: the server and its workers
        process.wait(30)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    begin = time.monotonic()
    while time.monotonic() < begin + 240 and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"the MLflow server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def mlflow(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return server


@pytest.mark.network
def test_a_version_and_an_alias(machine: Machine, mlflow: Server) -> None:
    found = machine.fetch("mlflow:models:/mood/1")
    assert contents(found) == FILES
    assert (found.name, found.uri) == ("mood", "mlflow:models:/mood/1")
    size = sum(map(len, FILES.values()))
    assert Progress("model", size, size) in machine.events
    assert machine.fetch("mlflow:models:/mood@champion").path == found.path
    assert not [event for event in machine.events if isinstance(event, Progress)]
    mlflow.point("2")
    moved = machine.fetch("mlflow:models:/mood@champion")
    mlflow.point("1")
    assert (contents(moved), moved.uri) == ({"two.onnx": b"two"}, "mlflow:models:/mood/2")


@pytest.mark.network
def test_what_is_missing_is_named(machine: Machine, mlflow: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("mlflow:models:/mood/9", "mlflow:models:/none/1"):
        with pytest.raises(ModelError, match="there is no model mlflow:"):
            machine.fetch(source)
    with pytest.raises(ModelError, match="alias none not found"):
        machine.fetch("mlflow:models:/mood@none")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ModelError, match="Set MLFLOW_TRACKING_URI"):
        machine.fetch("mlflow:models:/mood/1")


@pytest.mark.network
def test_a_server_that_is_away_is_unavailable(
    machine: Machine, mlflow: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        machine.fetch("mlflow:models:/mood/1")
