"""Outputs of steps, kept by the digest of their content, and put back where they were removed.

Every file is kept once, as a copy that shares its blocks where the file system can do that (``FICLONE``, as
Btrfs and XFS do). It is never a hard link: who changes an output in place must not change what is kept.

What a step is about to replace and what is not kept here was made by somebody else: it is set aside, not
removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.files import temporary
from serinus.pipeline.contents import Entry, Index, Missing, entries

_FICLONE = 0x40049409
"""``_IOW(0x94, 9, int)`` of linux/fs.h."""

Outputs = Mapping[str, Sequence[Entry]]
"""Output -> all that it holds."""


class Damaged(Exception):
    """Something that should be kept is not there, or is not what it was."""


@dataclass(frozen=True, slots=True)
class Store:
    """The kept outputs of one project.

    Args:
        root: the project's folder.
        folder: where they are kept; on the same file system, so that files can be moved out of it.
    """

    root: Path
    folder: Path

    def object(self, digest: str) -> Path:
        """Where a content is kept."""
        return self.folder / "objects" / digest[:2] / digest[2:]

    def place(self, output: str) -> Path:
        """Where an output belongs.

        Raises:
            Missing: a link on the way leads out of the project.
        """
        path = self.root / output
        if not path.parent.resolve().is_relative_to(self.root):
            raise Missing(f"{output} lies outside the project: {path.parent.resolve()}")
        return path

    def save(self, outputs: Iterable[str], index: Index) -> Outputs:
        """Keep what a step has made.

        Raises:
            Missing: it has not made one of them.
            OSError: there is no room, or one cannot be read.
        """
        index.tick()
        kept: dict[str, Sequence[Entry]] = {}
        for output in outputs:
            place = self.place(output)
            try:
                kept[output] = entries(place, index)
            except Missing as missing:
                raise Missing(f"the output {output} {missing}") from None
            for entry in kept[output]:
                if entry.kind == "file":
                    self._keep(place / entry.path if entry.path else place, entry.value)
        return kept

    def _keep(self, file: Path, digest: str) -> None:
        kept = self.object(digest)
        if kept.exists():
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = temporary(kept.parent)
        try:
            _copy(file, beside, durable=True)
            beside.chmod(0o444)
            beside.replace(kept)
        finally:
            beside.unlink(missing_ok=True)

    def stands(self, output: str, wanted: Sequence[Entry], index: Index) -> bool:
        """Whether an output is at its place and is what is wanted."""
        try:
            return _plain(entries(self.place(output), index)) == _plain(wanted)
        except (Missing, OSError):
            return False

    def has(self, outputs: Outputs) -> bool:
        """Whether all of it is kept."""
        return all(
            entry.kind != "file" or self.object(entry.value).exists()
            for held in outputs.values()
            for entry in held
        )

    def restore(self, output: str, wanted: Sequence[Entry], index: Index) -> None:
        """Put an output back to its place, which is empty.

        Raises:
            Damaged: what was kept is not what it was.
            OSError: there is no room.
        """
        place = self.place(output)
        place.parent.mkdir(parents=True, exist_ok=True)
        making = self.folder / "making"
        making.mkdir(parents=True, exist_ok=True)
        beside = temporary(making)
        try:
            if [entry.path for entry in wanted] == [""]:
                self._put(wanted[0], beside, index)
            else:
                beside.mkdir()
                for entry in wanted:
                    self._put(entry, beside / entry.path, index)
            _move(beside, place)
        finally:
            remove(beside)

    def _put(self, entry: Entry, path: Path, index: Index) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "link":
            path.symlink_to(entry.value)
        elif entry.kind == "folder":
            path.mkdir(entry.mode or 0o755, exist_ok=True)
        else:
            kept = self.object(entry.value)
            try:
                if index.digest(kept, kept.stat()) != entry.value:
                    kept.unlink()
                    raise Damaged(f"the kept content {entry.value} is damaged")
                _copy(kept, path)
            except FileNotFoundError:
                raise Damaged(f"the kept content {entry.value} is gone") from None
            path.chmod(entry.mode or 0o644)

    def clear(self, output: str, index: Index, aside: Path) -> bool:
        """Make the place of an output empty: what is kept is removed, anything else is set aside.

        Args:
            output: the output.
            index: knows digests.
            aside: where to.

        Returns:
            Whether something was set aside.
        """
        place = self.place(output)
        if not os.path.lexists(place):
            return False
        if self._is_kept(place, index):
            remove(place)
            return False
        target = aside / output
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(target)
        _move(place, target)
        return True

    def _is_kept(self, place: Path, index: Index) -> bool:
        """Whether all that stands at a place is kept."""
        try:
            found = place.lstat()
            if stat.S_ISDIR(found.st_mode):
                return all(self._is_kept(inner, index) for inner in place.iterdir())
            return not stat.S_ISREG(found.st_mode) or self.object(index.digest(place, found)).exists()
        except OSError:
            return False

    def prune(self, used: Iterable[str]) -> None:
        """Remove the contents that nothing refers to any more."""
        wanted = set(used)
        for folder in _folders(self.folder / "objects"):
            for file in folder.iterdir():
                if folder.name + file.name not in wanted:
                    file.unlink(missing_ok=True)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _plain(held: Sequence[Entry]) -> list[tuple[str, str, str, int]]:
    """What of entries must be the same: where a link leads to is not part of an output."""
    return [(entry.path, entry.kind, entry.value, entry.mode) for entry in held]


def size_of(outputs: Outputs) -> int:
    """Bytes of all files."""
    return sum(entry.size for held in outputs.values() for entry in held)


def document(outputs: Outputs) -> dict[str, Any]:
    """Outputs as plain values."""
    return {
        output: [[e.path, e.kind, e.value, e.mode, e.size] for e in held] for output, held in outputs.items()
    }


def from_document(document: Mapping[str, Any]) -> Outputs:
    """The reverse of :func:`document`."""
    return {output: [Entry(*values) for values in held] for output, held in document.items()}


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_writable)
    else:
        path.unlink(missing_ok=True)


def _writable(function: Any, path: str, info: Any) -> None:
    """A folder that was made read-only is emptied all the same."""
    if isinstance(info[1], FileNotFoundError):
        return
    with suppress(OSError):
        Path(path).parent.chmod(0o700)
    with suppress(OSError):
        Path(path).chmod(0o700)
    if function is os.unlink:
        Path(path).unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:  # another file system
        shutil.move(source, target)


def _copy(source: Path, target: Path, *, durable: bool = False) -> None:
    """A copy of a file's content under a new name, sharing blocks where that can be had."""
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        if durable:
            os.fsync(new.fileno())
