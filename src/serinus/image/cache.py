"""What a build remembers, so that the next one reads nothing that it need not.

Two indexes in the project's ``.serinus/cache``, and a store of layers in the user's cache folder:

- :class:`Contents`: what ``stat`` said of a file -> the digest of its content, like git's index;
- :class:`Layers`: what is in a layer -> the blob that was packed from it;
- :class:`Store`: layers that a key stands for, like that of installed dependencies, for all projects.

They are only ever an acceleration: a file that is missing, damaged or of another version is the same as an
empty one, and no digest depends on what was remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.files import write_atomically
from serinus.image import Layer, layers, secrets
from serinus.image.layers import Item
from serinus.registry import Descriptor
from serinus.registry.layout import Layout

MARGIN = 2_000_000_000
"""Nanoseconds by which a file on another file system must be older than now: the coarsest clock, FAT's."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it was when a build began, before it looked at any file."""

    device: int
    """File system whose own clock was asked."""
    there: int
    """Nanoseconds on that file system's clock, in its granularity."""
    here: int
    """Nanoseconds on the clock of this machine."""


def settled(state: os.stat_result, clock: Clock) -> bool:
    """Whether any later change of a file is sure to show in its ``stat``.

    The rule of git's index for "racily clean" files: a file last changed in the same tick of the file
    system's clock in which a build looked at it may change again without a new time. Its content is then
    not remembered.
    """
    changed = max(state.st_mtime_ns, state.st_ctime_ns)
    return changed < (clock.there if state.st_dev == clock.device else clock.here - MARGIN)


def start_clock(folder: Path) -> Clock:
    """Ask a folder's file system what time it is, by touching a file there.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "clock"
    file.touch()
    state = file.stat()
    return Clock(state.st_dev, state.st_mtime_ns, time.time_ns())


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file's content."""

    digest: str
    """Hexadecimal SHA-256."""
    clean: bool
    """Whether it was looked through for secrets, and none was found."""


class Contents:
    """The stat index: path -> state and content. Loaded when made, written by :meth:`save`."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._old = _load(file)
        self._new: dict[str, list[Any]] = {}

    def find(self, path: str, state: os.stat_result) -> Known | None:
        """What is known of the file at this path, if it is the one that was read."""
        entry = self._new.get(path) or self._old.get(path)
        match entry:
            case [list(then), str(digest), int(clean)] if then == _state(state) and len(digest) == 64:
                self._new[path] = entry
                return Known(digest, clean == secrets.VERSION)
        return None

    def put(self, path: str, state: os.stat_result, known: Known) -> None:
        """Remember what a file held when this was its state, if a change would show."""
        if settled(state, self._clock):
            self._new[path] = [_state(state), known.digest, secrets.VERSION if known.clean else 0]

    def save(self) -> None:
        """Write what was found or put since it was loaded; the rest is forgotten.

        Raises:
            OSError: it cannot be written.
        """
        if self._new != self._old:
            _save(self._file, self._new)


class Layers:
    """The layer index of one project: key -> the blob in its layout."""

    def __init__(self, file: Path, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._old = _load(file)
        self._new: dict[str, Any] = {}

    def find(self, key: str, name: str) -> Layer | None:
        """The layer that was packed from what the key says, if its blob is in the layout."""
        layer = _layer(self._new.get(key) or self._old.get(key), name)
        if layer is None or not self._layout.has(layer.descriptor):
            return None
        keep(self._layout, layer.descriptor.digest)
        self.put(key, layer)
        return layer

    def put(self, key: str, layer: Layer) -> None:
        """Remember a layer that lies in the layout."""
        self._new[key] = _row(layer)

    def save(self) -> None:
        """Write what was found or put, and what else is still in the layout.

        Raises:
            OSError: it cannot be written.
        """
        still = {
            key: row
            for key, row in self._old.items()
            if (layer := _layer(row, "")) is not None and self._layout.has(layer.descriptor)
        }
        if still | self._new != self._old:
            _save(self._file, still | self._new)


class Store:
    """Layers by key in the user's cache folder, shared by all projects and all builders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fetch(self, key: str, name: str, layout: Layout) -> Layer | None:
        """The layer of a key, its blob brought into the layout; None where there is none."""
        layer = _layer(_load(self._folder / f"{key}.json").get("layer"), name)
        if layer is None:
            return None
        if not layout.has(layer.descriptor):
            blob = self._blob(layer.descriptor.digest)
            try:
                if blob.stat().st_size != layer.descriptor.size:
                    return None
                layout.adopt(blob, layer.descriptor.digest)
            except FileNotFoundError:
                return None
        keep(layout, layer.descriptor.digest)
        return layer

    def offer(self, key: str, layer: Layer, layout: Layout) -> None:
        """Keep a layer that lies in the layout.

        Raises:
            OSError: the cache folder cannot be written to.
        """
        blob = self._blob(layer.descriptor.digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        temporary = blob.with_name(f".{blob.name}.{os.urandom(6).hex()}")
        source = layout.path(layer.descriptor.digest)
        try:
            try:
                temporary.hardlink_to(source)
            except OSError:  # another file system, or one without hard links
                import shutil

                shutil.copyfile(source, temporary)
            temporary.replace(blob)
        finally:
            temporary.unlink(missing_ok=True)
        _save(self._folder / f"{key}.json", {"layer": _row(layer)})

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / digest.partition(":")[2]


def keep(layout: Layout, digest: str) -> None:
    """Make a blob that is used again as young as a new one: nobody collects it before its manifest."""
    with suppress(FileNotFoundError, PermissionError):
        os.utime(layout.path(digest))


def layer_key(items: Iterable[Item], contents: Mapping[str, str], compress: bool) -> str:
    """What a layer holds, as a digest: equal keys give equal layers.

    Args:
        items: of the layer, in any order.
        contents: path inside the image -> hexadecimal SHA-256, for the files among them.
        compress: whether the layer is compressed.
    """
    digest = hashlib.sha256(f"{layers.VERSION} {layers.compressor() if compress else 'plain'}\0".encode())
    for item in sorted(items, key=lambda item: os.fsencode(item.path)):
        what = f"link {item.link}" if item.link is not None else f"{item.executable:d} {contents[item.path]}"
        digest.update(os.fsencode(f"{item.path}\0{what}\0"))
    return digest.hexdigest()


def _state(state: os.stat_result) -> list[int]:
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev]


def _row(layer: Layer) -> list[Any]:
    return [layer.descriptor.media_type, layer.descriptor.digest, layer.descriptor.size, layer.diff_id]


def _layer(row: Any, name: str) -> Layer | None:
    match row:
        case [str(media_type), str(digest), int(size), str(diff_id)] if _is_digest(digest) and _is_digest(
            diff_id
        ):
            return Layer(name, Descriptor(media_type, digest, size), diff_id, cached=True)
    return None


def _is_digest(text: str) -> bool:
    algorithm, _, rest = text.partition(":")
    return algorithm == "sha256" and len(rest) == 64 and not set(rest) - set("0123456789abcdef")


def _load(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _save(file: Path, document: Mapping[str, Any]) -> None:
    write_atomically(file, json.dumps(document, separators=(",", ":")).encode())
