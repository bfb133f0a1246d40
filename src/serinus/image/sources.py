"""What a build takes in: the model, the code, the serving part of Serinus."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from serinus.errors import BuildError, ModelError, ProjectError
from serinus.events import Observer, ignore
from serinus.image import LIBRARY, WORKDIR, secrets, select
from serinus.image.layers import Item
from serinus.image.runtime import runtime_files
from serinus.image.stages import Gathered, Workshop
from serinus.models.digest import model_digest
from serinus.project import Project


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where the model is, and where it goes."""

    source: Path
    """File or folder on this machine."""
    path: str
    """Relative to the working directory of the service."""
    uri: str = ""
    """Resolved, of a model that was fetched from elsewhere."""
    manifest: str = ""
    """Digest of its manifest, where it is an OCI artifact."""


def is_elsewhere(project: Project) -> bool:
    """Whether the model is to be fetched, because no file of this machine is named.

    Raises:
        ModelError: ``model.source`` cannot be read.
    """
    named = project.model.source
    if named is None or os.path.lexists(project.root / named):
        return False  # as for most projects: how addresses are written need not be known
    from serinus.models.fetch import elsewhere

    return elsewhere(project) is not None


def with_model(project: Project, observer: Observer = ignore, *, cache: Path | None = None) -> Project:
    """The project with its model on this machine: fetched where it comes from elsewhere, else as it is.

    What is asked for the model afterwards is answered by this one, whatever an alias points at by then.

    Args:
        project: names the model.
        observer: told of the step ``model``.
        cache: the user's cache folder; default :func:`serinus.files.cache_folder`.

    Raises:
        ModelError, RegistryError: it cannot be had, or is not the one that ``model.digest`` says.
    """
    if project.fetched is not None or not is_elsewhere(project):
        return project
    from serinus.models.fetch import fetch

    fetched = fetch(project, observer, cache=cache)
    if fetched is None:
        return project
    found = replace(project, fetched=fetched)
    digest = fetched_digest(found)
    if project.model.digest not in {None, digest}:
        raise ModelError(
            f"the model {fetched.uri} is {digest}, expected {project.model.digest} as model.digest says",
            "Name the version that was meant, or correct model.digest.",
        )
    return found


def fetched_digest(project: Project) -> str | None:
    """The digest of a fetched model's content as an image's label has it; None where none was fetched."""
    model, fetched = find_model(project), project.fetched
    if model is None or fetched is None:
        return None
    if not model.source.is_dir():
        return fetched.digest
    entries = select.walk(model.source, select.rules(select.NEVER), follow=True)
    place = f"{WORKDIR}/{model.path}".lstrip("/")
    return model_digest({f"{place}/{entry.path}": fetched.files[entry.path] for entry in entries})


def find_model(project: Project) -> ModelPlace | None:
    """Where the model of a project is, and where it goes; None when it names none.

    ``source`` and ``path`` stand for each other where one is left out; of a source outside of the project
    the last name becomes the path. A model from elsewhere is fetched, unless :func:`with_model` has done it.

    Raises:
        ProjectError: there is no such file or folder, or it would not go below the working directory.
        ModelError, RegistryError: it cannot be fetched.
    """
    named = _local(project)
    if named is None:
        return None
    fetched = with_model(project).fetched
    named = fetched.name if fetched else named
    source = fetched.path if fetched else Path(os.path.normpath(project.root / named))
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
    return ModelPlace(source, path, fetched.uri, fetched.manifest) if fetched else ModelPlace(source, path)


def _local(project: Project) -> str | None:
    """The path that the project names, out of a URI where it is written as one."""
    named = project.model.source or project.model.path
    if named is None or not named.startswith("file:") or os.path.lexists(project.root / named):
        return named
    from serinus.models.address import parse

    return parse(named).place


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


def dependencies(tree: Path) -> tuple[Item, ...]:
    """The files of a folder of installed packages.

    Raises:
        BuildError: a file cannot go into an image.
    """
    place = f"{LIBRARY}/".lstrip("/")
    return tuple(
        Item(place + e.path, e.size, None if e.link else tree / e.path, e.executable, e.link)
        for e in select.walk(tree, ())
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
