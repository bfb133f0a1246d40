"""Registries: where images and models are stored, by the OCI distribution and image-layout specifications.

A :class:`Source` is read, a :class:`Target` is written. An OCI layout folder (``layout.Layout``) and a
repository of a registry (``client.Repository``) are both; ``copy.copy`` brings a manifest and all that it
needs from one to another. References are parsed by ``reference``, challenges by ``auth``, and credentials
found by ``credentials``.

Specifications: OCI image 1.1 (image-spec), OCI distribution 1.1 (distribution-spec).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

INDEXES = (INDEX, DOCKER_INDEX)
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system and processor architecture, in Go's names: ``linux/amd64``, ``linux/arm64/v8``."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""What the kernel calls a processor -> what Go does."""


def this_platform() -> Platform:
    """The platform of this machine."""
    machine = os.uname().machine
    return Platform("linux", _MACHINES.get(machine, machine))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a content-addressed thing is: media type, digest (``sha256:<hex>``) and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""

    def to_json(self) -> dict[str, Any]:
        """The descriptor as the image specification writes it; empty members are left out."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.platform:
            members = {"architecture": self.platform.architecture, "os": self.platform.os}
            document["platform"] = members | (
                {"variant": self.platform.variant} if self.platform.variant else {}
            )
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        return document


class Source(Protocol):
    """Something to read from. Whatever it gives has been verified by digest."""

    def resolve(self, name: str) -> Descriptor:
        """The descriptor of a manifest or index by tag or digest.

        Raises:
            NotFound: there is none by that name.
        """
        ...

    def manifest(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or an index."""
        ...

    def blob(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A blob, streamed; the last read raises ``DigestMismatch`` when the bytes are not the right ones."""
        ...

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests whose ``subject`` is this digest, of one artifact type or of all."""
        ...


class Target(Protocol):
    """Something to write to. A tag never points at anything incomplete: manifests come last."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there."""
        ...

    def write(
        self,
        descriptor: Descriptor,
        opener: Callable[[], AbstractContextManager[BinaryIO]],
        progress: Callable[[int], None] = ...,
    ) -> str:
        """Store a blob, unless it is there; ``opener`` may be called again for a retry.

        ``progress`` is told how many bytes of the blob are through so far.

        Returns:
            What it took: ``"present"``, ``"mounted"`` or ``"written"``.
        """
        ...

    def write_manifest(self, descriptor: Descriptor, body: bytes, tags: Sequence[str] = ()) -> None:
        """Store a manifest or index whose parts are there, and point the tags at it."""
        ...
