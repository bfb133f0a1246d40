"""A model out of an OCI artifact: streamed, verified, several files at a time."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from serinus.errors import ModelError
from serinus.models import Progress
from serinus.models.archives import decompressed, extract, new_file
from serinus.models.formats import Part, is_kit, parts_of
from serinus.registry import Descriptor, Source
from serinus.registry.content import CHUNK, MANIFEST_LIMIT, Parts, parse_manifest

_DECOMPRESSORS = {"igzip_lib", "zlib", "compression", "zstandard"}
"""Modules whose errors say that what they read is damaged."""


def _quiet(done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def read(source: Source, descriptor: Descriptor) -> tuple[Parts, tuple[Part, ...]]:
    """The manifest of a model artifact, and the files and archives it is made of; none of them is brought.

    Args:
        source: a layout or a repository.
        descriptor: of the manifest, as ``source.resolve`` gives it.

    Raises:
        ModelError: it is no model, or one that cannot be unpacked.
        RegistryError: as the source says.
    """
    where = f"the model {descriptor.digest}"
    manifest = parse_manifest(source.manifest(descriptor), descriptor)
    config = b""
    if is_kit(manifest):
        with source.blob(manifest.blobs[0]) as reader:
            config = reader.read(MANIFEST_LIMIT)
    return manifest, parts_of(manifest, where, config)


def parts_in(source: Source, descriptor: Descriptor) -> tuple[Part, ...]:
    """The files and archives that a model artifact is made of.

    Raises:
        ModelError, RegistryError: as :func:`read`.
    """
    return read(source, descriptor)[1]


def bring(
    source: Source,
    descriptor: Descriptor,
    folder: Path,
    progress: Progress = _quiet,
    *,
    jobs: int = 4,
) -> None:
    """Write the files of a model artifact into an empty folder.

    A ModelPack artifact, a ModelKit of KitOps, or files that ``oras`` pushed. Every byte is verified by
    digest while it streams. After an error the folder holds a part of the model: throw it away.

    Args:
        source: a layout or a repository.
        descriptor: of the manifest, as ``source.resolve`` gives it.
        folder: where to; it is there, and empty.
        progress: told how many of the bytes, as they are stored, are through.
        jobs: layers that travel at a time.

    Raises:
        ModelError: it is no model, or one that cannot be unpacked.
        NotFound, Unauthorized, Unavailable, DigestMismatch: as the source says.
    """
    _, parts = read(source, descriptor)
    counter = _Counter(sum(p.descriptor.size for p in parts), progress)
    where = f"the model {descriptor.digest}"
    with ThreadPoolExecutor(jobs, thread_name_prefix="serinus-model") as pool:
        # The largest first: they take longest, and the small ones fill the gaps.
        queue = sorted(parts, key=lambda p: -p.descriptor.size)
        futures = [pool.submit(_bring, source, part, folder, counter, where) for part in queue]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            counter.stop()
            pool.shutdown(wait=True, cancel_futures=True)
    errors = [f.exception() for f in futures if not f.cancelled()]
    for error in errors:
        if error is not None and not isinstance(error, _Cancelled):
            raise error


class _Cancelled(Exception):
    pass


class _Counter:
    """Adds up what several threads have brought, and stops them when one of them failed."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()
        self._stopped = False

    def add(self, count: int) -> None:
        with self._lock:
            if self._stopped:
                raise _Cancelled
            self._done += count
            self._progress(self._done, self._total)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True


class _Counted(io.RawIOBase):
    """A stream whose bytes are counted as they are read."""

    def __init__(self, stream: BinaryIO, counter: _Counter) -> None:
        super().__init__()
        self._stream = stream
        self._counter = counter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]  # a buffered reader has it
        if count:
            self._counter.add(count)
        return count


def _bring(source: Source, part: Part, folder: Path, counter: _Counter, where: str) -> None:
    with source.blob(part.descriptor) as stream, _explained(part, where):
        counted = cast(BinaryIO, _Counted(stream, counter))
        plain = decompressed(counted, part.compression, where)
        if part.archive:
            extract(plain, folder, part.path, where)
        else:
            _write(plain, folder / part.path, part.executable)
        while counted.read(CHUNK):  # what stands behind the archive's end is a part of the digest too
            pass


def _write(reader: BinaryIO, path: Path, executable: bool) -> None:
    with new_file(path, executable) as file:
        buffer = memoryview(bytearray(CHUNK))
        while count := reader.readinto(buffer):  # type: ignore[attr-defined]  # whatever we read from has it
            view = buffer[:count]
            while view:
                view = view[file.write(view) :]


@contextmanager
def _explained(part: Part, where: str) -> Iterator[None]:
    """Errors of the disk and of decompressors, told as what they are."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ModelError(
            f"{where} holds {part.path!r} twice, or as a file and a folder",
            "Push the model again with each path once.",
        ) from None
    except OSError as error:
        if error.errno is None:  # a decompressor's complaint about its input
            raise _damaged(part, where, error) from error
        raise ModelError(
            f"the model cannot be written to {error.filename or 'its folder'}: {error.strerror}",
            "Free some space, or name a folder that you may write to; nothing half done is used.",
        ) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _DECOMPRESSORS or isinstance(error, EOFError):
            raise _damaged(part, where, error) from error
        raise


def _damaged(part: Part, where: str, error: Exception) -> ModelError:
    return ModelError(
        f"the layer {part.descriptor.digest} of {where} is no {part.compression or 'tar'}: {error}",
        "Push the model again at its source.",
    )
