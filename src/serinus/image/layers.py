"""Files become a layer: a reproducible tar, compressed or not, written once.

A layer depends on paths, contents, the owner's execute bit and link targets, and on nothing else: entries
sorted by the bytes of their paths, time 0, owner 0:0 without names, modes 0644 or 0755, folders 0755. The
form is ustar (POSIX.1-2017, pax, "ustar Interchange Format"), with a pax extended header only where ustar
cannot hold a path, a link target or a size.

Layers are compressed by ISA-L's gzip at level 1, fed in pieces of a fixed length so that the same tar gives
the same bytes. A file of :data:`LARGE` bytes and more is a layer of its own, not compressed: weights do not
shrink, and the digest of the layer is then its diff id, computed once.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from serinus.errors import BuildError

LARGE = 64 << 20
"""Bytes from which on a file is an uncompressed layer of its own."""
VERSION = 1
"""Of the packing: layers that another version packed are not taken for those of this one."""
CHUNK = 1 << 20
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_USTAR_SIZE = 8 << 30


class Sink(Protocol):
    """Where a layer is written to."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take all of the data, which may be changed once this returns."""
        ...


@dataclass(frozen=True, slots=True)
class Item:
    """One file or symbolic link of a layer."""

    path: str
    """Inside the image, without a leading slash; bytes that are not UTF-8 as surrogate escapes (PEP 383)."""
    size: int
    """Bytes of the content; 0 of a link."""
    source: Path | bytes | None
    """The file, or the content itself; None of a link."""
    executable: bool = False
    link: str | None = None
    """What a symbolic link says."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written into a sink."""

    diff_id: str | None
    """``sha256:`` of the tar before compression; None where it is not: the digest of the layer."""
    contents: dict[str, str]
    """Path inside the image -> hexadecimal SHA-256 of the content that was packed, for files."""


def split(items: Sequence[Item]) -> tuple[tuple[Item, ...], ...]:
    """Items by layer: the large files each on their own, in the order of their paths, then all the others."""
    large = sorted((item for item in items if item.size >= LARGE), key=_order)
    small = tuple(sorted((item for item in items if item.size < LARGE), key=_order))
    return (*((item,) for item in large), *((small,) if small else ()))


def pack(
    items: Sequence[Item], sink: Sink, *, compress: bool, progress: Callable[[int], None] = lambda done: None
) -> Packed:
    """Write the items as one tar, compressed by gzip or not.

    Every file is read once; hashing, compressing and writing share two threads.

    Args:
        items: in any order; no path twice.
        sink: where the bytes go.
        compress: whether to.
        progress: is told how many bytes of the tar are through.

    Raises:
        BuildError: a file cannot be read, or changed its size while it was read.
    """
    contents: dict[str, str] = {}
    ordered = sorted(items, key=_order)
    if not compress:
        _write(ordered, contents, sink.write, progress)
        return Packed(None, contents)
    digest = hashlib.sha256()
    compressor = _gzip()
    with Lane(lambda piece: sink.write(compressor.compress(piece))) as lane:

        def even(piece: bytes) -> None:
            lane.put(piece)
            digest.update(piece)

        with _Even(even) as buffer:
            _write(ordered, contents, buffer.add, progress)
    sink.write(compressor.flush())
    return Packed("sha256:" + digest.hexdigest(), contents)


def compressor() -> str:
    """Name and version of what compresses: another one may give other bytes for the same tar."""
    from isal import __version__

    return f"isal {__version__}"


def tar_size(items: Sequence[Item]) -> int:
    """Bytes of the tar that :func:`pack` writes, before compression."""
    heads = sum(len(_head(item)) for item in items) + sum(len(_folder(path)) for path in _folders(items))
    return heads + sum(item.size + -item.size % _BLOCK for item in items) + len(_END)


class Lane:
    """A thread that does the same with each piece, in order, at most four behind; we raise its error."""

    def __init__(self, work: Callable[[Any], object]) -> None:
        self._work = work
        self._pieces: queue.Queue[Any] = queue.Queue(4)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="serinus-lane", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, piece: Any) -> None:
        """Hand over one piece; waits while four are waiting.

        Raises:
            BaseException: what the work raised on an earlier piece.
        """
        if self._error is not None:
            raise self._error
        self._pieces.put(piece)

    def __exit__(self, kind: object, *rest: object) -> None:
        self._pieces.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        # After an error the rest is taken and dropped, so that nobody waits for room.
        while (piece := self._pieces.get()) is not None:
            if self._error is None:
                try:
                    self._work(piece)
                except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits for us
                    self._error = error


class _Even:
    """Pieces of any length become pieces of :data:`CHUNK` bytes: compressors see where their input is cut."""

    def __init__(self, out: Callable[[bytes], None]) -> None:
        self._out = out
        self._held = bytearray()

    def __enter__(self) -> Self:
        return self

    def add(self, piece: bytes | memoryview) -> None:
        self._held += piece
        if len(self._held) >= CHUNK:
            whole = len(self._held) // CHUNK * CHUNK
            data, self._held = bytes(self._held[:whole]), self._held[whole:]
            for start in range(0, whole, CHUNK):
                self._out(data[start : start + CHUNK])

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None and self._held:
            self._out(bytes(self._held))


def _gzip() -> Any:
    """ISA-L at level 1 in a gzip frame (RFC 1952) whose header has neither name nor time."""
    from isal import isal_zlib

    return isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)


def _write(
    ordered: Sequence[Item],
    contents: dict[str, str],
    out: Callable[[Any], object],
    progress: Callable[[int], None],
) -> None:
    done = told = 0

    def through(piece: bytes | memoryview) -> None:
        nonlocal done, told
        out(piece)
        done += len(piece)
        if done - told >= CHUNK:  # a tree of packages has thousands of small files
            told = done
            progress(done)

    folders: set[str] = set()
    for item in ordered:
        for path in _above(item.path, folders):
            through(_folder(path))
        through(_head(item))
        if item.link is None:
            contents[item.path] = _copy(item, through)
            through(bytes(-item.size % _BLOCK))
    through(_END)
    progress(done)


def _copy(item: Item, out: Callable[[bytes | memoryview], None]) -> str:
    """Hand on the content of one file; returns its hexadecimal SHA-256."""
    if isinstance(item.source, bytes):
        out(item.source)
        return hashlib.sha256(item.source).hexdigest()
    assert item.source is not None  # noqa: S101 - only a link has no source
    try:
        with open(item.source, "rb", buffering=0) as file:  # noqa: PTH123 - unbuffered, and 2 us less a file
            digest = _copy_large(file, out) if item.size > CHUNK else _copy_small(file, item.size, out)
            size = file.tell()
    except OSError as error:
        raise BuildError(
            f"{item.source} cannot be read: {error.strerror or error}",
            "Make it readable for the user who builds.",
        ) from None
    if size != item.size:
        raise BuildError(
            f"{item.source} had {item.size} bytes and then {size}: it was changed while it was packed",
            "Build again when nothing writes to it.",
        )
    return digest


def _copy_small(file: Any, size: int, out: Callable[[bytes], None]) -> str:
    data = file.read(size + 1)
    out(data)
    return hashlib.sha256(data).hexdigest()


def _copy_large(file: Any, out: Callable[[memoryview], None]) -> str:
    """Two hashes run side by side: the content's in a thread, the layer's in the caller's sink."""
    digest = hashlib.sha256()
    free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
    for _ in range(4):
        free.put(bytearray(CHUNK))

    def hash_and_free(piece: tuple[bytearray, int]) -> None:
        digest.update(memoryview(piece[0])[: piece[1]])
        free.put(piece[0])

    with Lane(hash_and_free) as lane:
        spare = free.get()
        while count := file.readinto(spare):
            # The lane gives the buffer back when it has hashed it; we have written it by then or wait here:
            # it is handed over last.
            out(memoryview(spare)[:count])
            lane.put((spare, count))
            spare = free.get()
    return digest.hexdigest()


def _order(item: Item) -> bytes:
    return os.fsencode(item.path)


def _folders(items: Sequence[Item]) -> Iterator[str]:
    seen: set[str] = set()
    for item in items:
        yield from _above(item.path, seen)


def _above(path: str, seen: set[str]) -> Iterator[str]:
    """The folders above a path that were not seen yet, outermost first; they are then."""
    end = path.find("/")
    while end >= 0:
        folder = path[:end]
        if folder not in seen:
            seen.add(folder)
            yield folder
        end = path.find("/", end + 1)


def _folder(path: str) -> bytes:
    return _header(os.fsencode(path) + b"/", 0o755, 0, b"5")


def _head(item: Item) -> bytes:
    path = os.fsencode(item.path)
    if item.link is not None:
        return _header(path, 0o777, 0, b"2", os.fsencode(item.link))
    return _header(path, 0o755 if item.executable else 0o644, item.size, b"0")


def _header(path: bytes, mode: int, size: int, kind: bytes, link: bytes = b"") -> bytes:
    """The header of one entry, with a pax header before it where ustar does not hold what must be said."""
    prefix, name = _ustar_path(path)
    extended: list[tuple[bytes, bytes]] = []
    if name is None or not (path.isascii() or _binary(path)):
        extended.append((b"path", path))
        prefix, name = b"", name or path[:100]
    if len(link) > 100 or not (link.isascii() or _binary(link)):
        extended.append((b"linkpath", link))
    if size >= _USTAR_SIZE:
        extended.append((b"size", b"%d" % size))
    if any(_binary(value) for _, value in extended):
        extended.insert(0, (b"hdrcharset", b"BINARY"))
    before = _pax(extended) if extended else b""
    return before + _block((prefix, name), mode, size if size < _USTAR_SIZE else 0, kind, link[:100])


def _ustar_path(path: bytes) -> tuple[bytes, bytes | None]:
    """A path as ustar's prefix and name (155 and 100 bytes, a slash between); no name if it does not fit."""
    if len(path) <= 100:
        return b"", path
    cut = path.find(b"/", len(path) - 101)
    if 0 < cut <= 155 and cut < len(path) - 1:
        return path[:cut], path[cut + 1 :]
    return b"", None


def _binary(value: bytes) -> bool:
    """Whether it is not UTF-8. ustar fields take such bytes as they are; pax needs to be told."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return False


def _pax(records: Sequence[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(_record(key, value) for key, value in records)
    return _block((b"", b"PaxHeaders/entry"), 0o644, len(body), b"x", b"") + body + bytes(-len(body) % _BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Length, space, key, "=", value and line feed, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _block(path: tuple[bytes, bytes], mode: int, size: int, kind: bytes, link: bytes) -> bytes:
    prefix, name = path
    before = name.ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 0)
    after = (
        kind
        + link.ljust(100, b"\0")
        + b"ustar\x0000"
        + bytes(64)
        + b"%07o\0%07o\0" % (0, 0)
        + prefix.ljust(167, b"\0")
    )
    # The sum of all bytes of the header, the eight of the sum itself counted as spaces.
    return before + b"%06o\0 " % (sum(before) + sum(after) + 8 * 32) + after
