"""Files on this machine that become a model: found, hashed, and noticed when they change meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from serinus.errors import ModelError
from serinus.models.formats import refuse_collisions
from serinus.registry.content import CHUNK

_LEFT_OUT = ("__pycache__",)


@dataclass(frozen=True, slots=True)
class Local:
    """A file that is to be registered."""

    path: str
    """In the model, with slashes."""
    source: Path
    size: int
    state: tuple[int, ...] = field(repr=False)
    """Changes when somebody writes to the file or puts another in its place."""


def find(paths: Sequence[Path | str]) -> tuple[Local, ...]:
    """The files of a model, sorted by their path in it.

    One folder alone is the model: its files count from it. Of several paths each keeps its own name. Symbolic
    links are followed. In folders, what begins with a dot is left out, and ``__pycache__``.

    Raises:
        ModelError: a path is not there, cannot be read, is no file or folder, or stands twice; or no files.
    """
    if not paths:
        raise ModelError("no files were named, expected those of a model", "Name files or a folder.")
    given = [Path(p) for p in paths]
    alone = len(given) == 1 and given[0].is_dir()
    found: list[Local] = []
    for path in given:
        name = "" if alone else Path(os.path.normpath(path.absolute())).name
        found += _walk(path, name, ())
    if not found:
        raise ModelError(f"{given[0]} holds no files, expected those of a model", "Name files or a folder.")
    refuse_collisions([f.path for f in found], "the model")
    return tuple(sorted(found, key=lambda f: f.path))


def _walk(path: Path, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[Local]:
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            yield _file(path, name, status)
            return
        entries = sorted(os.listdir(path))  # noqa: PTH208  names alone are wanted
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}",
            "Name a file or a folder that is there, and that you may read.",
        ) from None
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise ModelError(
            f"{path} is a symbolic link to a folder that it lies in",
            "Take it out, or name the files one by one.",
        )
    for entry in entries:
        if not entry.startswith(".") and entry not in _LEFT_OUT:
            yield from _walk(path / entry, f"{name}/{entry}" if name else entry, (*above, here))


def _file(path: Path, name: str, status: os.stat_result) -> Local:
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is no file and no folder, expected one of the two", "Take it out.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ModelError(f"the name of {str(path)!r} is not UTF-8", "Rename the file.") from None
    return Local(name, path, status.st_size, _state(status))


def _state(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def opened(file: Local) -> Iterator[BinaryIO]:
    """The file, to be read to its end; afterwards it must be what it was when it was found.

    Raises:
        ModelError: it is gone, cannot be read, or was changed.
    """
    try:
        with file.source.open("rb", buffering=0) as reader:
            _same(file, os.fstat(reader.fileno()))
            yield reader
            _same(file, os.fstat(reader.fileno()))
    except OSError as error:
        raise ModelError(
            f"{file.source} cannot be read: {(error.strerror or str(error)).lower()}",
            "Register again when the file is there and you may read it.",
        ) from None


def pieces(file: Local) -> Iterator[memoryview]:
    """The bytes of a file, each piece good until the next is asked for.

    Raises:
        ModelError: as :func:`opened`; as soon as there is more than there was, so that it ends.
    """
    buffer = memoryview(bytearray(CHUNK))
    left = file.size
    with opened(file) as reader:
        while count := reader.readinto(buffer):  # type: ignore[attr-defined]  # a raw file has it
            left -= count
            if left < 0:
                raise changed(file)
            yield buffer[:count]


def _same(file: Local, status: os.stat_result) -> None:
    if _state(status) != file.state:
        raise changed(file)


def changed(file: Local) -> ModelError:
    """The error for a file that somebody writes to while it is registered."""
    return ModelError(
        f"{file.source} was changed while it was registered, expected that nobody writes to it",
        "Register again when it is finished; nothing was registered.",
    )


def hashed(file: Local, progress: Callable[[int], None]) -> str:
    """The hexadecimal SHA-256 of a file.

    Args:
        file: as :func:`find` gave it.
        progress: told how many bytes are through.

    Raises:
        ModelError: as :func:`opened`.
    """
    digest = hashlib.sha256()
    done = 0
    for piece in pieces(file):
        digest.update(piece)
        done += len(piece)
        progress(done)
    return digest.hexdigest()
