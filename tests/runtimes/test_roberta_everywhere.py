"""The scenario: one image of RoBERTa answers the same from the sandbox, Docker and Podman."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_engines import ENGINES, RUNTIMES, forget, runtime_of

from serinus.image.build import build, layout_of
from serinus.project import Project
from serinus.registry import Descriptor
from serinus.registry.layout import Layout
from serinus.runtimes import Replica, wait

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "roberta"
ANSWERS = {
    "Containers are more or less interesting": b'{"positive":false}',
    "MLOps is critical for robustness": b'{"positive":true}',
    "espresso is too strong": b'{"positive":false}',
}

pytestmark = [pytest.mark.shared, pytest.mark.mmdebstrap, pytest.mark.network]


@pytest.fixture(scope="session")
def roberta(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Descriptor]:
    """The example, built."""
    folder = tmp_path_factory.mktemp("roberta") / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("model", ".serinus"))
    shutil.copytree(shared / "models" / "roberta-sentiment", folder / "model")
    project = Project.load(folder)
    return layout_of(project), build(project).descriptor


@pytest.fixture(params=RUNTIMES)
def url(
    roberta: tuple[Layout, Descriptor],
    port: int,
    request: pytest.FixtureRequest,
    podman_configured: None,
) -> Iterator[str]:
    """The image, answering on loopback from one of the runtimes."""
    layout, image = roberta
    running = runtime_of(request.param).start(Replica("roberta", layout, image, port))
    try:
        wait.ready(f"http://127.0.0.1:{port}", running, timeout=120)
        yield f"http://127.0.0.1:{port}"
    finally:
        code = running.stop(30)
        if request.param in ENGINES:
            forget(request.param, layout, image)
    assert code == 0, running.logs()


def post(url: str, body: object) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"{url}/predict", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_known_sentences_get_the_same_bytes_everywhere(
    url: str, roberta: tuple[Layout, Descriptor]
) -> None:
    assert {text: post(url, [text]) for text in ANSWERS} == {text: (200, ANSWERS[text]) for text in ANSWERS}
    assert post(url, ["one", "two"])[0] == 422
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as response:
        assert response.headers["serinus-version"] == roberta[1].digest
    command = ["curl", "-s", "-X", "POST", "-H", "Content-Type: application/json"]
    command += ["--data", '["MLOps is critical for robustness"]', f"{url}/predict"]
    if shutil.which("curl"):
        assert subprocess.run(command, capture_output=True, check=True).stdout == b'{"positive":true}'
