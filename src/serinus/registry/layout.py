"""An OCI image layout: a folder that holds images, as a source and a target.

Follows the OCI image layout specification 1.1: ``oci-layout``, ``index.json``, ``blobs/<algorithm>/<hex>``.
Several processes may write at once, and any of them may be killed: a blob appears under its name when it is
whole and checked, ``index.json`` is replaced in one step under a lock on the folder, and names a manifest
only when all of its parts are there. What a killed writer leaves are hidden temporary files, which
:meth:`Layout.collect` removes.

``index.json`` is flushed to the disk before it gets its name. Blobs are not, since that costs a large model
more than the writing itself: after a power cut one may be short, and a short blob counts as absent.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from serinus.errors import NotFound, RegistryError
from serinus.files import TEMPORARY, alone, temporary, write_atomically
from serinus.registry import INDEX, Descriptor
from serinus.registry.blobs import NewBlob, explained
from serinus.registry.content import (
    CHUNK,
    MANIFEST_LIMIT,
    Parts,
    is_digest,
    is_manifest,
    media_type_of,
    parse_descriptor,
    parse_manifest,
    split_digest,
    verified,
    verify,
)
from serinus.registry.entries import REF_NAME, Entries, Entry, living, stored, tag_of, without

_VERSION = '{"imageLayoutVersion":"1.0.0"}'


def _quiet(done: int) -> None:
    """Progress that nobody looks at."""


class Layout:
    """An OCI image layout folder. It is made by the first write; safe to use from several threads.

    Args:
        root: the folder.
        clock: seconds since the epoch; decides with the files' times which ones :meth:`collect` may take.
    """

    def __init__(self, root: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self.root = Path(root)
        self._clock = clock

    def __repr__(self) -> str:
        return f"Layout({str(self.root)!r})"

    # Reading

    def path(self, digest: str) -> Path:
        """Where the blob of a digest lies, if it is there.

        Raises:
            RegistryError: not a digest.
        """
        return self.root.joinpath("blobs", *split_digest(digest))

    def tags(self) -> dict[str, Descriptor]:
        """Every tag and what it points at, sorted by tag; empty for a folder that is not there yet."""
        found = {tag_of(e): self._described(e) for e in self._entries() if tag_of(e)}
        return dict(sorted(found.items()))

    def entries(self) -> tuple[Descriptor, ...]:
        """What ``index.json`` lists, in its order and with its annotations, tagged or not."""
        return tuple(parse_descriptor(e, f"{self.root}/index.json") for e in self._entries())

    def resolve(self, name: str) -> Descriptor:
        """The descriptor of a manifest or index by tag or digest.

        Raises:
            NotFound: there is none; the message names the nearest tags.
        """
        entries = self._entries()
        for e in entries:
            if name in {tag_of(e), e.get("digest")}:
                return self._described(e)
        if is_digest(name) and self.path(name).is_file():
            body = self._read(name)
            return Descriptor(media_type_of(body, f"{name} in {self.root}"), name, len(body))
        tags = sorted(filter(None, map(tag_of, entries)))
        from difflib import get_close_matches

        near = get_close_matches(name, tags, 3, 0.5) or tags[:5]
        there = f"; it has {', '.join(near)}" if near else "; it has no tags"
        raise NotFound(f"the layout {self.root} has no image {name!r}{there}", "Build or pull it first.")

    def manifest(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or an index.

        Raises:
            NotFound: it is not there.
            DigestMismatch: its file is damaged.
        """
        return verify(self._read(descriptor.digest), descriptor, str(self.root))

    @contextmanager
    def blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob, streamed; the last read raises ``DigestMismatch`` when the file is damaged.

        Raises:
            NotFound: it is not there.
        """
        with self._open(descriptor.digest) as file, verified(file.read, descriptor, str(self.root)) as reader:
            yield reader

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests whose ``subject`` is this digest, of one artifact type or of all."""
        found = {}
        for e in self._entries():
            parts = self._parts(self._described(e))
            if parts.subject and parts.subject.digest == digest:
                found[e["digest"]] = self._described(e), parts
        return tuple(
            Descriptor(d.media_type, d.digest, d.size, d.platform, parts.annotations, parts.artifact_type)
            for d, parts in found.values()
            if artifact_type in {"", parts.artifact_type}
        )

    # Writing

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there and whole."""
        try:
            return self.path(descriptor.digest).stat().st_size == descriptor.size
        except FileNotFoundError:
            return False

    @contextmanager
    def new_blob(self, algorithm: str = "sha256") -> Iterator[NewBlob]:
        """A file to write to, hashed on the way, that becomes a blob when the block leaves without an error.

        Its ``digest`` and ``size`` are known from then on. After an error nothing of it is left.

        Raises:
            RegistryError: the disk is full, or may not be written to.
        """
        folder = self.root / "blobs" / algorithm
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            beside = temporary(folder)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with NewBlob(descriptor, beside, algorithm) as blob:
                yield blob
                blob.finish()
            with explained(beside):
                beside.replace(folder / blob.digest.partition(":")[2])
        except BaseException:
            with suppress(FileNotFoundError):
                beside.unlink()
            raise

    def write(
        self,
        descriptor: Descriptor,
        opener: Callable[[], AbstractContextManager[BinaryIO]],
        progress: Callable[[int], None] = _quiet,
    ) -> str:
        """Store a blob, unless it is there: ``"present"`` or ``"written"``.

        Raises:
            DigestMismatch: ``opener`` gave other bytes; nothing was stored.
            RegistryError: the disk is full, or may not be written to.
        """
        if self.has(descriptor):
            self._touch(descriptor.digest)
            return "present"
        with opener() as source, self.new_blob(split_digest(descriptor.digest)[0]) as blob:
            while data := source.read(CHUNK):
                blob.write(data)
                progress(blob.size)
            blob.expect(descriptor, str(self.root))
        return "written"

    def adopt(self, file: Path, digest: str, *, move: bool = False) -> None:
        """Make an existing file a blob: moved, else hard-linked, else copied. The digest is taken on trust.

        A linked file must not change afterwards; give ``move`` where it is not needed any more.

        Raises:
            RegistryError: not a digest, or the folder may not be written to.
        """
        place = self.path(digest)
        with explained(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = temporary(place.parent)
            try:
                _bring(file, beside, move)
                beside.replace(place)
            finally:
                beside.unlink(missing_ok=True)
        self._touch(digest)

    def write_manifest(self, descriptor: Descriptor, body: bytes, tags: Sequence[str] = ()) -> None:
        """Store a manifest or index whose parts are there, and point the tags at it.

        Raises:
            NotFound: a part of it is missing; no tag was moved.
            DigestMismatch: the bytes are not what the descriptor says.
            RegistryError: the disk is full, or may not be written to.
        """
        self.write_next(lambda _: (descriptor, body, tags))

    def write_next(
        self, make: Callable[[Mapping[str, Descriptor]], tuple[Descriptor, bytes, Sequence[str]]]
    ) -> Descriptor:
        """Store a manifest that depends on the tags that are there: nobody else changes them meanwhile.

        Args:
            make: takes the tags, and gives the manifest as :meth:`write_manifest` takes it. It may write
                blobs, and must not write manifests.

        Raises:
            NotFound, DigestMismatch, RegistryError: as :meth:`write_manifest`.
        """
        with self._locked():
            descriptor, body, tags = make(self.tags())
            parts = parse_manifest(verify(body, descriptor, "the caller"), descriptor)
            for part in (*parts.manifests, *parts.blobs):
                if not self.has(part):
                    raise NotFound(
                        f"{descriptor.digest} needs {part.digest}, which is not in the layout {self.root}",
                        "Write its parts first, or run the command again.",
                    )
            if not self.has(descriptor):
                with self.new_blob(split_digest(descriptor.digest)[0]) as blob:
                    blob.write(body)
            children = [m.digest for m in parts.manifests]
            self._replace_index(stored(self._entries(), descriptor, tags, children))
        return descriptor

    def remove(self, name: str) -> None:
        """Take a tag away, or with a digest every entry of that image; blobs stay until :meth:`collect`.

        Raises:
            NotFound: there is no such tag or entry.
        """
        with self._locked():
            entries = self._entries()
            kept = without(entries, name)
            if kept == entries:
                message = f"the layout {self.root} has no tag {name!r}"
                raise NotFound(message, "See with tags() which it has.")
            self._replace_index(kept)

    def collect(self, age: float = 3600.0) -> int:
        """Drop what no entry of ``index.json`` needs; referrers of what is kept are kept.

        Args:
            age: seconds; younger files stay, since their writer may not have come to its manifest yet.

        Returns:
            How many bytes became free.
        """
        with self._locked():
            entries = self._entries()
            parts = {e["digest"]: self._parts(self._described(e)) for e in entries}
            subjects = {d: p.subject.digest for d, p in parts.items() if p.subject}
            reachable = {d: frozenset(self._reach(d, p)) for d, p in parts.items()}
            kept = living(entries, subjects, reachable)
            if kept != entries:
                self._replace_index(kept)
            needed = {digest for e in kept for digest in reachable[e["digest"]]}
            return sum(self._drop(file, age) for file in self._unneeded(needed))

    # The folder

    def _entries(self) -> Entries:
        try:
            document = json.loads((self.root / "index.json").read_bytes())
            entries = tuple(document["manifests"])
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(
                f"{self.root}/index.json is not an image index: {error!r}",
                "Name another folder, or remove this one and build again.",
            ) from None
        for e in entries:
            parse_descriptor(e, f"{self.root}/index.json")
        return entries

    def _described(self, entry: Entry) -> Descriptor:
        d = parse_descriptor(entry, f"{self.root}/index.json")
        annotations = {k: v for k, v in d.annotations.items() if k != REF_NAME}
        return Descriptor(d.media_type, d.digest, d.size, d.platform, annotations, d.artifact_type)

    def _parts(self, descriptor: Descriptor) -> Parts:
        """What a manifest needs; a thing of a type that is none of ours needs nothing."""
        if not is_manifest(descriptor):
            return Parts(descriptor.media_type)
        return parse_manifest(self.manifest(descriptor), descriptor)

    def _reach(self, digest: str, parts: Parts) -> Iterator[str]:
        yield digest
        yield from (b.digest for b in parts.blobs)
        for child in parts.manifests:
            if self.has(child):
                yield from self._reach(child.digest, self._parts(child))

    def _unneeded(self, needed: set[str]) -> Iterator[Path]:
        for file in self.root.glob("blobs/*/*"):
            if f"{file.parent.name}:{file.name}" not in needed and file.is_file():
                yield file
        yield from self.root.glob(f"{TEMPORARY}*")

    def _drop(self, file: Path, age: float) -> int:
        status = file.stat()
        if self._clock() - status.st_mtime < age:
            return 0
        file.unlink()
        return status.st_size

    def _open(self, digest: str) -> BinaryIO:
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            message = f"the layout {self.root} has no {digest}"
            raise NotFound(message, "Build or pull the image again.") from None

    def _read(self, digest: str) -> bytes:
        with self._open(digest) as file:
            return file.read(MANIFEST_LIMIT + 1)

    def _touch(self, digest: str) -> None:
        # A blob in use again is as good as new: collect() must leave it to its next manifest.
        now = self._clock()
        with suppress(FileNotFoundError, PermissionError):
            os.utime(self.path(digest), (now, now))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder alone."""
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with alone(self.root) as folder:
                if not (self.root / "oci-layout").exists():
                    self._replace("oci-layout", _VERSION)
                yield
                os.fsync(folder)

    def _replace_index(self, entries: Entries) -> None:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
        self._replace("index.json", json.dumps(document, separators=(",", ":")))

    def _replace(self, name: str, text: str) -> None:
        write_atomically(self.root / name, text.encode(), durable=True, mode=0o644)


def _bring(file: Path, place: Path, move: bool) -> None:
    import shutil

    if move:
        shutil.move(file, place)
        return
    try:
        place.hardlink_to(file)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(file, place)
