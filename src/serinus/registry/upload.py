"""One blob on its way to a registry: mounted, sent whole, or in chunks that are resumed.

Follows the OCI distribution specification 1.1, "Pushing blobs" and "Mounting a blob from another repository".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote, urlencode

from serinus.errors import DigestMismatch, NotFound, RegistryError, Unauthorized, Unavailable
from serinus.registry import Descriptor
from serinus.registry.auth import scope
from serinus.registry.connection import Answer, Connection, Request
from serinus.registry.content import CHUNK
from serinus.registry.network import Interrupted, follow
from serinus.registry.refusals import explain

CHUNKED_ABOVE = 100 << 20
"""Bytes: larger blobs go in chunks of this size, where the registry takes chunks."""
_TAKEN = (201, 202, 204)
_OCTETS = ("content-type", "application/octet-stream")
_PATIENCE = 600.0  # a registry hashes a large blob before it answers
_MONOLITHIC = re.compile(r"ghcr\.io|(public|[^/]+\.dkr)[.-]ecr[.-].*|public\.ecr\.aws")

Opener = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Session:
    """An upload that the registry has open: where it goes on, and how much it has."""

    location: str
    offset: int = 0
    smallest: int = 0
    """Bytes that a chunk must have at least, the last one excepted."""


def is_monolithic(registry: str) -> bool:
    """Whether a registry wants each blob in one piece: GHCR and Amazon's ECR refuse or mishandle chunks."""
    return _MONOLITHIC.fullmatch(registry) is not None


def chunk_length(size: int, session: Session, chunk: int) -> int:
    """How many bytes the next chunk has."""
    return min(max(chunk, session.smallest), size - session.offset)


def received(range_header: str) -> int:
    """How many bytes the registry has, by its ``Range`` header: ``0-41`` is 42; without one, none.

    ``0-0`` is read as none: registries say so of an upload that has only begun, and no chunk is a byte long.
    """
    match = re.fullmatch(r"(?:bytes=)?0-(\d+)", range_header.strip())
    return int(match[1]) + 1 if match and int(match[1]) else 0


def with_digest(location: str, digest: str) -> str:
    """The address that ends an upload; what the registry put into its query stays as it is."""
    return f"{location}{'&' if '?' in location else '?'}digest={quote(digest, safe='')}"


class Upload:
    """Brings one blob to a repository.

    Args:
        connection: to the registry.
        descriptor: of the blob.
        opener: opens the blob, again for each try.
        progress: is told how many bytes are through.
        mounts: repositories of the same registry that may have the blob.
        chunk: bytes above which, and in which, a blob is sent in chunks.
        exists: asks whether the blob is there.
    """

    def __init__(
        self,
        connection: Connection,
        descriptor: Descriptor,
        opener: Opener,
        progress: Callable[[int], None],
        *,
        mounts: Sequence[str],
        chunk: int,
        exists: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._descriptor = descriptor
        self._opener = opener
        self._progress = progress
        self._mounts = mounts
        self._exists = exists
        self._chunk = chunk
        reference = connection.reference
        self._session: Session | None = None
        self._chunked = descriptor.size > chunk and not is_monolithic(reference.registry)
        self._path = f"/v2/{reference.repository}/blobs/uploads/"
        self._scope = scope(reference.repository, "pull", "push")
        self._what = f"the blob {descriptor.digest} of {reference.registry}/{reference.repository}"

    def run(self) -> str:
        """Bring it there: ``"mounted"``, ``"written"``, or ``"present"`` when somebody else was faster.

        Raises:
            DigestMismatch: the registry has found other bytes than promised.
            NotFound, Unauthorized, Unavailable, RegistryError: as ``Connection.request``.
        """
        self._session, mounted = self._mount()
        if mounted:
            return "mounted"
        try:
            return self._sent()
        except BaseException as error:
            self._cancel(self._session, error)
            raise

    def _sent(self) -> str:
        best = 0
        retries = self._connection.retries()
        while True:
            try:
                self._session = self._session or self._start()
                self._send_chunks() if self._chunked else self._send_whole()
            except Interrupted as error:
                retries.wait(error)
                if self._exists():
                    return "present"
                self._session = self._resumed(self._session)
                if self._session and self._session.offset > best:
                    best = self._session.offset
                    retries.progressed()
            else:
                return "written"

    def _mount(self) -> tuple[Session | None, bool]:
        """Ask the registry to take the blob over from another of its repositories; whether it did.

        A registry that does not opens an upload instead, which can be used.
        """
        session: Session | None = None
        for repository in self._mounts:
            self._cancel(session, None)
            session = None
            query = urlencode({"mount": self._descriptor.digest, "from": repository})
            scopes = (self._scope, scope(repository, "pull"))
            request = Request("POST", f"{self._path}?{query}", scopes, self._what, (201, 202))
            try:
                answer = self._connection.request(request)
            except (NotFound, Unauthorized):
                continue  # we may not look there: the blob is sent
            if answer.status == 201:
                return None, True
            session = self._begun(answer)
        return session, False

    def _start(self) -> Session:
        request = Request("POST", self._path, (self._scope,), self._what, (202,))
        return self._begun(self._connection.request(request))

    def _begun(self, answer: Answer) -> Session:
        smallest = answer.headers.get("oci-chunk-min-length", "")
        return self._next(answer, 0, int(smallest) if smallest.isdecimal() else 0)

    def _next(self, answer: Answer, offset: int, smallest: int, before: str = "") -> Session:
        location = answer.headers.get("location", "") or before
        if not location:
            raise RegistryError(
                f"the registry opened an upload for {self._what} without saying where; expected a Location",
                "Check that the address is that of a registry.",
            )
        return Session(follow(answer.url, location), offset, smallest)

    def _send_whole(self) -> None:
        length = ("content-length", str(self._descriptor.size))
        self._finish((_OCTETS, length), self._whole)

    def _whole(self) -> Iterator[bytes]:
        with self._opener() as source:
            yield from self._pieces(source.read, 0, self._descriptor.size)

    def _send_chunks(self) -> None:
        with closing(_Rewindable(self._opener)) as source:
            while (session := self._now()).offset < self._descriptor.size:
                # Kept as soon as it is known: each answer moves the upload to another address.
                self._session = self._send_chunk(session, source)
        self._finish((), b"")

    def _now(self) -> Session:
        if self._session is None:
            raise Interrupted(f"the upload of {self._what} is not open", asked=0.0)
        return self._session

    def _send_chunk(self, session: Session, source: _Rewindable) -> Session:
        length = chunk_length(self._descriptor.size, session, self._chunk)
        end = session.offset + length
        headers = (
            _OCTETS,
            ("content-length", str(length)),
            ("content-range", f"{session.offset}-{end - 1}"),
        )

        def body() -> Iterator[bytes]:
            source.seek(session.offset)  # elsewhere when the chunk is sent again, with another token
            yield from self._pieces(source.read, session.offset, length)

        answer = self._connection.send(self._request("PATCH", session.location, _TAKEN, headers, body))
        there = received(answer.headers.get("range", f"0-{end - 1}"))
        if answer.status not in _TAKEN or there != end:
            raise Interrupted(
                f"the registry answered {answer.status} with {there} bytes of {self._what}; expected {end}",
                "Run the command again.",
                asked=0.0,
            )
        return self._next(answer, end, session.smallest, session.location)

    def _finish(
        self, headers: tuple[tuple[str, str], ...], body: bytes | Callable[[], Iterator[bytes]]
    ) -> None:
        url = with_digest(self._now().location, self._descriptor.digest)
        answer = self._connection.send(self._request("PUT", url, (*_TAKEN, 400), headers, body))
        if answer.status in _TAKEN:
            self._check(answer)
        elif b"DIGEST_INVALID" in answer.body:
            raise DigestMismatch(
                f"the registry has got other bytes for {self._what}: {explain(answer.body)}",
                "What was sent is damaged: build the image again.",
            )
        else:
            raise Interrupted(
                f"the registry has lost the upload of {self._what}: {answer.status} {explain(answer.body)}",
                "Run the command again.",
            )

    def _request(
        self,
        method: str,
        url: str,
        expect: tuple[int, ...],
        headers: tuple[tuple[str, str], ...],
        body: bytes | Callable[[], Iterator[bytes]],
    ) -> Request:
        # 404 and 416 say that the registry's view of the upload is another than ours: we ask and go on.
        return Request(method, url, (self._scope,), self._what, (*expect, 404, 416), headers, body, _PATIENCE)

    def _check(self, answer: Answer) -> None:
        found = answer.headers.get("docker-content-digest", "")
        same_kind = found.partition(":")[0] == self._descriptor.digest.partition(":")[0]
        if same_kind and found != self._descriptor.digest:
            raise DigestMismatch(f"the registry stored {found} for {self._what}", "Build the image again.")

    def _resumed(self, session: Session | None) -> Session | None:
        """The upload as the registry has it; None when it has to begin anew."""
        if session is None or not self._chunked:
            self._cancel(session, None)
            return None
        request = Request("GET", session.location, (self._scope,), self._what, (200, 202, 204))
        try:
            answer = self._connection.request(request)
        except Unavailable:
            raise
        except RegistryError:
            return None  # the registry does not know it any more, or cannot tell
        offset = received(answer.headers.get("range", ""))
        return self._next(answer, offset, session.smallest, session.location)

    def _cancel(self, session: Session | None, error: BaseException | None) -> None:
        """Tell the registry that an upload will not go on; it would find out by itself, days later."""
        if session is None or isinstance(error, Unavailable):
            return
        with suppress(RegistryError):
            self._connection.send(
                Request("DELETE", session.location, (self._scope,), self._what, (202, 204), patience=5.0)
            )

    def _pieces(self, read: Callable[[int], bytes], offset: int, length: int) -> Iterator[bytes]:
        done = 0
        while done < length:
            piece = read(min(CHUNK, length - done))
            if not piece:
                raise DigestMismatch(
                    f"{self._what} ended after {offset + done} bytes; expected {self._descriptor.size}",
                    "What is sent is damaged: build the image again.",
                )
            done += len(piece)
            yield piece
            self._progress(offset + done)


class _Rewindable:
    """A source that can go back, by being opened again; what comes before is read, and so still verified."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._open = ExitStack()
        self._source: BinaryIO | None = None
        self._position = 0

    def seek(self, offset: int) -> None:
        if self._source is None or offset < self._position:
            self._open.close()
            self._source = self._open.enter_context(self._opener())
            self._position = 0
        while self._position < offset and self.read(min(CHUNK, offset - self._position)):
            pass

    def read(self, count: int) -> bytes:
        data = self._source.read(count) if self._source else b""
        self._position += len(data)
        return data

    def close(self) -> None:
        self._open.close()
