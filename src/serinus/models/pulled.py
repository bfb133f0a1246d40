"""A version becomes a folder: whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from serinus.errors import ModelError
from serinus.files import TEMPORARY, alone, temporary
from serinus.models import Progress
from serinus.models.pack import bring
from serinus.registry import Descriptor, Source

_BESIDE = f"{TEMPORARY}pull-"


def pull(
    source: Source,
    descriptor: Descriptor,
    contents: Mapping[str, str] | None,
    folder: Path,
    progress: Progress,
) -> bool:
    """Bring a model into a folder, which appears under its name when it is whole and verified.

    Args:
        source: holds the model.
        descriptor: of its manifest.
        contents: path -> digest of its files; None where that is not known.
        folder: where to: it is not there, or empty, or holds these files and no others.
        progress: told how many bytes are through.

    Returns:
        Whether it was brought: False where it was there already.

    Raises:
        ModelError: the folder holds something else, or cannot be written.
        RegistryError: as the source says.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  links in the path stay as they are
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ModelError(f"{folder} is there, and no folder", "Name another folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if contents is not None and _holds(folder, contents):
            return False
        raise ModelError(
            f"{folder} holds something else than the model, expected an empty folder or none",
            "Name another folder, or remove this one.",
        )
    if folder == Path.cwd():
        raise ModelError(
            f"{folder} is the current folder, which cannot be replaced", "Name a folder that is to be made."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _beside(folder.parent) as made:
            bring(source, descriptor, made, progress)
            made.chmod(0o755)
            made.replace(folder)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}", "Name a folder that you may write to."
        ) from error
    return True


@contextmanager
def _beside(parent: Path) -> Iterator[Path]:
    """A folder beside the one that is to be, locked as long as we live: what others left, killed, goes."""
    for left in parent.glob(f"{_BESIDE}*"):
        with suppress(OSError), alone(left, wait=False):
            shutil.rmtree(left, ignore_errors=True)
    made = parent / f"{_BESIDE}{temporary(parent).name.removeprefix(TEMPORARY)}"
    made.mkdir(mode=0o700)
    try:
        with alone(made, wait=False):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _holds(folder: Path, contents: Mapping[str, str]) -> bool:
    """Whether a folder holds these files, and no others."""
    found: dict[str, Path] = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return False
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path
    if set(found) != set(contents):
        return False
    return all(_digest(path) == contents[name] for name, path in found.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
