"""The command line: exit codes, one JSON document, and errors that say what to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serinus.cli import DONE, FAILED, NO, run
from serinus.cli.output import human_size

ANSWER = {"type": "object", "properties": {"positive": {"type": "boolean"}}, "required": ["positive"]}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def contract_file(path: Path, response: dict[str, Any]) -> str:
    path.write_text(json.dumps({"request": {"type": "string"}, "response": response, "examples": []}))
    return str(path)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Run a command with --json: its exit code and its document."""
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_init_makes_a_project_and_never_overwrites_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, document = asked(capsys, "init", "--name", "My Model")
    assert code == DONE
    assert sorted(Path(name).name for name in document["files"]) == [
        ".gitignore",
        "examples.jsonl",
        "requirements.txt",
        "serinus.toml",
        "service.py",
    ]
    assert 'name = "my-model"' in (tmp_path / "serinus.toml").read_text()
    (tmp_path / "service.py").write_text("mine")
    code, document = asked(capsys, "init")
    assert (code, document["error"]["kind"]) == (FAILED, "ProjectError")
    assert (tmp_path / "service.py").read_text() == "mine"


def test_init_around_a_file_that_is_not_there_or_not_onnx(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert asked(capsys, "init", "none.onnx")[1]["error"]["message"] == "there is no file none.onnx"
    (tmp_path / "bad.onnx").write_text("not a model")
    code, document = asked(capsys, "init", "bad.onnx")
    assert (code, document["error"]["kind"]) == (FAILED, "ContractError")
    assert not (tmp_path / "serinus.toml").exists()


def test_config_shows_the_project_and_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    run(["init", "--name", "x"])
    capsys.readouterr()
    assert asked(capsys, "config")[1]["service"]["port"] == 5000
    assert "service.deadline" in {key["key"] for key in asked(capsys, "config", "--list")[1]}
    assert run(["config"]) == DONE
    assert 'service.name = "x"' in capsys.readouterr().out.splitlines()


def test_without_a_project_the_error_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build"]) == FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no serinus.toml in" in captured.err
    assert "serinus init" in captured.err


def test_wrong_usage_is_told_with_the_nearest_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = asked(capsys, "biuld")
    assert (code, document["error"]["kind"]) == (FAILED, "Usage")
    assert "did you mean 'build'?" in document["error"]["message"]
    assert run(["build", "--nonsense"]) == FAILED
    assert "No such option" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == DONE
    assert run(["--help"]) == DONE
    assert "publish" in capsys.readouterr().out


def test_contract_diff_says_no_to_a_breaking_change(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    old = contract_file(tmp_path / "old.json", ANSWER)
    new = contract_file(tmp_path / "new.json", {**ANSWER, "properties": {"positive": {"type": "string"}}})
    assert asked(capsys, "contract", "diff", old, old) == (DONE, {"breaking": False, "changes": []})
    code, document = asked(capsys, "contract", "diff", old, new)
    assert (code, document["breaking"]) == (NO, True)
    assert document["changes"][0]["pointer"] == "/positive"


def test_contract_write_draws_from_examples_and_names_the_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "serinus.toml").write_text('[service]\nname = "a"\nentrypoint = "app:app"\n')
    code, document = asked(capsys, "contract", "write", "--from-examples")
    assert (code, document["error"]["kind"]) == (FAILED, "ContractError")
    (tmp_path / "examples.jsonl").write_text('{"request": ["a"], "response": {"positive": true}}\n')
    assert asked(capsys, "contract", "write", "--from-examples")[0] == DONE
    assert json.loads((tmp_path / "response.json").read_text())["properties"]["positive"] == {
        "type": "boolean"
    }
    assert asked(capsys, "config")[1]["contract"]["response"] == "response.json"
    assert asked(capsys, "contract", "show")[1]["request"]["items"] == {"type": "string"}


def test_pull_from_nowhere_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, document = asked(capsys, "pull", f"oci:{tmp_path}/none:1", "--layout", "to")
    assert (code, document["error"]["kind"]) == (FAILED, "NotFound")
    assert not (tmp_path / "to").exists()


def test_publish_needs_a_reference_and_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    run(["init", "--name", "x"])
    capsys.readouterr()
    assert "no image.repository" in asked(capsys, "publish")[1]["error"]["message"]
    assert asked(capsys, "publish", "oci:there")[1]["error"]["kind"] == "NotFound"
    assert "acme/!" in asked(capsys, "publish", "acme/!")[1]["error"]["message"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (12345, "12.3 kB"), (5 * 10**7, "50.0 MB"), (10**10, "10.00 GB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`serinus serve` as a process of its own, and the document it printed when it was ready."""
    command = [sys.executable, "-m", "serinus", "serve", "--port", "0", "--json", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            text += line
        yield process, json.loads(text)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def post(url: str, document: object) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.network
def test_serve_answers_reloads_survives_a_mistake_and_stops(tmp_path: Path) -> None:
    run(["init", "--name", "x"])
    with serving(tmp_path) as (process, document):
        url = document["url"] + "/predict"
        assert post(url, "great") == (200, {"positive": True, "score": 1.0})
        service = tmp_path / "service.py"
        good = service.read_text()
        service.write_text("def predict(")
        wait_for(lambda: _refused(url))
        wrong = good.replace("score > 0", "score < 0")
        service.write_text(wrong)
        wait_for(lambda: not _refused(url) and "example 1" in str(post(url, "great")[1].get("detail")))
        (tmp_path / "examples.jsonl").write_text('{"request": "slow"}')
        wait_for(lambda: not _refused(url) and post(url, "great")[1].get("positive") is False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert _refused(url)


def _refused(url: str) -> bool:
    try:
        post(url, "")
    except (urllib.error.URLError, ConnectionError):
        return True
    return False


def wait_for(condition: Any) -> None:
    import time

    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within 30 s")


@pytest.mark.network
@pytest.mark.shared
def test_a_bare_onnx_file_serves_at_once(tmp_path: Path, shared: Path) -> None:
    """The model stays where it is, outside of the project."""
    run(["init", str(shared / "models/tabular/breast_cancer.onnx"), "--name", "tumours"])
    example = json.loads((tmp_path / "examples.jsonl").read_text())["request"]
    with serving(tmp_path, "--no-reload") as (_, document):
        status, answer = post(document["url"] + "/predict", example)
        assert status == 200
        assert set(answer) == {"label", "probabilities"} or len(answer) == 2
        status, problem = post(document["url"] + "/predict", {})
        assert (status, problem["title"]) == (422, "Unprocessable Entity")


@pytest.mark.network
@pytest.mark.mmdebstrap
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_no_tag(tmp_path: Path, number: signal.Signals) -> None:
    run(["init", "--name", "x"])
    env = {**os.environ, "SERINUS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "serinus", "build", "--json"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()  # a step is over, and a cold base takes seconds more
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, first + err
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    index = tmp_path / ".serinus/layout/index.json"
    assert not index.exists() or "ref.name" not in index.read_text()
