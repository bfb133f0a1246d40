"""A base's own Python, borrowed: taken out of its layers so that it runs on the machine that builds.

Bytecode is the same only where the same Python made it, and that of the base is the one that every builder
has. Taken out are its program, its standard library, the C library's loader and the shared libraries in the
folders where that looks; nothing is mounted, and no privilege is needed: the loader is told where the
libraries are (ld.so(8), ``--library-path``).

Whether it can be borrowed depends on the base alone. What depends on the machine is an error: that one
builder leaves something out silently is what may not be.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from serinus.errors import BaseError, BuildError
from serinus.files import alone, write_atomically
from serinus.image import Base
from serinus.image.bytecode import cached
from serinus.image.layers import LARGE
from serinus.image.scan import hide, open_layer, path_of, whiteout
from serinus.registry.layout import Layout

_FORM = 1
"""Counts up when something else is taken out."""
_LOADERS = {"amd64": "lib64/ld-linux-x86-64.so.2", "arm64": "lib/ld-linux-aarch64.so.1"}
_SHARED = re.compile(r"((?:usr/)?(?:local/)?lib(?:64)?(?:/[a-z0-9_]+-linux-gnu)?)/[^/]+\.so(?:\.[^/]*)?")
_NOT_TAKEN = frozenset(
    ("site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "lib2to3", "turtledemo",
     "ensurepip", "pydoc_data")
)  # fmt: skip
"""Folders of the library that no service imports, or that are not the library's."""
_LINKS = 40
_NOTE = "borrowed.json"

Opener = Callable[[], BinaryIO]
"""Opens the tar of a layer, not compressed."""


@dataclass(frozen=True, slots=True)
class Member:
    """What stands at a path of an image."""

    layer: int
    name: str
    """Of the entry that holds its content, as the tar says it."""
    size: int = 0
    link: str | None = None
    """Where it points, of a symbolic link."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of a Python are. Paths have no leading slash."""

    loader: str
    program: str
    home: str
    """``PYTHONHOME``: ``usr``."""
    library: str
    """The folder of the standard library."""
    folders: tuple[str, ...]
    """Where shared libraries are."""
    modules: tuple[str, ...]
    """The standard library's modules that the image has no bytecode of."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A base's Python on this machine."""

    root: Path
    at: Places
    """Below ``root``."""

    @property
    def command(self) -> tuple[str, ...]:
        """How it is started: without the user's packages, and without ``site``; it writes no bytecode."""
        folders = ":".join(str(self.root / folder) for folder in self.at.folders)
        loader = (str(self.root / self.at.loader), "--inhibit-cache", "--library-path", folders)
        return (*loader, str(self.root / self.at.program), "-s", "-S", "-B", "-W", "ignore")

    @property
    def environment(self) -> dict[str, str]:
        """Its whole environment. Sets of strings in bytecode had no order of their own before Python 3.11."""
        return {"PYTHONHOME": str(self.root / self.at.home), "PYTHONHASHSEED": "0"}

    def run(self, program: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end.

        Args:
            program: its text.
            given: its standard input.

        Raises:
            BuildError: this machine does not let Python start, or a signal ended it.
        """
        try:
            done = subprocess.run(
                [*self.command, "-c", program],
                env=self.environment,
                cwd=self.root,
                input=given,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise BuildError(
                f"the base's Python cannot be started below {self.root}: {error.strerror or error}",
                "Set SERINUS_CACHE to a folder whose file system lets programs run (not mounted noexec).",
            ) from None
        if done.returncode < 0:
            raise BuildError(
                f"the base's Python was ended by signal {-done.returncode} on this machine",
                "Build on a machine with more memory, and a processor that the base is made for.",
            )
        return done


def borrow(base: Base, layout: Layout, cache: Path) -> Borrowed | None:
    """The Python of a base, taken out of its layers once; None where it does not run outside of the base.

    Args:
        base: the base, for the platform of this machine.
        layout: where its layers are.
        cache: the user's cache folder.

    Raises:
        BaseError: a layer is not a tar.
        BuildError: this machine does not let it run.
    """
    place = cache / "pythons" / f"{base.digest.partition(':')[2]}-{_FORM}"
    note = _read(place)
    if note is None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone(place.parent):
            note = _read(place) or _take_out(base, layout, place)
    if note["at"] is None:
        return None
    said: dict[str, Any] = {n: tuple(one) if isinstance(one, list) else one for n, one in note["at"].items()}
    return Borrowed(place, Places(**said))


def _read(place: Path) -> dict[str, Any] | None:
    try:
        note: dict[str, Any] = json.loads((place / _NOTE).read_bytes())
    except (OSError, ValueError):
        return None
    return note


def _take_out(base: Base, layout: Layout, place: Path) -> dict[str, Any]:
    openers = [partial(open_layer, layout.path(layer.descriptor.digest)) for layer in base.layers]
    held = listing(openers)
    at = choose(held, base.interpreter, base.platform.architecture)
    shutil.rmtree(place, ignore_errors=True)  # what a killed build left
    if at is not None:
        extract(openers, wanted(held, at), place)
        at = at if _runs(Borrowed(place, at), base.python) else None
    note = {"at": asdict(at) if at else None}
    write_atomically(place / _NOTE, json.dumps(note).encode())  # last: with it, the folder is whole
    return note


def _runs(python: Borrowed, version: str) -> bool:
    """Whether it says its version: a Python that cannot find its parts does not come so far."""
    done = python.run("import sys, importlib.util, marshal; print(*sys.version_info[:2], sep='.')")
    return done.returncode == 0 and done.stdout.decode(errors="replace").strip() == version


def listing(layers: Sequence[Opener]) -> dict[str, Member]:
    """The files and links of an image by path without its leading slash, lowest layer first.

    Whiteouts are followed (image-spec 1.1, "Image Layer Filesystem Changeset").

    Raises:
        BaseError: a layer is not a tar.
    """
    held: dict[str, Member] = {}
    for number, opener in enumerate(layers):
        own: dict[str, Member] = {}
        for _, member in _opened(opener):
            path = path_of(member.name)
            if (gone := whiteout(path)) is not None:
                hide(held, gone)
            elif member.isreg():
                own[path] = Member(number, path, member.size)
            elif member.islnk() and path_of(member.linkname) in own:
                own[path] = own[path_of(member.linkname)]
            elif member.issym():
                own[path] = Member(number, path, link=member.linkname)
        held |= own
    return held


def _opened(opener: Opener) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    try:
        with opener() as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                yield tar, member
    except (tarfile.TarError, EOFError) as error:
        raise BaseError(
            f"a layer of the base image is not a tar: {error}", "Push or build the base again."
        ) from None


def real(path: str, held: Mapping[str, Member]) -> str:
    """A path without symbolic links, followed inside the image, as many as Linux follows. Pure."""
    found: list[str] = []
    ahead = path.split("/")[::-1]
    links = 0
    while ahead:
        part = ahead.pop()
        if part in ("", ".", ".."):
            found = found[:-1] if part == ".." else found
            continue
        member = held.get("/".join((*found, part)))
        if member is None or member.link is None or links == _LINKS:
            found.append(part)
            continue
        links += 1
        found = [] if member.link.startswith("/") else found
        ahead += member.link.split("/")[::-1]
    return "/".join(found)


def choose(held: Mapping[str, Member], interpreter: str, architecture: str) -> Places | None:
    """Where the parts of an image's Python are; None where they are not where they usually are. Pure.

    Args:
        held: of :func:`listing`.
        interpreter: absolute path of the program, which is named ``python3.N``.
        architecture: of the image.
    """
    program, loader = real(interpreter, held), real(_LOADERS.get(architecture, ""), held)
    home = posixpath.dirname(posixpath.dirname(program))
    version = posixpath.basename(interpreter)
    libraries = [posixpath.join(home, lib, version) for lib in ("lib", "lib64")]
    there = [place for place in libraries if f"{place}/os.py" in held]
    if not there or program not in held or loader not in held:
        return None
    folders = {match[1] for path in held if (match := _SHARED.fullmatch(path))}
    compiled = {path for path in held if path.endswith(".pyc")}
    modules = (
        path
        for path in held
        if path.endswith(".py")
        and path.startswith(f"{there[0]}/")
        and not _NOT_TAKEN & set(path.split("/"))
        and cached(path, version.removeprefix("python")) not in compiled
    )
    ordered = (*sorted(folders), posixpath.join(home, "lib"))
    return Places(loader, program, home, there[0], ordered, tuple(sorted(modules, key=os.fsencode)))


def wanted(held: Mapping[str, Member], at: Places) -> dict[str, Member]:
    """The files that a Python needs to run and compile, by where they go; links as what they point at. Pure.

    A shared library of :data:`~serinus.image.layers.LARGE` bytes and more is none that a Python needs.
    """
    found = {}
    for path in held:
        folder, _, name = path.rpartition("/")
        shared = folder in at.folders and ".so" in name
        standard = path.startswith(f"{at.library}/") and not _NOT_TAKEN & set(path.split("/"))
        if path in (at.loader, at.program) or shared or standard:
            member = held.get(real(path, held))
            if member is not None and member.link is None and member.size < LARGE:
                found[path] = member
    return found


def extract(layers: Sequence[Opener], files: Mapping[str, Member], root: Path) -> None:
    """Write files of an image into a folder, each at its path; all may be run.

    Raises:
        BaseError: a layer is not a tar.
    """
    places: dict[tuple[int, str], list[str]] = {}
    for path, member in files.items():
        places.setdefault((member.layer, member.name), []).append(path)
    for number, opener in enumerate(layers):
        for tar, entry in _opened(opener):
            paths = places.get((number, path_of(entry.name)), [])
            source = tar.extractfile(entry) if paths and entry.isreg() else None
            if source is None:
                continue
            data = source.read()
            for path in paths:
                target = root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                target.chmod(0o755)
