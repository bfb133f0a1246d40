"""The examples that need no build: trained by their own script, served, asked, and shaken by schemathesis."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]
from served import Served, serving

from serinus.contract import Contract
from serinus.contract.files import read_examples, read_files, write
from serinus.contract.onnx import from_onnx

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LARGEST = 3.4028234663852886e38


def settings(folder: Path, contract: Contract) -> dict[str, Any]:
    """What the server must know of a project, with a contract file beside it."""
    write(contract, folder / "contract.json")
    project = tomllib.loads((folder / "serinus.toml").read_text())
    service, model = project["service"], project.get("model", {})
    return {
        "name": service["name"],
        "entrypoint": service.get("entrypoint"),
        "model": model.get("path"),
        "contract": "contract.json",
    }


def shaken(server: Served, folder: Path) -> None:
    """Hold the served description of the API against what is answered."""
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"http://127.0.0.1:{server.port}/openapi.json",
    ]
    done = subprocess.run(
        [*command, "--max-examples", "30", "--seed", "1"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def onnx_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "onnx"
    shutil.copytree(EXAMPLES / "onnx", folder, ignore=shutil.ignore_patterns("*.onnx"))
    told = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert float(told.split("accuracy ")[1].split()[0]) > 0.96
    return folder


@pytest.fixture(scope="module")
def onnx_server(onnx_project: Path) -> Iterator[Served]:
    inferred = from_onnx(onnx_project / "model.onnx")
    contract = Contract(inferred.request, inferred.response, read_examples(onnx_project / "examples.jsonl"))
    assert len(contract.examples) == 3
    with serving(onnx_project, **settings(onnx_project, contract)) as server:
        yield server


def test_a_bare_model_is_ready_when_its_examples_are_right(onnx_server: Served) -> None:
    line = (EXAMPLES / "onnx/examples.jsonl").read_text().splitlines()[0]
    answer = onnx_server.post(json.loads(line)["request"])
    assert answer.document["label"] == ["malignant"]


@pytest.mark.parametrize("row", [[LARGEST] * 30, [-LARGEST] * 30, [LARGEST, -LARGEST] * 15, [1e-45] * 30])
def test_no_number_makes_the_model_answer_nan(onnx_server: Served, row: list[float]) -> None:
    answer = onnx_server.post({"features": [row, [0] * 30]})
    assert answer.status == 200
    assert all(sum(p) == pytest.approx(1) for p in answer.document["probabilities"])


def test_a_bare_model_says_what_is_wrong(onnx_server: Served) -> None:
    answer = onnx_server.post({"features": [[0] * 30, [0] * 29]})
    assert answer.status == 422
    assert answer.document["errors"] == [
        {"pointer": "/features/1", "detail": "found 29 elements, expected 30"}
    ]


def test_a_bare_model_speaks_the_open_inference_protocol(onnx_server: Served) -> None:
    tumours = numpy.zeros((2, 30), "float32")
    features = triton.InferInput("features", tumours.shape, "FP32").set_data_from_numpy(tumours)
    with triton.InferenceServerClient(f"127.0.0.1:{onnx_server.port}") as client:
        assert client.infer("breast-cancer", [features]).as_numpy("label").tolist() == [b"benign"] * 2


def test_a_bare_model_keeps_its_description(onnx_server: Served, onnx_project: Path) -> None:
    shaken(onnx_server, onnx_project)


@pytest.fixture
def flask_project(tmp_path: Path) -> Path:
    folder = tmp_path / "flask-app"
    shutil.copytree(EXAMPLES / "flask-app", folder)
    return folder


def flask_contract(folder: Path) -> Contract:
    return read_files(folder / "request.json", folder / "response.json", folder / "examples.jsonl")


def test_a_flask_app_as_it_is(flask_project: Path) -> None:
    with serving(flask_project, **settings(flask_project, flask_contract(flask_project))) as server:
        answer = server.post(["MLOps is critical for robustness"])
        assert (answer.status, answer.document) == (200, {"positive": True})
        assert server.get("/").body.startswith(b"POST a JSON list"), "its other routes are its own"
        assert server.post([]).status == 422
        shaken(server, flask_project)


def test_a_flask_app_that_answers_text_for_a_boolean_gets_no_such_answer_out(flask_project: Path) -> None:
    source = (flask_project / "app.py").read_text()
    broken = source.replace("positive=sum(map(score, sentences)) >= 1", 'positive="false"')
    assert broken != source
    (flask_project / "app.py").write_text(broken)
    contract = flask_contract(flask_project)
    told = settings(flask_project, Contract(contract.request, contract.response))
    with serving(flask_project, **told) as server:
        answer = server.post(["Containers are more or less interesting"])
        assert answer.status == 500
        assert answer.headers["serinus-violation"] == "/positive"
        assert "positive" not in answer.document
        counted = 'serinus_violations_total{side="response",pointer="/positive"} 1'
        assert counted in server.get("/metrics").body.decode()
