"""The files of a model."""

from __future__ import annotations

from pathlib import Path

from serinus.checks import NotApplicable
from serinus.checks.subjects import relative
from serinus.image import WORKDIR, select
from serinus.image.sources import ModelPlace
from serinus.project import Project


def contents(model: ModelPlace) -> dict[str, Path]:
    """Path inside the image -> file here, of each file of the model that goes into the image."""
    place = f"{WORKDIR}/{model.path}".lstrip("/")
    if not model.source.is_dir():
        return {place: model.source}
    entries = select.walk(model.source, select.rules(select.NEVER), follow=True)
    return {f"{place}/{entry.path}": model.source / entry.path for entry in entries}


def onnx_files(model: ModelPlace) -> tuple[Path, ...]:
    """The ONNX files of a model, at least one.

    Raises:
        NotApplicable: there is none.
    """
    found = tuple(file for file in contents(model).values() if file.suffix == ".onnx")
    if not found:
        raise NotApplicable("the model is no ONNX file")
    return found


def named(file: Path, project: Project) -> str:
    """A file as findings name it."""
    return relative(file, project)
