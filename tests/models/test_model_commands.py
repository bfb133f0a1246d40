"""``serinus model``, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serinus.cli import run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "serinus.toml").write_text('[service]\nname = "x"\nentrypoint = "service:predict"\n')
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_bytes(b"weights")
    (tmp_path / "model/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run(["model", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_register_list_show_pull(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "metrics.json").write_text('{"accuracy": 0.5, "f1": 0.8}')
    words = ["--metric", "accuracy=0.9", "--metrics", "metrics.json", "--param", "epochs=3", "--note", "one"]
    made = call(capsys, "register", "m", "model", *words, "--alias", "staging", "--data", "metrics.json")
    assert made["id"] == "m:1"
    assert made["metrics"] == {"accuracy": 0.9, "f1": 0.8}
    assert made["params"] == {"epochs": 3}
    assert made["aliases"] == ["staging"]
    assert list(made["lineage"]["data"]) == ["metrics.json"]
    assert [v["id"] for v in call(capsys, "list")] == ["m:1"]
    assert [v["id"] for v in call(capsys, "list", "m")] == ["m:1"]
    assert call(capsys, "show", "m@staging")["digest"] == made["digest"]
    assert call(capsys, "pull", "m:1")["folder"] == "m"
    assert sorted(p.name for p in (project / "m").iterdir()) == ["config.json", "weights.bin"]
    told = call(capsys, "lineage", "m")
    assert told["id"] == "m:1"
    assert told["params"] == {"epochs": 3}


def test_diff_and_alias(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "register", "m", "model", "--metric", "accuracy=0.9")
    (project / "model/config.json").write_text("[]")
    call(capsys, "register", "m", "model", "--metric", "accuracy=0.91")
    assert call(capsys, "alias", "m:1", "production")["aliases"] == ["production"]
    found = call(capsys, "diff", "m@production", "m")
    assert found["metrics"] == {"accuracy": {"from": 0.9, "to": 0.91}}
    assert list(found["files"]) == ["config.json"]


def test_what_a_person_reads(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "list"]) == 0
    assert "no models are registered here" in capsys.readouterr().out
    assert run(["model", "register", "m", "model", "--metric", "accuracy=0.9", "--param", "quick=true"]) == 0
    assert capsys.readouterr().out.startswith("m:1  sha256:")
    assert run(["model", "show", "m"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "model    m:1",
        "metrics  accuracy=0.9",
        "params   quick=true",
        "  weights.bin  7 B  weight",
    ):
        assert line in shown
    assert run(["model", "diff", "m:1", "m:1"]) == 0
    assert capsys.readouterr().out == "no difference\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "m:1"], "there is no model m in"),
        (["register", "m", "missing"], "missing cannot be read"),
        (["register", "m", "model", "--metric", "x"], "expected NAME=VALUE"),
        (["register", "m", "model", "--metrics", "model/weights.bin"], "cannot be read as JSON"),
        (["register", "m"], "Missing argument"),
        (["pull", "M"], "the name 'M'"),
        (["alias", "m", "latest"], "always the newest"),
    ],
)
def test_what_is_wrong_is_told(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert run(["model", *words]) == 2
    assert told in capsys.readouterr().err
