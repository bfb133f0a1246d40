"""The same service for ``docker build``: a folder with a Dockerfile and all that it copies.

Layers stand in the same order as in an image of ours, by how often they change: dependencies, the serving
part of Serinus, model, code. The dependencies come first and by hash, so that Docker's cache keeps them. The
image runs as ours does; its digest differs with every build, since Docker writes times into its layers.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serinus.contract import Contract
from serinus.errors import BuildError
from serinus.image import (
    CONTRACT,
    LABEL_CONTRACT,
    LABEL_MODEL,
    LABEL_MODEL_MANIFEST,
    LABEL_MODEL_SOURCE,
    LIBRARY,
    RUNTIME,
    SETTINGS,
    USER,
    WORKDIR,
    secrets,
    select,
)
from serinus.image.base import parse
from serinus.image.lock import Lock, render_pins
from serinus.image.manifest import ENVIRONMENT
from serinus.image.runtime import runtime_files
from serinus.image.settings import settings
from serinus.image.sources import ModelPlace, find_model, patterns, with_model
from serinus.image.uv import redacted
from serinus.models.digest import model_digest
from serinus.project import Project

_MARK = "# Written by `serinus build --dockerfile`."
_REQUIREMENTS = "/opt/serinus/requirements.txt"
_COMPILE = (
    "import compileall, py_compile, re, sys, sysconfig; "
    "mode = py_compile.PycInvalidationMode.UNCHECKED_HASH; "
    "left = re.compile('/(test|tests|site-packages|dist-packages|idlelib|lib2to3|ensurepip)/'); "
    "[compileall.compile_dir(folder, maxlevels=50, quiet=2, rx=left, invalidation_mode=mode) "
    "for folder in (sysconfig.get_path('stdlib'), *sys.argv[1:])]"
)
"""Bytecode as :mod:`serinus.image.bytecode` makes it; what does not compile is passed over."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the text of the Dockerfile depends on."""

    base: str
    """What ``FROM`` names unless it is told otherwise."""
    because: str
    """Why it is that one, a sentence; empty where it is the project's own."""
    port: int
    labels: tuple[tuple[str, str], ...]
    contract: bool
    model: bool


def export(
    project: Project,
    lock: Lock,
    contract: Contract | None,
    destination: Path,
    *,
    index: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Write the folder; an earlier export in its place is replaced, all or nothing.

    Args:
        project: what to export.
        lock: its lock.
        contract: its contract; None where an app has none.
        destination: the folder.
        index: ``lock.Inputs.index``: options that say where packages are, for pip.

    Returns:
        The files, relative to the folder, sorted.

    Raises:
        BuildError: the folder holds something else, a file cannot be read, or pip could not use an option.
        SecretFound: a secret would have gone into the folder.
        ProjectError: the model is not there.
    """
    _check_free(destination)
    project = with_model(project)
    model = find_model(project)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".serinus-", dir=destination.parent) as name:
        folder = Path(name, "export")
        folder.mkdir()
        _copy_code(project, model, folder / "code")
        if model:
            _copy_model(model, folder / "model")
        for path, file in runtime_files():
            _put(folder / "runtime" / Path(path).relative_to(RUNTIME), file.read_bytes())
        _put(folder / "requirements.txt", requirements(lock, index).encode())
        hashes = {p.relative_to(folder).as_posix(): _hash(p) for p in _files(folder)}
        told = settings(
            project,
            model=model.path if model else None,
            contract=CONTRACT if contract else None,
            build=_build(hashes),
        )
        _put(folder / "service.json", told.to_json().encode())
        if contract:
            _put(folder / "contract.json", contract.to_json().encode())
        told_of = recipe(project, lock, contract, {p: h for p, h in hashes.items() if p.startswith("model/")})
        _put(folder / ".dockerignore", b"*\n!requirements.txt\n!runtime\n!model\n!code\n!*.json\n")
        _put(folder / "Dockerfile", dockerfile(told_of).encode())
        for place in (folder, *folder.rglob("*")):
            if place.is_dir() and not place.is_symlink():
                place.chmod(0o755)
        files = tuple(sorted(p.relative_to(folder) for p in _files(folder)))
        _swap(folder, destination, Path(name, "old"))
    return files


def dockerfile(recipe: Recipe) -> str:
    """The text of the Dockerfile. Pure."""
    # Docker reads single quotes as a shell does: nothing in them is expanded.
    environment = " \\\n    ".join(
        f"{name}={shlex.quote(value)}" for name, value in sorted(ENVIRONMENT.items())
    )
    labels = " \\\n    ".join(f"{name}={shlex.quote(value)}" for name, value in recipe.labels)
    install = (
        "python3", "-m", "pip", "install", "--no-cache-dir", "--no-compile", "--no-deps", "--require-hashes",
        "--only-binary", ":all:", "--root-user-action", "ignore", "--disable-pip-version-check",
        "--target", LIBRARY, "--requirement", _REQUIREMENTS,
    )  # fmt: skip
    compiling = ("python3", "-W", "ignore", "-c", _COMPILE, LIBRARY, RUNTIME)
    lines = [
        _MARK,
        *(["#", f"# {recipe.because}"] if recipe.because else []),
        "# Another base: docker build --build-arg BASE=IMAGE; it needs the same Python, with pip, and glibc.",
        f"ARG BASE={recipe.base}",
        "FROM ${BASE}",
        "",
        "# Layers by how often they change: dependencies, the server, the model, the code.",
        f"COPY requirements.txt {_REQUIREMENTS}",
        f"RUN {json.dumps(install)}",
        f"COPY runtime {RUNTIME}",
        f"RUN {json.dumps(compiling)}",
        *([f"COPY model {WORKDIR}"] if recipe.model else []),
        f"COPY code {WORKDIR}",
        *([f"COPY contract.json {CONTRACT}"] if recipe.contract else []),
        f"COPY service.json {SETTINGS}",
        "",
        f"ENV {environment}",
        f"LABEL {labels}",
        f"WORKDIR {WORKDIR}",
        f"USER {USER}",
        f"EXPOSE {recipe.port}",
        "STOPSIGNAL SIGTERM",
        'ENTRYPOINT ["python3", "-m", "serinus.serving"]',
        "CMD []",
    ]
    return "\n".join(lines) + "\n"


def requirements(lock: Lock, index: Sequence[str] = ()) -> str:
    """``requirements.txt``: the pins with their hashes, for pip.

    Raises:
        BuildError: an index option holds a password or names a folder of this machine.
    """
    for line in index:
        option, _, value = line.partition(" ")
        if redacted(value) != value:
            what = "holds credentials"
        elif option in ("-f", "--find-links") and "://" not in value:
            what = "names a folder of this machine"
        else:
            continue
        raise BuildError(
            f"the option {redacted(line)} {what}, and cannot stand in an exported requirements.txt",
            "Take it out of the requirements, and give pip its index by the base image or a build secret.",
        )
    return "".join(f"{line}\n" for line in index) + render_pins(lock.pins)


def recipe(project: Project, lock: Lock, contract: Contract | None, model: Mapping[str, str]) -> Recipe:
    """What the Dockerfile of a project depends on; ``model`` is path -> digest of the exported files."""
    reference, because = project.image.base, ""
    if parse(reference)[0] != "registry":
        because = (
            f"Docker cannot use the base {reference}, which Serinus takes from here: the nearest stands in."
        )
        reference = f"docker.io/library/python:{project.image.python}-slim"
    elif "@" not in reference and len(lock.bases) == 1 and lock.bases[0].reference == reference:
        reference = f"{reference}@{lock.bases[0].digest}"
    labels = {
        "org.opencontainers.image.title": project.service.name,
        LABEL_MODEL: model_digest({f"{WORKDIR[1:]}/{p.removeprefix('model/')}": h for p, h in model.items()}),
        LABEL_MODEL_SOURCE: project.fetched.uri if project.fetched else None,
        LABEL_MODEL_MANIFEST: project.fetched.manifest if project.fetched else None,
        LABEL_CONTRACT: Contract(contract.request, contract.response).to_json() if contract else None,
    }
    told = tuple((name, value) for name, value in sorted(labels.items()) if value)
    return Recipe(reference, because, project.service.port, told, contract is not None, bool(model))


def _build(hashes: Mapping[str, str]) -> str:
    """What the server tells as its version: a digest over all that was exported."""
    text = "".join(f"{digest}  {path}\n" for path, digest in sorted(hashes.items()))
    return f"sha256:{hashlib.sha256(os.fsencode(text)).hexdigest()}"


def _copy_code(project: Project, model: ModelPlace | None, folder: Path) -> None:
    """Copy what belongs in the image, but for the model.

    Raises:
        SecretFound: a file looks like one that holds a secret.
    """
    allowed = select.rules(project.image.allow_secrets)
    findings: list[secrets.Finding] = []
    folder.mkdir()
    for entry in select.walk(project.root, select.rules(patterns(project))):
        source = project.root / entry.path
        if model and (source.is_relative_to(model.source) or Path(entry.path).is_relative_to(model.path)):
            continue
        if entry.link is None and not select.ignored(entry.path, False, allowed):
            with source.open("rb") as file:
                findings += secrets.scan(entry.path, file.read(secrets.LIMIT))
        _copy(entry, source, folder / entry.path)
    secrets.refuse(findings)


def _copy_model(model: ModelPlace, folder: Path) -> None:
    if model.source.is_file():
        _put_file(model.source, folder / model.path, executable=False)
        return
    for entry in select.walk(model.source, select.rules(select.NEVER), follow=True):
        _copy(entry, model.source / entry.path, folder / model.path / entry.path)


def _copy(entry: select.Entry, source: Path, place: Path) -> None:
    if entry.link is None:
        _put_file(source, place, executable=entry.executable)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(entry.link)


def _put_file(source: Path, place: Path, *, executable: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    place.chmod(0o755 if executable else 0o644)


def _put(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    place.chmod(0o644)  # the service's user must be able to read it, whatever the umask here


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_symlink() or p.is_file())


def _hash(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_free(destination: Path) -> None:
    """Refuse to replace what is not an export.

    Raises:
        BuildError: the folder is there and holds something else.
    """
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return
    dockerfile = destination / "Dockerfile"
    if not dockerfile.is_file() or not dockerfile.read_text(errors="replace").startswith(_MARK):
        raise BuildError(
            f"{destination} is there and is not an exported folder; it would be replaced",
            "Name another folder, or remove this one.",
        )


def _swap(new: Path, destination: Path, old: Path) -> None:
    if destination.exists():
        destination.rename(old)
    new.rename(destination)
