"""``.gitignore``: models stay out of git; what a person wrote there stays as it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.project.ignore import LINES, MARK, ensure, extended, ignores


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_there_stays_and_is_added_to_once(text: str) -> None:
    new = extended(text)
    if MARK in map(str.strip, text.splitlines()):
        assert new is None
        return
    assert new is not None
    assert new.startswith(text)
    assert set(LINES) <= set(map(str.strip, new.splitlines()))
    assert extended(new) is None


def test_a_line_that_was_taken_out_does_not_come_back(tmp_path: Path) -> None:
    file = tmp_path / ".gitignore"
    assert ensure(tmp_path) == file
    file.write_text(file.read_text().replace("*.onnx\n", ""))
    assert ensure(tmp_path) is None
    assert "*.onnx\n" not in file.read_text()


def test_lines_that_are_there_are_not_written_twice(tmp_path: Path) -> None:
    file = tmp_path / ".gitignore"
    file.write_bytes(b"*.pt\n\xff\xfe.log")
    file.chmod(0o640)
    ensure(tmp_path)
    assert file.read_bytes().startswith(b"*.pt\n\xff\xfe.log\n\n# serinus")
    assert file.read_bytes().count(b"*.pt\n") == 1
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("mine\n")
    (tmp_path / ".gitignore").symlink_to("shared")
    ensure(tmp_path)
    assert (tmp_path / ".gitignore").is_symlink()
    assert MARK in (tmp_path / "shared").read_text()


@pytest.mark.parametrize(
    ("path", "kept_out"),
    [
        ("model.onnx", True),
        ("models/a/weights.safetensors", True),
        ("a/pytorch_model-00001.bin", True),
        (".serinus/layout/index.json", True),
        ("service.py", False),
        ("examples.jsonl", False),
        ("tokenizer.json", False),
    ],
)
def test_git_agrees(path: str, kept_out: bool, tmp_path: Path) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "init", "-q", tmp_path], check=True, env=environment)
    ensure(tmp_path)
    done = subprocess.run(["git", "check-ignore", "-q", path], cwd=tmp_path, check=False, env=environment)
    assert (done.returncode == 0) is kept_out
    if not path.startswith("."):
        assert (ignores(path) is not None) is kept_out
