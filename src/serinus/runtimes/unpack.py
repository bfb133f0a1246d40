"""One layer of an image becomes a folder, whatever the archive tries.

A layer is a tar of changes (OCI image specification 1.1, "Image Layer Filesystem Changeset"), plain, gzip or
zstd. It is written into a folder of its own, and what it takes away from the layers below is given back as
:class:`Marks`: so that a layer is unpacked once, whatever stands under it.

Nothing lands outside the folder: absolute names count from it, symbolic links are followed inside it as if it
were ``/``, and ``..`` is refused. Devices and pipes are left out (a sandbox has its own ``/dev``); owners
are not kept (all is the current user's), nor are the set-uid and set-gid bits.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from serinus.errors import DigestMismatch, NotFound, RegistryError

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_LINKS = 40
"""As many symbolic links as Linux follows in one path (``path_resolution(7)``)."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Marks:
    """What a layer says beside its files. Paths are relative to the root; ``""`` is the root itself."""

    hidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Folder -> the names in it that lower layers have and this one takes away (``.wh.NAME``)."""
    opaque: frozenset[str] = frozenset()
    """Folders of which nothing in lower layers is to be seen (``.wh..wh..opq``)."""
    implied: frozenset[str] = frozenset()
    """Folders that no entry describes: they are only on the way to one. A lower layer's mode stays."""


def inside(root: Path, name: str) -> str:
    """Where a path leads if ``root`` is ``/``: a path relative to it without any symbolic link.

    What does not exist is taken as it is written. Never leads out of ``root``: a link's ``..`` stops there.

    Raises:
        RegistryError: more than 40 links, a loop most likely.
    """
    found: list[str] = []
    ahead = [part for part in reversed(name.split("/")) if part not in ("", ".")]
    links = 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            found = found[:-1]
            continue
        here = root.joinpath(*found, part)
        if not here.is_symlink():
            found.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise RegistryError(f"{name!r} leads through more than {_LINKS} symbolic links")
        aim = str(here.readlink())
        if aim.startswith("/"):
            found = []
        ahead += [step for step in reversed(aim.split("/")) if step not in ("", ".")]
    return "/".join(found)


def unpack(blob: Path, diff_id: str, folder: Path) -> Marks:
    """Unpack the layer in the file ``blob`` into the empty folder ``folder``.

    Args:
        blob: the layer as stored: a tar, plain or compressed by gzip or zstd (told by its first bytes).
        diff_id: ``sha256:...`` of the uncompressed tar, to which the bytes are held.
        folder: where to.

    Raises:
        DigestMismatch: the bytes are not those of ``diff_id``.
        NotFound: there is no such file, or it may not be read.
        RegistryError: not a tar, cut off, or with names that no layer may have.
    """
    opened, fault = _opened(blob)
    with opened as plain:
        stream = _Hashed(plain)
        writer = _Writer(folder, diff_id)
        try:
            with tarfile.open(
                fileobj=cast(IO[bytes], stream), mode="r|", bufsize=_CHUNK, encoding="utf-8"
            ) as tar:
                for member in tar:
                    writer.add(tar, member)
            while stream.read(_CHUNK):
                continue
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, fault) as error:
            raise RegistryError(
                f"layer {diff_id} cannot be unpacked: {error}", "Pull or build the image again."
            ) from error
    if stream.digest != diff_id:
        raise DigestMismatch(
            f"the layer's tar has digest {stream.digest}; the image's configuration says {diff_id}",
            "Pull or build the image again.",
        )
    return writer.marks()


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class _Hashed:
    """What is read passes SHA-256."""

    def __init__(self, raw: _Readable) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


_Opened = tuple[AbstractContextManager[_Readable], type[Exception]]


def _opened(blob: Path) -> _Opened:
    """The plain tar in ``blob``, and what its decompressor raises on bytes that it cannot read."""
    try:
        with blob.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise NotFound(
            f"layer {blob} cannot be read: {error.strerror}", "Pull or build the image again."
        ) from None
    if magic.startswith(_GZIP):
        # Loaded by name: its stubs call the exception class a mere exception.
        return import_module("isal.igzip").open(blob, "rb"), import_module("isal.isal_zlib").error
    if magic == _ZSTD:
        return _zstd(blob)
    return blob.open("rb", buffering=0), tarfile.TarError


def _zstd(blob: Path) -> _Opened:
    for module in ("compression.zstd", "zstandard"):
        try:  # the first is in Python's own library since 3.14
            zstd = import_module(module)
        except ImportError:
            continue
        return zstd.open(blob, "rb"), zstd.ZstdError
    raise RegistryError(
        f"layer {blob.name} is compressed by zstd, which this Python cannot read", "pip install zstandard"
    )


class _Writer:
    """Writes the members of one layer, in their order, and keeps its marks."""

    def __init__(self, folder: Path, layer: str) -> None:
        self._folder = folder
        self._layer = layer
        self._hidden: dict[str, set[str]] = {}
        self._opaque: set[str] = set()
        self._implied: set[str] = {""}
        self._parents: dict[str, str] = {}

    def marks(self) -> Marks:
        hidden = {folder: tuple(sorted(names)) for folder, names in sorted(self._hidden.items())}
        return Marks(hidden, frozenset(self._opaque), frozenset(self._implied))

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._parts(member.name)
        if not parts:
            if member.isdir():
                self._implied.discard("")
                self._mode(self._folder, member)
            return
        parent, name = self._parent(parts[:-1]), parts[-1]
        if name.startswith(_WHITEOUT):
            self._whiteout(parent, name)
            return
        path = self._folder / parent / name
        if member.isdir():
            self._make_folder(path, member)
            return
        if not (member.isreg() or member.issym() or member.islnk()):
            return
        self._clear(path)
        if member.isreg():
            self._make_file(path, tar, member)
        elif member.issym():
            path.symlink_to(member.linkname)
        else:
            self._make_link(path, member)

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = PurePosixPath(name.lstrip("/")).parts
        if ".." in parts or "\0" in name:
            raise RegistryError(
                f"layer {self._layer} holds the name {name!r}, which may lead out of the root file system",
                "Do not use this image: such a name is not written by accident.",
            )
        return parts

    def _parent(self, parts: tuple[str, ...]) -> str:
        """The folder ``parts``, links resolved, made where it is missing; relative to the root."""
        written = "/".join(parts)
        known = self._parents.get(written)
        if known is not None:
            return known
        where = inside(self._folder, written)
        so_far = PurePosixPath()
        for part in PurePosixPath(where).parts:
            so_far /= part
            path = self._folder / so_far
            if not path.is_dir():
                self._refuse_file(path, written)
                path.mkdir(0o755)
                path.chmod(0o755)
                self._implied.add(str(so_far))
        self._parents[written] = where
        return where

    def _refuse_file(self, path: Path, written: str) -> None:
        if path.exists():
            raise RegistryError(
                f"layer {self._layer} has something in {written!r}, and a file of that name",
                "Pull or build the image again.",
            )

    def _whiteout(self, parent: str, name: str) -> None:
        if name == _OPAQUE:
            self._opaque.add(parent)
            return
        if name.startswith(_WHITEOUT * 2):  # AUFS' own housekeeping
            return
        hidden = name.removeprefix(_WHITEOUT)
        self._parts(hidden)
        if hidden not in ("", "."):
            self._hidden.setdefault(parent, set()).add(hidden)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _make_folder(self, path: Path, member: tarfile.TarInfo) -> None:
        if path.is_symlink() or not path.is_dir():
            self._clear(path)
            path.mkdir(0o700)
        self._implied.discard(self._relative(path))
        self._mode(path, member)

    def _make_file(self, path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as target:
            source = cast(IO[bytes], tar.extractfile(member))  # there for a regular file
            shutil.copyfileobj(source, target, _CHUNK)
            os.fchmod(handle, member.mode & 0o777 | 0o400)
            moment = max(0, int(member.mtime))
            os.utime(handle, (moment, moment))

    def _make_link(self, path: Path, member: tarfile.TarInfo) -> None:
        parts = self._parts(member.linkname)
        aim = self._folder / inside(self._folder, "/".join(parts[:-1])) / (parts[-1] if parts else "")
        if not stat.S_ISREG(self._kind(aim)) and not stat.S_ISLNK(self._kind(aim)):
            raise RegistryError(
                f"layer {self._layer} holds {member.name!r} as a hard link to {member.linkname!r}, "
                "which is no file of that layer",
                "Pull or build the image again.",
            )
        os.link(aim, path, follow_symlinks=False)

    @staticmethod
    def _kind(path: Path) -> int:
        try:
            return path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def _clear(self, path: Path) -> None:
        """Take away what an earlier member of the same layer put here: the last one counts."""
        kind = self._kind(path)
        if not kind:
            return
        if stat.S_ISDIR(kind):
            shutil.rmtree(path)
            self._forget(self._relative(path))
        else:
            path.unlink()
        self._parents.clear()

    def _forget(self, folder: str) -> None:
        below = folder + "/"
        gone = {name for name in self._implied if name == folder or name.startswith(below)}
        self._implied -= gone
        self._opaque = {name for name in self._opaque if name != folder and not name.startswith(below)}
        for name in [n for n in self._hidden if n == folder or n.startswith(below)]:
            del self._hidden[name]

    @staticmethod
    def _mode(path: Path, member: tarfile.TarInfo) -> None:
        # The owner's rwx stays: the cache's owner must be able to link and to remove what is inside.
        path.chmod(member.mode & 0o1777 | 0o700)
