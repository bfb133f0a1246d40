"""``SERINUS_MODEL_SOURCE``: one command, or one pipeline, with another model than the project file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from serinus.project import Project


@pytest.mark.parametrize(
    ("value", "source"), [("sentiment:4", "sentiment:4"), ("", "sentiment:3"), (None, "sentiment:3")]
)
def test_it_goes_before_the_project_file_and_is_not_remembered(
    value: str | None, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[service]\nname = "a"\nentrypoint = "a:b"\n[model]\nsource = "sentiment:3"\npath = "m.onnx"\n'
    (tmp_path / "serinus.toml").write_text(text)
    if value is not None:
        monkeypatch.setenv("SERINUS_MODEL_SOURCE", value)
    for _ in range(2):  # the second time from what is remembered of the file
        model = Project.load(tmp_path).model
        assert (model.source, model.path) == (source, "m.onnx")
    monkeypatch.delenv("SERINUS_MODEL_SOURCE", raising=False)
    assert Project.load(tmp_path).model.source == "sentiment:3"
