"""The examples, made ready once: trained or fetched, and built, so that each copy is built in a moment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checked import EXAMPLES

from serinus.image.build import build
from serinus.project import Project

_TRAIN = ["-m", "serinus", "run", "train", "-p", "register=false"]
_MAKE = {"sentiment": _TRAIN, "onnx": ["train.py"], "roberta": ["fetch.py"]}
"""What Python is told to make the model of an example, and its labelled data."""


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Callable[[str], Path]:
    """The name of an example -> a folder with it, ready and built as ``NAME:latest``; not to be changed."""
    made: dict[str, Path] = {}

    def ready(example: str) -> Path:
        if example not in made:
            folder = tmp_path_factory.mktemp("clean") / example
            left_out = shutil.ignore_patterns(".serinus", "__pycache__", "serinus.lock")
            shutil.copytree(EXAMPLES / example, folder, ignore=left_out)
            if words := _MAKE.get(example):
                environment = os.environ | {"SERINUS_SHARED": str(shared)}
                command = [sys.executable, *words]
                subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
            build(Project.load(folder))
            made[example] = folder
        return made[example]

    return ready


@pytest.fixture
def copy(clean: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """The name of an example -> a copy of it that may be changed, with its layout and its lock."""

    def copied(example: str) -> Path:
        folder = tmp_path / example
        shutil.copytree(clean(example), folder, symlinks=True)
        return folder

    return copied
