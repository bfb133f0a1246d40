"""A tar of a model becomes files: regular files and folders, and nothing else, whatever the archive tries."""

from __future__ import annotations

import os
import shutil
import tarfile
from importlib import import_module
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from serinus.errors import ModelError
from serinus.models.formats import safe_path
from serinus.registry.content import CHUNK


def decompressed(stream: BinaryIO, compression: str, where: str) -> BinaryIO:
    """What a compressed stream holds.

    Args:
        stream: is read from where it stands.
        compression: ``gzip``, ``zstd`` or none.
        where: names the artifact, for the error.

    Raises:
        ModelError: this Python cannot read zstd.
    """
    if compression == "gzip":
        return cast(BinaryIO, import_module("isal.igzip").IGzipFile(fileobj=stream, mode="rb"))
    if compression == "zstd":
        for module in ("compression.zstd", "zstandard"):
            try:  # the first is in Python's own library since 3.14
                return cast(BinaryIO, import_module(module).open(stream, "rb"))
            except ImportError:
                continue
        raise ModelError(
            f"{where} is compressed by zstd, which this Python cannot read",
            "Install it: pip install 'serinus[zstd]'.",
        )
    return stream


def extract(stream: BinaryIO, folder: Path, base: str, where: str) -> None:
    """Write the files of a tar into a folder in which nobody else makes symbolic links.

    Links and devices are refused, so that no name can lead out of the folder; owners are not kept, and of the
    mode only whether a file can be run.

    Args:
        stream: the tar, not compressed.
        folder: where to.
        base: the folder below it that the names count from, ``""`` for itself.
        where: names the artifact, for errors.

    Raises:
        ModelError: not a tar, or with names or kinds of members that no model has.
    """
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=CHUNK, encoding="utf-8") as tar:
            for member in tar:
                if member.name.strip("/") in {"", "."} and member.isdir():
                    continue
                path = folder / safe_path(f"{base}/{member.name}" if base else member.name, where)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                elif member.isreg():
                    _file(path, cast(IO[bytes], tar.extractfile(member)), bool(member.mode & 0o100))
                else:
                    raise ModelError(
                        f"{where} holds {member.name!r}, a link or a device; expected files and folders",
                        "Pack the model again with plain files.",
                    )
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ModelError(
            f"{where} holds {Path(str(error.filename)).name!r} twice, or as a file and a folder",
            "Pack the model again with each path once.",
        ) from None
    except (tarfile.TarError, EOFError) as error:
        raise ModelError(
            f"an archive of {where} cannot be unpacked: {error}", "Push the model again at its source."
        ) from error


def new_file(path: Path, executable: bool) -> BinaryIO:
    """A file that was not there before, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o755 if executable else 0o644), "wb", buffering=0)


def _file(path: Path, source: IO[bytes], executable: bool) -> None:
    with new_file(path, executable) as target:
        shutil.copyfileobj(source, cast(Any, target), CHUNK)
