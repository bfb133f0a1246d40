"""Fetched models on this machine: all of a model or nothing of it, verified whenever it is used.

Below the user's cache folder: ``models/<place>/<identity>/``, both names digests, and in it ``content`` with
the files and ``entry.json``, which says what they are. A model is brought into a hidden folder beside, which
gets its name when it is whole. Whoever brings one holds the lock on its place: others wait and then find it,
and what a killed process left there belongs to nobody and goes. Nothing else is ever removed here. A file
``<address>.json`` says what an address meant that means the same for ever.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serinus.errors import ModelError
from serinus.files import TEMPORARY, alone, temporary, write_atomically
from serinus.models import Found
from serinus.models.digest import model_digest

_FILE = "entry.json"
_CONTENT = "content"
_FORM = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was when its content was hashed."""

    digest: str
    """Hexadecimal SHA-256."""
    size: int
    changed: int
    """Nanoseconds since the epoch."""
    inode: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A model in the cache."""

    folder: Path
    """That of the files."""
    found: Found
    """What its source said of it."""
    files: Mapping[str, Known] = field(hash=False)
    """By path below the folder."""

    @property
    def digest(self) -> str:
        """Over the content, paths relative to the model's own folder."""
        return digest_of({path: file.digest for path, file in self.files.items()})

    @property
    def path(self) -> Path:
        """The file where the model is a single one, else the folder."""
        return self.folder / next(iter(self.files)) if len(self.files) == 1 else self.folder


@dataclass(frozen=True, slots=True)
class Cached:
    """What was fetched from one place."""

    folder: Path

    @classmethod
    def of(cls, cache: Path, place: str) -> Cached:
        """That of a place, named by a text that no other place has."""
        return cls(cache / "models" / _short(place))

    def named(self, address: str) -> Kept | None:
        """The model that :meth:`name` noted for an address, if it is still as it was."""
        try:
            found = Found(**json.loads(self._note(address).read_bytes()))
            kept = self.get(found.identity)
        except (OSError, ValueError, TypeError, AttributeError):
            return None  # not noted, or damaged, which is the same
        return replace(kept, found=found) if kept else None

    def name(self, address: str, kept: Kept) -> None:
        """Note that an address means this model, now and always."""
        note = json.dumps(_plain(kept.found)).encode()
        with _explained(kept.found, self.folder):
            if not (file := self._note(address)).exists() or file.read_bytes() != note:
                write_atomically(file, note)

    def _note(self, address: str) -> Path:
        return self.folder / f"{_short(address)}.json"

    def get(self, identity: str) -> Kept | None:
        """The model of that identity, if it is here and still as it was when it came."""
        return _sound(self.folder / _short(identity))

    def put(self, found: Found, bring: Callable[[Path], None]) -> Kept:
        """The model of that identity: as :meth:`get` gives it, else brought now; once, whoever else wants it.

        Args:
            found: what the source says there is.
            bring: writes the files into an empty folder.

        Raises:
            ModelError: what came is not what the source said, or cannot be kept; and as ``bring``.
        """
        with _explained(found, self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with alone(self.folder):
                return self.get(found.identity) or self._bring(found, bring)

    def _bring(self, found: Found, bring: Callable[[Path], None]) -> Kept:
        for left in self.folder.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left, ignore_errors=True)
        place, beside = self.folder / _short(found.identity), temporary(self.folder)
        try:
            (beside / _CONTENT).mkdir(parents=True)
            bring(beside / _CONTENT)
            kept = Kept(beside / _CONTENT, found, _protected(beside / _CONTENT, found))
            if found.digest and kept.digest != found.digest:
                raise ModelError(
                    f"what came from {found.uri} is {kept.digest}, expected {found.digest}",
                    "Do not use it: fetch again, and if it stays so ask whoever put the model there.",
                )
            _write(beside / _FILE, kept)
            damaged = temporary(self.folder)
            if place.exists():
                place.rename(damaged)
            beside.rename(place)
            shutil.rmtree(damaged, ignore_errors=True)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return Kept(place / _CONTENT, found, kept.files)


@contextmanager
def _explained(found: Found, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"the model {found.uri} cannot be kept in {folder}: {error.strerror or error}",
            "Make room there, or name another place in SERINUS_CACHE.",
        ) from error


def digest_of(files: Mapping[str, str]) -> str:
    """The digest of the content of at least one file: path -> hexadecimal SHA-256."""
    return model_digest(files) or ""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:40]


def _protected(folder: Path, found: Found) -> dict[str, Known]:
    """Every file, hashed, and from now on not to be written to.

    Raises:
        ModelError: there is none, or something that is neither a file nor a folder.
    """
    known = {}
    for path, file in _walk(folder):
        if not stat.S_ISREG(file.lstat().st_mode):
            raise ModelError(
                f"the model {found.uri} holds {path!r}, a link or a device; expected files and folders",
                "Put the model there again with plain files.",
            )
        file.chmod(0o555 if file.stat().st_mode & 0o100 else 0o444)
        known[path] = _known(file)
    if not known:
        raise ModelError(f"the model {found.uri} has no files", "Put the model's files there.")
    return known


def _known(file: Path) -> Known:
    with file.open("rb") as stream:
        before = os.fstat(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Known(digest, before.st_size, before.st_mtime_ns, before.st_ino)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Path below the folder, and file, of all that is no folder."""
    for place, folders, files in os.walk(folder):
        for name in sorted(files) + sorted(n for n in folders if Path(place, n).is_symlink()):
            file = Path(place, name)
            yield file.relative_to(folder).as_posix(), file


def _sound(folder: Path) -> Kept | None:
    """The model in a folder of the cache, unless it is not there or not what it was."""
    kept = _read(folder)
    if kept is None:
        return None
    try:
        now = dict(_walk(kept.folder))
        if set(now) != set(kept.files):
            return None
        if all(_same(now[path], known) for path, known in kept.files.items()):
            return kept
        # Copied here, touched or damaged: the content decides.
        files = {path: _known(file) for path, file in now.items()}
    except OSError:
        return None
    if any(files[path].digest != known.digest for path, known in kept.files.items()):
        return None
    renewed = Kept(kept.folder, kept.found, files)
    _write(folder / _FILE, renewed)
    return renewed


def _same(file: Path, known: Known) -> bool:
    state = file.lstat()
    return (state.st_size, state.st_mtime_ns, state.st_ino) == (known.size, known.changed, known.inode)


def _write(file: Path, kept: Kept) -> None:
    files = {path: [k.digest, k.size, k.changed, k.inode] for path, k in kept.files.items()}
    write_atomically(file, json.dumps({"form": _FORM, "found": _plain(kept.found), "files": files}).encode())


def _plain(found: Found) -> dict[str, Any]:
    names = ("uri", "identity", "digest", "size")
    return {**{name: getattr(found, name) for name in names}, "facts": dict(found.facts)}


def _read(folder: Path) -> Kept | None:
    """What ``entry.json`` says; None where it is missing or not one that this version wrote."""
    try:
        document: Any = json.loads((folder / _FILE).read_bytes())
        if document["form"] != _FORM:
            return None
        files = {
            path: Known(str(d), int(s), int(c), int(i)) for path, (d, s, c, i) in document["files"].items()
        }
        return Kept(folder / _CONTENT, Found(**document["found"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
