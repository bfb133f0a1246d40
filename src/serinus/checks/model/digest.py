"""Whether the model is the one that the project file names."""

from __future__ import annotations

import hashlib

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.model.files import contents
from serinus.image.sources import ModelPlace
from serinus.models.digest import model_digest
from serinus.project import Project


@check(
    "model.digest",
    why="A file was replaced by another of the same name, and the release went out with last month's model.",
    seconds=0.3,
)
def digest(source: Project, model: ModelPlace) -> Result:
    """The model's file or folder has the digest that the project file names; the image's label shows it."""
    found = digest_of(model)
    if source.model.digest is None:
        raise NotApplicable(
            f"model.digest is not set; the model is {found}", f'Write digest = "{found}" under [model].'
        )
    if found == source.model.digest:
        return Result(found)
    told = f"the model {model.path} is {found}, expected {source.model.digest} as model.digest says"
    return Result(
        findings=(Finding(told, "Fetch the model that was meant, or correct model.digest.", model.path),)
    )


def digest_of(model: ModelPlace) -> str | None:
    """The digest of a model as the image's label ``dev.serinus.model`` has it; None of an empty folder."""
    hashes = {}
    for path, file in contents(model).items():
        with file.open("rb") as stream:
            hashes[path] = hashlib.file_digest(stream, "sha256").hexdigest()
    return model_digest(hashes)
