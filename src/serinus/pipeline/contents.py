"""What stands in files: the inputs of a step, and the digests of their contents.

A file whose ``stat`` is the same as when it was read is not read again, by the rule of git's index: what was
changed in the same tick of the clock in which it was looked at is not remembered.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from serinus.image.cache import settled, start_clock

PASSED_OVER = frozenset(
    {".serinus", ".git", "__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
)
"""Names that are passed over in folders and by patterns: what tools leave there is nobody's input."""
_WILD = frozenset("*?[")
_LARGE = 1 << 20
"""Bytes of a file that is worth waiting for, to be remembered."""
_TICK = 0.011
"""Seconds after which the coarsest clock of Linux, 100 Hz, has moved on."""

State = tuple[int, int, int, int, int]
"""Device, inode, size, time of the content, time of the inode."""


class Missing(Exception):
    """An input or an output is not there, or is nothing that can be kept; says which."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a folder, or a file by itself."""

    path: str
    """Relative to what was looked at; empty for a file by itself."""
    kind: str
    """``file``, ``link`` or ``folder``."""
    value: str = ""
    """Digest of the content of a file, target of a link."""
    mode: int = 0
    size: int = 0
    beyond: str = ""
    """Of a link that leads to a file: the digest of that file's content."""


class Index:
    """File -> state and digest; safe to be used by several threads.

    Args:
        known: what was remembered.
        folder: where the file system's clock is asked.
    """

    def __init__(self, known: Mapping[str, tuple[State, str]], folder: Path) -> None:
        self._known = dict(known)
        self._folder = folder
        self._clock = start_clock(folder)
        self.fresh: dict[str, tuple[State, str]] = {}
        """What was learnt and is not yet remembered."""

    def tick(self) -> None:
        """Ask what time it is: what was written before is settled from now on."""
        self._clock = start_clock(self._folder)

    def digest(self, path: Path, found: os.stat_result) -> str:
        """The digest of a file.

        Raises:
            OSError: it cannot be read.
        """
        entry = self._known.get(str(path))
        if entry and entry[0] == _state(found):
            return entry[1]
        if found.st_size > _LARGE and not settled(found, self._clock):
            time.sleep(_TICK)  # so that it need not be read a second time
            self.tick()
        clock = self._clock
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if settled(found, clock):
            self._known[str(path)] = self.fresh[str(path)] = (_state(found), digest)
        return digest


def _state(found: os.stat_result) -> State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def entries(path: Path, index: Index, without: Collection[str] = (), at: str = "") -> list[Entry]:
    """All that a file or a folder holds, in the order of the paths.

    Args:
        path: the file or the folder; a link to one is followed, links inside a folder are not.
        index: knows digests.
        without: paths that are left out, as ``at`` names them.
        at: how ``path`` is named in ``without``.

    Raises:
        Missing: it is not there, or there is something in it that is neither file, folder nor link.
        OSError: something in it cannot be read.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise Missing("is not there") from None
    if stat.S_ISREG(found.st_mode):
        return [Entry("", "file", index.digest(path, found), found.st_mode & 0o777, found.st_size)]
    if not stat.S_ISDIR(found.st_mode):
        raise Missing("is neither a file nor a folder")
    return list(_inside(path, "", index, without, at))


def _inside(folder: Path, below: str, index: Index, without: Collection[str], at: str) -> Iterator[Entry]:
    with os.scandir(folder) as listing:
        items = sorted(listing, key=lambda item: item.name)
    if not items and below:
        yield Entry(below.rstrip("/"), "folder", mode=folder.stat().st_mode & 0o777)
    for item in items:
        path = below + item.name
        if item.name in PASSED_OVER or (without and (f"{at}/{path}" if at else path) in without):
            continue
        if item.is_symlink():
            yield Entry(path, "link", str(Path(item.path).readlink()), beyond=_beyond(Path(item.path), index))
        elif item.is_dir():
            yield from _inside(Path(item.path), f"{path}/", index, without, at)
        elif item.is_file():
            found = item.stat()
            digest = index.digest(Path(item.path), found)
            yield Entry(path, "file", digest, found.st_mode & 0o777, found.st_size)
        else:
            raise Missing(f"holds {path}, which is neither a file, a folder nor a link")


def _beyond(link: Path, index: Index) -> str:
    try:
        found = link.stat()
        return index.digest(link.resolve(), found) if stat.S_ISREG(found.st_mode) else ""
    except OSError:
        return ""  # it leads nowhere


def digest_of(found: Sequence[Entry]) -> str:
    """One digest over entries: their paths, kinds, contents, and whether a file can be executed."""
    if len(found) == 1 and not found[0].path and not found[0].mode & 0o100:
        return found[0].value
    whole = hashlib.sha256()
    for entry in found:
        executable = "x" if entry.kind == "file" and entry.mode & 0o100 else "-"
        for part in (entry.path, entry.kind, executable, entry.value, entry.beyond):
            whole.update(os.fsencode(part) + b"\0")
    return whole.hexdigest()


def inputs(root: Path, patterns: Sequence[str], index: Index, without: Collection[str]) -> dict[str, str]:
    """The inputs of a step: path -> digest.

    Args:
        root: the project's folder.
        patterns: paths, relative to it; ``*``, ``?``, ``[...]`` within one name, ``**`` across folders.
        index: knows digests.
        without: outputs of steps that are not needed, which no pattern and no folder brings in.

    Raises:
        Missing: a path that is not there, or a pattern that matches nothing.
        OSError: one cannot be read.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        paths = [pattern]
        if _WILD & set(pattern):
            paths = sorted(set(_matching(root, "", pattern.split("/"), without)))
            if not paths:
                raise Missing(f"nothing matches the input {pattern}")
        for path in paths:
            try:
                at = "" if path == "." else path
                found[path] = digest_of(entries(root / path, index, without, at))
            except Missing as missing:
                raise Missing(f"the input {path} {missing}") from None
    return found


def _matching(root: Path, below: str, parts: Sequence[str], without: Collection[str]) -> Iterator[str]:
    """The paths that match what is left of a pattern, below a folder."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _matching(root, below, rest or ["*"], without)
        for name, folder in _listed(root / below):
            if folder and name not in PASSED_OVER and below + name not in without:
                yield from _matching(root, f"{below}{name}/", parts, without)
        return
    if not _WILD & set(part):
        names = [part] if (root / below / part).exists() else []
    else:
        names = [n for n, _ in _listed(root / below) if n not in PASSED_OVER and fnmatchcase(n, part)]
    for name in names:
        path = below + name
        if path in without:
            continue
        if not rest:
            yield path
        elif (root / path).is_dir():
            yield from _matching(root, f"{path}/", rest, without)


def _listed(folder: Path) -> list[tuple[str, bool]]:
    with os.scandir(folder) as listing:
        return sorted((item.name, item.is_dir(follow_symlinks=False)) for item in listing)
