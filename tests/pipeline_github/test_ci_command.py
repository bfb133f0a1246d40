"""``serinus ci github``: writes, keeps, compares, lists."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serinus.cli import DONE, FAILED, NO, run
from serinus.pipeline.github.pins import PINS

WORKFLOW = ".github/workflows/deliver.yml"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A git repository with a project, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    assert run(["init", "--name", "sentiment"]) == DONE
    append('[image]\nrepository = "ghcr.io/acme/sentiment"')
    capsys.readouterr()
    return tmp_path


def append(text: str, file: str = "serinus.toml") -> None:
    with Path(file).open("a") as out:
        out.write(f"\n{text}\n")


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = run(["ci", "github", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_it_writes_the_file_once(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    Path(".gitignore").unlink()
    code, document = asked(capsys)
    assert code == DONE
    assert document["files"] == [str(repository / WORKFLOW), str(repository / ".gitignore")]
    assert asked(capsys)[1]["files"] == []
    assert run(["ci", "github"]) == DONE
    assert capsys.readouterr().out == f"{WORKFLOW} was up to date\n"


def test_what_is_in_marked_places_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    asked(capsys)
    mark, mine = "      # serinus: begin deliver-before\n", "      - run: echo mine\n"
    text = Path(WORKFLOW).read_text().replace(mark, mark + mine)
    Path(WORKFLOW).write_text(text)
    assert asked(capsys, "--check")[0] == DONE
    append('[ci]\nbranch = "trunk"')
    code, document = asked(capsys, "--check")
    assert (code, document["changed"]) == (NO, True)
    assert "+      - trunk" in document["difference"].splitlines()
    assert asked(capsys)[0] == DONE
    assert Path(WORKFLOW).read_text() == text.replace("      - main\n", "      - trunk\n").replace(
        text.splitlines()[2], Path(WORKFLOW).read_text().splitlines()[2]
    )


def test_what_was_changed_elsewhere_is_refused_with_the_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked(capsys)
    fresh = Path(WORKFLOW).read_text()
    Path(WORKFLOW).write_text(fresh.replace("ubuntu-latest", "mine"))
    code, document = asked(capsys)
    assert (code, document["error"]["kind"]) == (FAILED, "PipelineError")
    assert "-    runs-on: mine" in document["error"]["message"]
    assert "--force" in document["error"]["todo"]
    assert asked(capsys, "--check")[0] == NO
    assert "runs-on: mine" in Path(WORKFLOW).read_text()
    assert asked(capsys, "--force")[0] == DONE
    assert Path(WORKFLOW).read_text() == fresh


def test_pins_moved_by_dependabot_stay(capsys: pytest.CaptureFixture[str]) -> None:
    asked(capsys)
    moved = Path(WORKFLOW).read_text().replace(PINS["actions/cache"].commit, "d" * 40)
    Path(WORKFLOW).write_text(moved)
    append('[ci]\nrunner = "self-hosted"')
    assert asked(capsys)[0] == DONE
    assert f"actions/cache@{'d' * 40}" in Path(WORKFLOW).read_text()
    Path("pins.txt").write_text(f"actions/cache@{'e' * 40} # v9.9.9\n")
    append('pins = "pins.txt"')
    assert asked(capsys)[0] == DONE
    assert f"actions/cache@{'e' * 40} # v9.9.9" in Path(WORKFLOW).read_text()
    Path("pins.txt").unlink()
    assert "pins.txt, which ci.pins names, cannot be read" in asked(capsys)[1]["error"]["message"]


def test_secrets_are_listed_by_the_step_that_needs_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = asked(capsys, "--secrets")
    assert code == DONE
    assert [(one["job"], one["step"], one["name"], one["kept_as"]) for one in document] == [
        ("deliver", "publish", "GITHUB_TOKEN", "made by GitHub"),
        ("deliver", "deploy", "SERINUS_CONTROL_TOKEN", "secret"),
        ("deliver", "deploy", "SERINUS_CONTROL_URL", "variable"),
    ]
    assert not Path(".github").exists()


def test_a_project_below_the_root_of_its_repository(
    capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    assert run(["init", "-C", "services/mood"]) == DONE
    capsys.readouterr()
    code, document = asked(capsys, "-C", "services/mood")
    assert code == DONE
    assert document["file"] == str(repository / ".github/workflows/deliver-mood.yml")
    assert "working-directory: services/mood" in Path(document["file"]).read_text()


def test_a_pipeline_of_the_project_and_one_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    append('[pipeline.nightly.steps.look]\nrun = "serinus check"')
    assert asked(capsys, "nightly")[0] == DONE
    text = Path(".github/workflows/nightly.yml").read_text()
    assert "run: serinus check" in text
    assert "pull_request" not in text
    code, document = asked(capsys, "other")
    assert code == FAILED
    assert document["error"]["message"] == "there is no pipeline 'other'; there are nightly, deliver"


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ('[model]\nsource = "model.onnx"', ".gitignore keeps model.onnx out of the repository"),
        ('[model]\nsource = "sentiment:1"\npath = "m"', "models.registry is oci:.serinus/models, a folder"),
        ('[model]\nsource = "weights.json"', ""),
        ('[model]\nsource = "hf://acme/sentiment"\npath = "m"', ""),
        ('[model]\nsource = "a:1"\npath = "m"\n[models]\nregistry = "ghcr.io/acme/models"', ""),
        ("", ""),
    ],
)
def test_a_model_that_is_on_this_machine_alone_is_told_of(
    model: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    append(model)
    assert run(["ci", "github"]) == DONE
    said = capsys.readouterr().err
    assert (told in said) if told else ("will not find" not in said)


@pytest.mark.parametrize("content", [b"\xff", b"# serinus: begin a\n"])
def test_a_file_that_cannot_be_read_is_an_error(capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    Path(WORKFLOW).parent.mkdir(parents=True)
    Path(WORKFLOW).write_bytes(content)
    code, document = asked(capsys, "--force")
    assert (code, document["error"]["kind"]) == (FAILED, "PipelineError")
    assert Path(WORKFLOW).read_bytes() == content
