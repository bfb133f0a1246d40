"""Bringing an image from a source to a target: blobs first, then manifests, then the index, then the tags.

So a tag never points at anything incomplete, whenever the work is interrupted. Blobs travel several at a
time, and only those that the target neither has nor can mount; the source's are opened no sooner.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from serinus import events
from serinus.errors import NotFound, RegistryError
from serinus.registry import INDEXES, Descriptor, Platform, Source, Target
from serinus.registry.content import Parts, digest_of, parse_manifest

MOUNT = "dev.serinus.mount"
"""Annotation of a descriptor given to ``Target.write``: ``registry/repository`` that has the blob too."""
_DEEPEST = 4


@runtime_checkable
class Mountable(Protocol):
    """A source from which a registry may take blobs over by itself."""

    @property
    def origin(self) -> str:
        """``registry/repository``."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A manifest or index to be copied, with its bytes."""

    descriptor: Descriptor
    body: bytes
    parts: Parts


class _Cancelled(Exception):
    pass


def copy(
    source: Source,
    target: Target,
    name: str,
    tags: Sequence[str] = (),
    *,
    jobs: int = 4,
    observer: events.Observer = events.ignore,
    platforms: Sequence[Platform] | None = None,
    referrers: bool = False,
) -> Descriptor:
    """Copy a manifest or an index with all that it needs.

    Args:
        source: to read from.
        target: to write to.
        name: tag or digest in the source.
        tags: what is to point at it in the target.
        jobs: blobs that travel at a time.
        observer: is told the progress of each blob, and how it came there.
        platforms: of an index, only these: one gives its manifest, several an index of them. None is all.
        referrers: whether what refers to it (SBOM, signatures) comes along, before the tags are set.

    Returns:
        The descriptor of what the tags point at.

    Raises:
        NotFound: the source has no such name, or not these platforms.
        Unauthorized, Unavailable, DigestMismatch, RegistryError: by source or target; nothing was tagged.
    """
    top, pieces = _wanted(source, name, platforms)
    _copy_blobs(source, target, pieces, jobs, observer)
    for piece in pieces:
        if piece.descriptor.digest != top.digest:
            target.write_manifest(piece.descriptor, piece.body)
    last = pieces[-1]
    if referrers:
        target.write_manifest(last.descriptor, last.body)
        for piece in pieces:
            _copy_referrers(source, target, piece.descriptor, jobs, observer)
    with events.step(f"manifest {short(top.digest)}", observer) as step:
        target.write_manifest(last.descriptor, last.body, tags)
        step.detail = ", ".join(tags) or "untagged"
    return top


def short(digest: str) -> str:
    """The first twelve hexadecimal digits of a digest: how people tell them apart."""
    return digest.partition(":")[2][:12]


def matches(wanted: Platform, found: Platform | None) -> bool:
    """Whether a platform is the one asked for; a variant that was not asked for does not matter.

    ``linux/arm64`` and ``linux/arm64/v8`` are the same: there is no other 64-bit variant in use.
    """
    if found is None or (wanted.os, wanted.architecture) != (found.os, found.architecture):
        return False
    default = "v8" if wanted.architecture == "arm64" else ""
    return not wanted.variant or wanted.variant == (found.variant or default)


def choose(index: Piece, platforms: Sequence[Platform]) -> tuple[Descriptor, ...]:
    """The manifests of an index for these platforms, in the order asked for.

    Raises:
        NotFound: there is none for one of them; the message says which there are.
    """
    chosen: dict[str, Descriptor] = {}
    for wanted in platforms:
        found = next((d for d in index.parts.manifests if matches(wanted, d.platform)), None)
        if found is None:
            there = ", ".join(str(d.platform) for d in index.parts.manifests if d.platform) or "none"
            raise NotFound(
                f"{index.descriptor.digest} has no image for {wanted}; it has {there}",
                "Ask for one of these with --platform.",
            )
        chosen[found.digest] = found
    return tuple(chosen.values())


def narrowed(index: Piece, chosen: Sequence[Descriptor]) -> Piece:
    """An index of some of an index's manifests, everything else as it was."""
    document = json.loads(index.body)
    digests = [d.digest for d in chosen]
    document["manifests"] = sorted(
        (m for m in document["manifests"] if m["digest"] in digests), key=lambda m: digests.index(m["digest"])
    )
    body = json.dumps(document, separators=(",", ":")).encode()
    descriptor = replace(index.descriptor, digest=digest_of(body), size=len(body))
    return Piece(descriptor, body, parse_manifest(body, descriptor))


def _wanted(
    source: Source, name: str, platforms: Sequence[Platform] | None
) -> tuple[Descriptor, tuple[Piece, ...]]:
    """What to copy, children before parents, the top last."""
    top = _piece(source, source.resolve(name))
    if platforms is None or top.descriptor.media_type not in INDEXES:
        return top.descriptor, tuple({p.descriptor.digest: p for p in _tree(source, top)}.values())
    chosen = choose(top, platforms)
    if len(chosen) == 1:
        top = _piece(source, chosen[0])
    elif len(chosen) < len(top.parts.manifests):
        top = narrowed(top, chosen)
    return top.descriptor, tuple({p.descriptor.digest: p for p in _tree(source, top)}.values())


def _piece(source: Source, descriptor: Descriptor) -> Piece:
    body = source.manifest(descriptor)
    return Piece(descriptor, body, parse_manifest(body, descriptor))


def _tree(source: Source, top: Piece, depth: int = 0) -> Iterator[Piece]:
    if depth > _DEEPEST:
        raise RegistryError(
            f"the index {top.descriptor.digest} stands more than {_DEEPEST} levels deep in others",
            "Push the image again with a tool that does not nest so deeply.",
        )
    for child in top.parts.manifests:
        yield from _tree(source, _piece(source, child), depth + 1)
    yield top


def _copy_referrers(
    source: Source, target: Target, subject: Descriptor, jobs: int, observer: events.Observer
) -> None:
    for found in source.referrers(subject.digest):
        piece = _piece(source, Descriptor(found.media_type, found.digest, found.size))
        _copy_blobs(source, target, (piece,), jobs, observer)
        target.write_manifest(piece.descriptor, piece.body)


def _copy_blobs(
    source: Source, target: Target, pieces: Sequence[Piece], jobs: int, observer: events.Observer
) -> None:
    blobs = {blob.digest: blob for piece in pieces for blob in piece.parts.blobs}
    stop = threading.Event()
    # The largest first: they take longest, and the small ones fill the gaps.
    queue = sorted(blobs.values(), key=lambda d: -d.size)
    with ThreadPoolExecutor(jobs, thread_name_prefix="serinus-copy") as pool:
        futures = [pool.submit(_copy_blob, source, target, blob, observer, stop) for blob in queue]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    _raise_first(futures)


def _raise_first(futures: Sequence[Future[None]]) -> None:
    """Raise what went wrong, and not the cancellations that it caused."""
    errors = [f.exception() for f in futures if not f.cancelled()]
    for error in errors:
        if error is not None and not isinstance(error, _Cancelled):
            raise error


def _copy_blob(
    source: Source, target: Target, blob: Descriptor, observer: events.Observer, stop: threading.Event
) -> None:
    origin = source.origin if isinstance(source, Mountable) else ""
    mountable = replace(blob, annotations={**blob.annotations, MOUNT: origin}) if origin else blob
    with events.step(f"blob {short(blob.digest)}", observer) as step:

        def progress(done: int) -> None:
            if stop.is_set():
                raise _Cancelled
            step.progress(done, blob.size)

        progress(0)
        step.detail = target.write(mountable, lambda: source.blob(blob), progress)
