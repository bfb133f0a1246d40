"""A repository of a registry, as a source and a target, by the OCI distribution specification 1.1.

What comes is verified by digest; what goes is streamed, mounted where it can be, and retried. This module
and its parts (``connection``, ``upload``, ``download``, ``referrers``) import httpx: import it where needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from serinus.errors import DigestMismatch, RegistryError
from serinus.registry import INDEXES, MANIFESTS, Descriptor
from serinus.registry.auth import scope
from serinus.registry.connection import Connection, Request, Traffic
from serinus.registry.content import (
    MANIFEST_LIMIT,
    digest_of,
    is_digest,
    is_manifest,
    media_type_of,
    parse_manifest,
    split_digest,
    verified,
    verify,
)
from serinus.registry.copy import MOUNT
from serinus.registry.download import Download
from serinus.registry.reference import Reference, parse
from serinus.registry.referrers import ACCEPT, Referrers, pages, put_manifest
from serinus.registry.upload import CHUNKED_ABOVE, Upload


def _quiet(done: int) -> None:
    """Progress that nobody looks at."""


class Repository:
    """A repository of a registry, read and written over HTTP. Safe to use from several threads.

    Args:
        reference: names registry and repository; its tag and digest are not used.
        mount_from: repositories of the same registry, by name, that may have blobs this one needs.
        chunk: bytes above which, and in which, a blob is sent in chunks.
        connection: carries the requests; None opens one with ``options``.
        options: of ``connection.Connection``: ``insecure``, ``transport``, ``environ``, ``find`` and others.
    """

    def __init__(
        self,
        reference: Reference | str,
        *,
        mount_from: Sequence[str] = (),
        chunk: int = CHUNKED_ABOVE,
        connection: Connection | None = None,
        **options: Any,
    ) -> None:
        self.reference = parse(reference) if isinstance(reference, str) else reference
        self._mount_from = tuple(mount_from)
        self._chunk = chunk
        self._connection = connection or Connection(self.reference, **options)
        self._base = f"/v2/{self.reference.repository}"
        self._referrers = Referrers(self._connection)
        self._pull = (scope(self.reference.repository, "pull"),)
        self._push = (scope(self.reference.repository, "pull", "push"),)

    def __repr__(self) -> str:
        return f"Repository({self.origin!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    @property
    def origin(self) -> str:
        """``registry/repository``: from where another repository of the registry may mount blobs."""
        return f"{self.reference.registry}/{self.reference.repository}"

    @property
    def traffic(self) -> Traffic:
        """Bytes sent and received so far."""
        return self._connection.traffic

    # Reading

    def resolve(self, name: str) -> Descriptor:
        """The descriptor of a manifest or index by tag or digest.

        Raises:
            NotFound: there is no such repository, or no such name in it.
            Unauthorized: we may not look, which for some registries is the same.
            Unavailable: the registry cannot be reached, or kept failing.
        """
        if is_digest(name):
            split_digest(name)
        answer = self._connection.request(self._manifest_request("HEAD", name))
        digest = answer.headers.get("docker-content-digest", "") or (name if is_digest(name) else "")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        length = answer.headers.get("content-length", "")
        if digest and length.isdecimal() and (kind in INDEXES or kind in MANIFESTS):
            split_digest(digest)
            found = Descriptor(kind, digest, int(length))
        else:
            found = self._resolve_by_body(name)
        if is_digest(name) and found.digest != name:
            message = f"{self.origin} gave {found.digest}; expected {name}"
            raise DigestMismatch(message, "The registry is at fault; ask its operator.")
        return found

    def manifest(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or an index, verified.

        Raises:
            NotFound, Unauthorized, Unavailable: as :meth:`resolve`.
            DigestMismatch: other bytes came than asked for.
            RegistryError: it is larger than 4 MiB.
        """
        self._check_size(descriptor)
        answer = self._connection.request(self._manifest_request("GET", descriptor.digest))
        return verify(answer.body, descriptor, self.origin)

    @contextmanager
    def blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob, streamed, and resumed when the connection is cut.

        Raises:
            NotFound, Unauthorized, Unavailable: as :meth:`resolve`, by the first read or a later one.
            DigestMismatch: by the last read, when other bytes came than asked for.
        """
        request = Request("GET", self._path(descriptor), self._pull, self._what(descriptor))
        download = Download(self._connection, request)
        try:
            yield verified(download.read, descriptor, self.origin)
        finally:
            download.close()

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests whose ``subject`` is this digest, of one artifact type or of all.

        Raises:
            Unauthorized, Unavailable: as :meth:`resolve`.
            RegistryError: the list cannot be read.
        """
        return self._referrers.listed(digest, artifact_type)

    def tags(self) -> tuple[str, ...]:
        """The tags of the repository, in the registry's order.

        Raises:
            NotFound, Unauthorized, Unavailable: as :meth:`resolve`.
        """
        request = Request("GET", f"{self._base}/tags/list", self._pull, f"the repository {self.origin}")
        return self._listed(request, "tags")

    def catalog(self) -> tuple[str, ...]:
        """The repositories of the whole registry, where it tells them: Docker Hub and GHCR do not.

        Raises:
            NotFound, Unauthorized, Unavailable: as :meth:`resolve`.
        """
        what = f"the list of repositories of {self.reference.registry}"
        return self._listed(Request("GET", "/v2/_catalog", ("registry:catalog:*",), what), "repositories")

    def _listed(self, request: Request, member: str) -> tuple[str, ...]:
        found: list[str] = []
        for answer in pages(self._connection, request):
            try:
                found += json.loads(answer.body)[member] or []
            except (ValueError, KeyError, TypeError):
                raise RegistryError(
                    f"{self.reference.registry} answered with no list of {member} for {request.what}",
                    "Check that the address is that of a registry.",
                ) from None
        return tuple(found)

    # Writing

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there.

        Raises:
            Unauthorized, Unavailable: as :meth:`resolve`.
        """
        request = Request("HEAD", self._path(descriptor), self._push, self._what(descriptor), (200, 404))
        return self._connection.request(request).status == 200

    def write(
        self,
        descriptor: Descriptor,
        opener: Callable[[], AbstractContextManager[BinaryIO]],
        progress: Callable[[int], None] = _quiet,
    ) -> str:
        """Store a blob, unless it is there; ``opener`` is called when bytes have to travel, and only then.

        Returns:
            ``"present"``, ``"mounted"`` from another repository of the registry, or ``"written"``.

        Raises:
            Unauthorized, Unavailable: as :meth:`resolve`.
            DigestMismatch: other bytes came from ``opener``, or arrived, than the descriptor says.
        """
        if self.has(descriptor):
            return "present"
        upload = Upload(
            self._connection,
            descriptor,
            opener,
            progress,
            mounts=self._mounts(descriptor),
            chunk=self._chunk,
            exists=lambda: self.has(descriptor),
        )
        return upload.run()

    def write_manifest(self, descriptor: Descriptor, body: bytes, tags: Sequence[str] = ()) -> None:
        """Store a manifest or index whose parts are there, and point the tags at it.

        A manifest with a ``subject`` is entered into the subject's referrers, by the registry, or by us where
        the registry does not do it.

        Raises:
            Unauthorized, Unavailable: as :meth:`resolve`.
            DigestMismatch: the bytes are not what the descriptor says, or the registry stored others.
            RegistryError: it is larger than 4 MiB, or the registry refuses it.
        """
        self._check_size(descriptor)
        parts = parse_manifest(verify(body, descriptor, "the caller"), descriptor)
        names = tags or (descriptor.digest,)
        answers = [put_manifest(self._connection, descriptor, body, name) for name in names]
        if parts.subject and not answers[0].headers.get("oci-subject"):
            entry = Descriptor(
                descriptor.media_type,
                descriptor.digest,
                descriptor.size,
                annotations=parts.annotations,
                artifact_type=parts.artifact_type,
            )
            self._referrers.enter(parts.subject.digest, entry)

    def write_tag_once(self, descriptor: Descriptor, body: bytes, tag: str, patience: float) -> None:
        """Point a tag at a manifest, in one try.

        Args:
            descriptor: of the manifest, whose parts are there.
            body: its bytes.
            tag: what is to point at it.
            patience: seconds without a byte from the registry after which it has failed.

        Raises:
            Unavailable: nobody knows whether the registry has done it.
            Unauthorized, RegistryError: the registry refuses it.
        """
        self._check_size(descriptor)
        put_manifest(self._connection, descriptor, body, tag, patience)

    def delete(self, digest: str) -> None:
        """Delete a manifest, and the tags that point at it, where the registry lets us.

        Raises:
            NotFound, Unauthorized, Unavailable: as :meth:`resolve`.
            RegistryError: the registry does not delete.
        """
        split_digest(digest)
        what = f"the manifest {digest} of {self.origin}, to be deleted"
        scopes = (*self._push, scope(self.reference.repository, "delete"))
        self._connection.request(
            Request("DELETE", f"{self._base}/manifests/{digest}", scopes, what, (200, 202, 204))
        )

    def _mounts(self, descriptor: Descriptor) -> tuple[str, ...]:
        """Repositories of this registry that may have a blob, by the descriptor and by the constructor."""
        registry, _, repository = descriptor.annotations.get(MOUNT, "").partition("/")
        told = (repository,) if registry == self.reference.registry else ()
        return tuple(
            name for name in dict.fromkeys((*told, *self._mount_from)) if name != self.reference.repository
        )

    def _manifest_request(self, method: str, name: str) -> Request:
        what = f"{self.origin}{'@' if is_digest(name) else ':'}{name}"
        url = f"{self._base}/manifests/{quote(name, safe=':')}"
        return Request(method, url, self._pull, what, headers=(ACCEPT,))

    def _resolve_by_body(self, name: str) -> Descriptor:
        """For registries whose HEAD tells too little: fetch the manifest and see for ourselves."""
        answer = self._connection.request(self._manifest_request("GET", name))
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        if kind not in INDEXES and kind not in MANIFESTS:
            kind = media_type_of(answer.body, f"{self.origin}:{name}")
        found = Descriptor(kind, digest_of(answer.body), len(answer.body))
        self._check_size(found)
        return found

    def _check_size(self, descriptor: Descriptor) -> None:
        if descriptor.size > MANIFEST_LIMIT:
            raise RegistryError(
                f"the manifest {descriptor.digest} has {descriptor.size} bytes; at most {MANIFEST_LIMIT} are"
                " expected",
                "Carry less in annotations and labels.",
            )

    def _path(self, descriptor: Descriptor) -> str:
        split_digest(descriptor.digest)
        kind = "manifests" if is_manifest(descriptor) else "blobs"
        return f"{self._base}/{kind}/{descriptor.digest}"

    def _what(self, descriptor: Descriptor) -> str:
        kind = "manifest" if is_manifest(descriptor) else "blob"
        return f"the {kind} {descriptor.digest} of {self.origin}"
