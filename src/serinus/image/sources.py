"""What a build takes in: the model, the code, the serving part of Serinus."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from serinus.errors import BuildError, ProjectError
from serinus.image import WORKDIR, secrets, select
from serinus.image.layers import Item
from serinus.image.runtime import runtime_files
from serinus.image.stages import Gathered, Workshop
from serinus.project import Project


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where the model is, and where it goes."""

    source: Path
    """File or folder on this machine."""
    path: str
    """Relative to the working directory of the service."""


def find_model(project: Project) -> ModelPlace | None:
    """Where the model of a project is, and where it goes; None when it names none.

    ``source`` and ``path`` stand for each other where one is left out; of a source outside of the project
    the last name becomes the path.

    Raises:
        ProjectError: there is no such file or folder, or it would not go below the working directory.
    """
    named = project.model.source or project.model.path
    if named is None:
        return None
    source = Path(os.path.normpath(project.root / named))
    path = os.path.normpath(project.model.path or named)
    if project.model.path is None and path.startswith(("/", "..")):
        path = source.name
    if path.startswith(("/", "..")) or path == ".":
        raise ProjectError(
            f"model.path is {path!r}, expected a path below the service's working directory",
            'Write it relative and without "..", like "model.onnx".',
        )
    if not source.exists():
        raise ProjectError(
            f"there is no model at {source}, which the project's file names",
            "Correct model.source or model.path, or put the file there: a path to a file or a folder.",
        )
    return ModelPlace(source, path)


def patterns(project: Project) -> tuple[str, ...]:
    """What of a project stays out of its image, in gitignore syntax, the last that matches wins.

    The data that checks look at is no part of a service, wherever the project keeps it.
    """
    data = (project.checks.labelled, project.checks.drift.reference)
    ours = (*select.DEFAULTS, *(select.exactly(file) for file in data if file is not None))
    return (*ours, *select.read_patterns(project.root), *project.image.ignore)


def gather_code(project: Project, model: ModelPlace | None, shop: Workshop) -> Gathered:
    """The project's files but for the model, which has layers of its own.

    Raises:
        BuildError: a file cannot be read or cannot go into an image.
    """
    entries = select.walk(project.root, select.rules(patterns(project)))
    own = () if model is None else (model.path, os.path.relpath(model.source, project.root))
    kept = [e for e in entries if not any(e.path == o or e.path.startswith(f"{o}/") for o in own)]
    return shop.gather(kept, project.root, f"{WORKDIR}/".lstrip("/"))


def gather_model(model: ModelPlace | None, shop: Workshop) -> Gathered:
    """The model's file, or the files of its folder; symbolic links as what they point at.

    Raises:
        BuildError: a file cannot be read, or the folder is empty.
    """
    if model is None:
        return Gathered(())
    place = f"{WORKDIR}/{model.path}".lstrip("/")
    if model.source.is_dir():
        entries = select.walk(model.source, select.rules(select.NEVER), follow=True)
        if not entries:
            raise BuildError(
                f"the model's folder {model.source} holds no files", "Put the model's files there."
            )
        return shop.gather(entries, model.source, f"{place}/")
    state = model.source.stat()
    entry = select.Entry(model.source.name, False, state.st_size, None, state)
    found = shop.gather([entry], model.source.parent, "")
    (item,), known, states = found.items, found.known.get(entry.path), found.states.get(entry.path)
    return Gathered(
        (replace(item, path=place),),
        {place: known} if known else {},
        {place: states} if states else {},
        found.findings,
    )


def gather_runtime() -> Gathered:
    """The serving part of Serinus."""
    parts = [text(path, file.read_bytes()) for path, file in runtime_files()]
    return Gathered(
        tuple(item for part in parts for item in part.items),
        {path: digest for part in parts for path, digest in part.known.items()},
    )


def text(path: str, content: bytes) -> Gathered:
    """One file that is made here.

    Args:
        path: in the image, absolute.
        content: of the file.
    """
    inside = path.lstrip("/")
    return Gathered((Item(inside, len(content), content),), {inside: hashlib.sha256(content).hexdigest()})


def refuse_secrets(project: Project, *gathered: Gathered) -> None:
    """Stop for what looks like a secret, but in the files that the project says hold none.

    Raises:
        SecretFound: naming each file and line.
    """
    allowed = select.rules(project.image.allow_secrets)
    findings = [found for one in gathered for found in one.findings]
    secrets.refuse(found for found in findings if not select.ignored(found.path, False, allowed))


def model_digest(contents: Mapping[str, str]) -> str | None:
    """The digest of a model's content: that of its file, or over the files of its folder; None without one.

    Args:
        contents: path inside the image -> hexadecimal SHA-256.
    """
    if len(contents) == 1:
        return "sha256:" + next(iter(contents.values()))
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(contents.items()))
    return "sha256:" + hashlib.sha256(os.fsencode(lines)).hexdigest() if contents else None
