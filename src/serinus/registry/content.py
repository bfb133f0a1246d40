"""Content-addressed things: digests, descriptors, what a manifest is made of. Pure but for :class:`Verified`.

Follows the OCI image specification 1.1: descriptor, manifest, image index; digests are ``sha256`` and
``sha512``, the two algorithms that the specification registers for everybody.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from serinus.errors import DigestMismatch, RegistryError
from serinus.registry import DOCKER_MANIFEST, INDEXES, MANIFEST, MANIFESTS, Descriptor, Platform

CHUNK = 1 << 20
"""Bytes read and written at a time."""
MANIFEST_LIMIT = 4 << 20
"""Largest manifest in bytes: what the distribution specification asks every registry to accept."""

_HEX_LENGTH = {"sha256": 64, "sha512": 128}


class Hash(Protocol):
    """What ``hashlib`` gives back."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes in."""
        ...

    def hexdigest(self) -> str:
        """The digest so far, in lower-case hexadecimal."""
        ...


def digest_of(data: bytes) -> str:
    """``sha256:<hex>`` of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def split_digest(digest: str) -> tuple[str, str]:
    """Algorithm and hexadecimal part of a digest, checked: safe to build a path or a URL from.

    Raises:
        RegistryError: not a digest, or of an algorithm other than sha256 and sha512.
    """
    algorithm, _, hexadecimal = digest.partition(":")
    length = _HEX_LENGTH.get(algorithm)
    if length is None or not re.fullmatch(r"[0-9a-f]+", hexadecimal) or len(hexadecimal) != length:
        raise RegistryError(
            f"{digest!r} is not a digest; expected sha256:<64 hexadecimal digits> or sha512:<128>",
            "Copy the digest from `serinus build` or from the registry's page.",
        )
    return algorithm, hexadecimal


def is_digest(text: str) -> bool:
    """Whether a name is meant as a digest; ``x:latest`` is not: a tag of a layout may hold a colon."""
    return text.partition(":")[0] in _HEX_LENGTH and ":" in text


def new_hash(digest: str) -> Hash:
    """An empty hash of the digest's algorithm."""
    return hashlib.new(split_digest(digest)[0])


def is_manifest(descriptor: Descriptor) -> bool:
    """Whether a descriptor is of a manifest or an index, and not of a blob."""
    return descriptor.media_type in MANIFESTS or descriptor.media_type in INDEXES


@dataclass(frozen=True, slots=True)
class Parts:
    """What a manifest or index needs, and says about itself."""

    media_type: str
    manifests: tuple[Descriptor, ...] = ()
    """Of an index: its manifests and indexes, in its order."""
    blobs: tuple[Descriptor, ...] = ()
    """Of a manifest: configuration and layers, in its order, without layers that may not be distributed."""
    subject: Descriptor | None = None
    """The manifest that this one refers to."""
    artifact_type: str = ""
    """As the referrers API tells it: the manifest's own, else the configuration's media type."""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_descriptor(document: Any, where: str) -> Descriptor:
    """A descriptor from decoded JSON.

    Args:
        document: what stands there.
        where: names the place, for the error: ``layers/2 of sha256:...``.

    Raises:
        RegistryError: not a descriptor; the message says which member is wrong.
    """
    if not isinstance(document, dict):
        raise _broken(where, f"{_kind(document)} where a descriptor was expected")
    for member, kind in (("mediaType", str), ("digest", str), ("size", int)):
        found = document.get(member)
        if not isinstance(found, kind) or isinstance(found, bool):
            raise _broken(where, f"{_kind(found)} as {member!r} where a {kind.__name__} was expected")
    if document["size"] < 0:
        raise _broken(where, f"the size {document['size']}")
    split_digest(document["digest"])
    return Descriptor(
        document["mediaType"],
        document["digest"],
        document["size"],
        _platform(document.get("platform"), where),
        _annotations(document.get("annotations"), where),
        _text(document.get("artifactType"), "artifactType", where),
    )


def parse_manifest(body: bytes, descriptor: Descriptor) -> Parts:
    """What a manifest or an index is made of.

    Args:
        body: its bytes, already verified.
        descriptor: what it is; its media type decides how it is read.

    Raises:
        RegistryError: not JSON, not of that media type, or of a type this program does not know.
    """
    where = f"the manifest {descriptor.digest}"
    document = _decode(body, where)
    inner = _text(document.get("mediaType"), "mediaType", where)
    if inner and inner != descriptor.media_type:
        raise _broken(where, f"mediaType {inner} inside, and {descriptor.media_type} outside")
    if descriptor.media_type in INDEXES:
        return _parse_index(document, descriptor.media_type, where)
    if descriptor.media_type in MANIFESTS:
        return _parse_image(document, descriptor.media_type, where)
    raise RegistryError(
        f"{where} is of type {descriptor.media_type}; expected one of {', '.join(MANIFESTS + INDEXES)}",
        "Push the image again with a current tool: the old Docker schema 1 is not supported.",
    )


def media_type_of(body: bytes, where: str) -> str:
    """The media type of a manifest known by its bytes alone.

    Raises:
        RegistryError: not a manifest, or it does not tell.
    """
    document = _decode(body, where)
    if inner := _text(document.get("mediaType"), "mediaType", where):
        return inner
    # mediaType is optional in OCI manifests; the members tell the two apart.
    if isinstance(document.get("manifests"), list):
        return INDEXES[0]
    if isinstance(document.get("layers"), list):
        return MANIFEST
    raise _broken(where, "neither 'manifests' nor 'layers'")


def _parse_index(document: dict[str, Any], media_type: str, where: str) -> Parts:
    children = _descriptors(document.get("manifests"), "manifests", where)
    return Parts(
        media_type,
        manifests=children,
        subject=_subject(document, where),
        artifact_type=_text(document.get("artifactType"), "artifactType", where),
        annotations=_annotations(document.get("annotations"), where),
    )


def _parse_image(document: dict[str, Any], media_type: str, where: str) -> Parts:
    config = parse_descriptor(document.get("config"), f"config of {where}")
    layers = _descriptors(document.get("layers"), "layers", where)
    # Foreign and non-distributable layers are fetched from their own URLs, never from a registry.
    blobs = tuple(
        d for d in layers if "nondistributable" not in d.media_type and ".foreign." not in d.media_type
    )
    artifact_type = _text(document.get("artifactType"), "artifactType", where)
    return Parts(
        media_type,
        blobs=(config, *blobs),
        subject=_subject(document, where) if media_type != DOCKER_MANIFEST else None,
        artifact_type=artifact_type or config.media_type,
        annotations=_annotations(document.get("annotations"), where),
    )


def _decode(body: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _broken(where, f"bytes that are not JSON ({error})") from None
    if not isinstance(document, dict):
        raise _broken(where, f"{_kind(document)} where an object was expected")
    return document


def _descriptors(documents: Any, member: str, where: str) -> tuple[Descriptor, ...]:
    if not isinstance(documents, list):
        raise _broken(where, f"{_kind(documents)} as {member!r} where a list was expected")
    return tuple(parse_descriptor(d, f"{member}/{i} of {where}") for i, d in enumerate(documents))


def _subject(document: dict[str, Any], where: str) -> Descriptor | None:
    subject = document.get("subject")
    return None if subject is None else parse_descriptor(subject, f"subject of {where}")


def _platform(document: Any, where: str) -> Platform | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise _broken(where, f"{_kind(document)} as 'platform' where an object was expected")
    os, architecture, variant = (
        _text(document.get(member), member, where) for member in ("os", "architecture", "variant")
    )
    return Platform(os, architecture, variant)


def _annotations(document: Any, where: str) -> dict[str, str]:
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise _broken(where, "annotations that are not an object of strings")
    return document


def _text(found: Any, member: str, where: str) -> str:
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _broken(where, f"{_kind(found)} as {member!r} where a string was expected")
    return found


def _kind(value: Any) -> str:
    names: dict[type, str] = {type(None): "nothing", bool: "a boolean", int: "a number", float: "a number"}
    names |= {str: "a string", list: "a list", dict: "an object"}
    return names[type(value)]


def _broken(where: str, found: str) -> RegistryError:
    return RegistryError(
        f"{where} has {found}", "The image is damaged where it is stored: push or build it again."
    )


class Verified(io.RawIOBase):
    """A reader that hashes what goes through; its last read raises when the bytes are not the promised ones.

    Args:
        read: gives up to so many bytes, and none at the end.
        descriptor: digest and size of what must come.
        where: names the source, for the error.
    """

    def __init__(self, read: Callable[[int], bytes], descriptor: Descriptor, where: str) -> None:
        super().__init__()
        self._read = read
        self._descriptor = descriptor
        self._where = where
        self._hash = new_hash(descriptor.digest)
        self._count = 0
        self._checked = False

    def readable(self) -> bool:
        """True: it is read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what comes next.

        Raises:
            DigestMismatch: the bytes have ended, or are more than promised, and are not what was asked for.
        """
        view = memoryview(buffer).cast("B")
        data = self._read(len(view))
        self._hash.update(data)
        self._count += len(data)
        view[: len(data)] = data
        # The check comes with the last byte, not with the end of file: who knows the size stops there.
        if not self._checked and (not data or self._count >= self._descriptor.size):
            self._check()
        return len(data)

    def _check(self) -> None:
        more = self._read(1) if self._count == self._descriptor.size else b""
        expected, size = self._descriptor.digest, self._descriptor.size
        found = f"{expected.partition(':')[0]}:{self._hash.hexdigest()}"
        if self._count != size or more:
            count = f"more than {size}" if more or self._count > size else f"{self._count}"
            raise DigestMismatch(f"{self._where} gave {count} bytes of {expected}; expected {size}", _AGAIN)
        if found != expected:
            raise DigestMismatch(f"{self._where} gave {found}; expected {expected}", _AGAIN)
        self._checked = True


_AGAIN = "What is stored there is damaged, or was changed on the way: push or build it again."


def verified(read: Callable[[int], bytes], descriptor: Descriptor, where: str) -> BinaryIO:
    """A buffered reader of a blob whose last read raises ``DigestMismatch`` when it was not the right one."""
    return io.BufferedReader(Verified(read, descriptor, where), CHUNK)


def verify(body: bytes, descriptor: Descriptor, where: str) -> bytes:
    """The same bytes, when they are the promised ones.

    Raises:
        DigestMismatch: they are not.
    """
    with verified(io.BytesIO(body).read, descriptor, where) as reader:
        return reader.read()
