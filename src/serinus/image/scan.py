"""What a base image holds: its Python, its C library, its Debian packages; read from the layers' tars.

The layers are read once, as streams, and nothing is unpacked. Layers apply in their order, with whiteouts
(image-spec 1.1, "Image Layer Filesystem Changeset").
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

from serinus.errors import BaseError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for in an image that does not say."""

_PYTHON = re.compile(r"python(3\.\d+)")
_MUSL = re.compile(r"(?:usr/)?lib/ld-musl-[^/]*\.so\.1")
_GLIBC = re.compile(r"(?:usr/)?lib(?:64)?/(?:[^/]+/)?ld-linux[^/]*\.so\.\d+")
_LIBC = re.compile(f"{_MUSL.pattern}|{_GLIBC.pattern}")
_STATUS = re.compile(r"var/lib/dpkg/status(?:\.d/[^/]+)?")
_FIELD = re.compile(r"^(Package|Version|Architecture|Status): *(.*)$", re.MULTILINE)
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a base image holds."""

    pythons: frozenset[str] = frozenset()
    """Absolute paths of programs named ``python3.N``."""
    musl: bool = False
    glibc: bool = False
    packages: tuple[tuple[str, str, str], ...] = ()
    """Debian packages as (name, version, architecture), sorted."""


@dataclass(slots=True)
class _Seen:
    """The paths of interest so far; of status files, what they say."""

    paths: dict[str, bytes] = field(default_factory=dict)


def path_of(name: str) -> str:
    """Where an entry of a layer goes, without a leading slash."""
    return posixpath.normpath("/" + name).strip("/")


def whiteout(path: str) -> str | None:
    """What an entry takes away from lower layers; None when it brings something.

    After the image-spec 1.1, "Image Layer Filesystem Changeset".
    """
    folder, _, name = path.rpartition("/")
    if name == ".wh..wh..opq":
        return folder
    return posixpath.join(folder, name[4:]) if name.startswith(".wh.") else None


def hide(held: dict[str, Any], path: str) -> None:
    """Take a path and all below it away."""
    for hidden in [p for p in held if p == path or p.startswith(f"{path}/")]:
        del held[hidden]


def scan(layers: Iterable[Callable[[], BinaryIO]], path: str = PATH) -> Holdings:
    """Look through layers, lowest first.

    Args:
        layers: each opens the tar of one layer, not compressed.
        path: the image's ``PATH``: where a Python is looked for.

    Raises:
        BaseError: a layer is not a tar.
    """
    seen = _Seen()
    folders = {folder.strip("/") for folder in path.split(":") if folder}
    for opener in layers:
        with opener() as stream:
            try:
                _take(seen, stream, folders)
            except (tarfile.TarError, EOFError, OSError) as error:
                raise BaseError(
                    f"a layer of the base image is not a tar: {error}", "Push or build the base again."
                ) from None
    return holdings(seen.paths)


def _take(seen: _Seen, stream: BinaryIO, folders: set[str]) -> None:
    shown: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            path = path_of(member.name)
            folder, _, name = path.rpartition("/")
            if (gone := whiteout(path)) is not None:
                hide(seen.paths, gone)
            elif _STATUS.fullmatch(path) and member.isreg():
                shown[path] = cast(BinaryIO, tar.extractfile(member)).read()
            elif _LIBC.fullmatch(path) or (folder in folders and _PYTHON.fullmatch(name)):
                shown[path] = b""
    # A whiteout hides what lower layers hold, not what its own layer brings, wherever it stands in the tar.
    seen.paths |= shown


def holdings(paths: dict[str, bytes]) -> Holdings:
    """What the paths of interest tell. Pure.

    Args:
        paths: without leading slashes; of Debian's status files with their content.
    """
    packages: set[tuple[str, str, str]] = set()
    for path, text in paths.items():
        if _STATUS.fullmatch(path):
            packages.update(parse_status(text.decode("utf-8", "replace")))
    return Holdings(
        frozenset(f"/{p}" for p in paths if _PYTHON.fullmatch(posixpath.basename(p))),
        any(_MUSL.fullmatch(p) for p in paths),
        any(_GLIBC.fullmatch(p) for p in paths),
        tuple(sorted(packages)),
    )


def parse_status(text: str) -> Iterable[tuple[str, str, str]]:
    """Installed packages in Debian's status file, or in one of ``status.d`` (deb822 stanzas)."""
    for stanza in re.split(r"\n\s*\n", text):
        found = dict(_FIELD.findall(stanza))
        # The files of status.d have no Status field: what stands there is installed.
        if {"Package", "Version"} <= found.keys() and found.get("Status", "installed").endswith("installed"):
            yield found["Package"], found["Version"].strip(), found.get("Architecture", "all").strip()


def python_of(held: Holdings, path: str = PATH, version: str | None = None) -> tuple[str, str] | None:
    """The Python that an image means, as (minor version, absolute path): the first in its ``PATH``.

    Args:
        held: what the image holds.
        path: its ``PATH``.
        version: its ``PYTHON_VERSION``, which decides where there are several.
    """
    wanted = ".".join(version.split(".")[:2]) if version else None
    found = []
    for place, folder in enumerate(path.split(":")):
        for program in held.pythons:
            match = _PYTHON.fullmatch(posixpath.basename(program))
            if match and posixpath.dirname(program) == folder.rstrip("/"):
                newest = -int(match[1].partition(".")[2])
                found.append((match[1] != wanted, place, newest, match[1], program))
    return min(found)[3:] if found else None


def open_layer(blob: Path) -> BinaryIO:
    """A stored layer as its tar: plain, or compressed by gzip or zstd, told by its first bytes.

    Raises:
        BaseError: it is compressed by zstd, and this Python has nothing to read it with.
    """
    with blob.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(_GZIP):
        from isal import igzip

        return cast(BinaryIO, io.BufferedReader(cast(Any, igzip.GzipFile)(blob, "rb"), 1 << 20))
    if magic == _ZSTD:
        return _open_zstd(blob)
    return blob.open("rb")


def _open_zstd(blob: Path) -> BinaryIO:
    for module in ("compression.zstd", "zstandard"):
        try:
            zstd = import_module(module)
        except ImportError:
            continue
        return cast(BinaryIO, zstd.open(blob, "rb"))
    raise BaseError(
        f"layer {blob.name} of the base is compressed by zstd, which this Python cannot read",
        "pip install zstandard",
    )
