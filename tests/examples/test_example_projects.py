"""The examples whose models a script brings, served as a user would, and shaken through their own API."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def copied(name: str, folder: Path, *ignore: str) -> Path:
    """An example as it is in git: without what was made in it."""
    target = folder / name
    shutil.copytree(
        EXAMPLES / name, target, ignore=shutil.ignore_patterns(".serinus", "*.onnx", "model", *ignore)
    )
    return target


@contextmanager
def served(project: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "serinus", "serve", "--no-reload", "--port", "0", "--json"]
    with (project / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            text = ""
            while not text.endswith("}\n"):
                line = process.stdout.readline()
                assert line, (project / "log").read_text()
                text += line
            yield json.loads(text)["url"]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def post(url: str, document: object) -> Any:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def shaken(url: str, folder: Path) -> None:
    """Every check of schemathesis, through the description that the service gives of itself."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--seed", "1"]
    done = subprocess.run(
        [*command, "--max-examples", "30"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copied("sentiment", tmp_path_factory.mktemp("examples"))
    train = [sys.executable, "-m", "serinus", "run", "train", "-p", "register=false"]
    subprocess.run(train, cwd=project, check=True, capture_output=True)
    return project


@pytest.mark.network
def test_the_sentiment_example_is_trained_served_and_shaken(sentiment: Path) -> None:
    assert json.loads((sentiment / "build/evaluation.json").read_text())["accuracy"] > 0.8
    with served(sentiment) as url:
        glad, sad = post(f"{url}/predict", ["One of the most moving films of the year.", "The battery died."])
        assert (glad["positive"], sad["positive"]) == (True, False)
        shaken(url, sentiment)


@pytest.mark.network
@pytest.mark.mmdebstrap
@pytest.mark.sandbox
def test_the_demo_does_the_main_job_and_is_quick_the_second_time(sentiment: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "demo.py"], cwd=sentiment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r"^sha256:[0-9a-f]{64}$", done.stdout, re.MULTILINE)
        answers = re.findall(r'{"positive": (true|false), "probability": [\d.]+}  (.+)', done.stdout)
        assert answers[:2] == [
            ("true", "One of the most moving films of the year."),
            ("false", "The battery died after two days."),
        ]
        assert len(answers) == 3
    assert "pack" not in done.stderr, "nothing is packed again"
    assert "written" not in done.stderr, "nothing travels again"


@pytest.mark.network
@pytest.mark.shared
def test_the_roberta_example_is_served_and_shaken(tmp_path: Path, shared: Path) -> None:
    project = copied("roberta", tmp_path)
    fetch = [sys.executable, "fetch.py", str(shared / "models/roberta-sentiment")]
    subprocess.run(fetch, cwd=project, check=True, capture_output=True)
    with served(project) as url:
        assert post(f"{url}/predict", ["MLOps is critical for robustness"]) == {"positive": True}
        shaken(url, project)
