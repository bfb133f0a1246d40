"""The model registry in any OCI registry: a repository for each model, a tag for each version and alias."""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import BinaryIO

from serinus.errors import DigestMismatch, ModelError, NotFound, RegistryError, Unavailable
from serinus.models import local, numbers
from serinus.models.facts import CLAIM
from serinus.models.local import Local
from serinus.models.manifest import Artifact, Stored
from serinus.models.numbers import Answer, Ask, Claim
from serinus.models.shelf import Make
from serinus.registry import EMPTY, MANIFEST, Descriptor
from serinus.registry.client import Repository
from serinus.registry.content import digest_of, parse_manifest, verified

CLAIM_TYPE = "application/vnd.serinus.claim.v1+json"
_EMPTY_BLOB = b"{}"
_EMPTY = Descriptor(EMPTY, digest_of(_EMPTY_BLOB), len(_EMPTY_BLOB))


def clock() -> float:
    """Seconds that go on while the machine sleeps: so long nobody may think that no time has passed."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RemoteShelf:
    """The versions of one model in a repository.

    Args:
        repository: of the model.
        settle: seconds; see ``numbers.SETTLE``.
        clock: seconds that never go back, nor stand still.
        sleep: waits for seconds.
        new_id: a random id in hexadecimal.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        settle: float = numbers.SETTLE,
        clock: Callable[[], float] = clock,
        sleep: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._repository = repository
        self._settle = settle
        self._clock = clock
        self._sleep = sleep
        self._new_id = new_id

    @property
    def where(self) -> str:
        """The place, for messages."""
        return self._repository.origin

    @property
    def source(self) -> Repository:
        """The repository."""
        return self._repository

    def tags(self) -> tuple[str, ...]:
        """Versions, aliases, and what else there is but claims; empty for a repository that is not there."""
        return tuple(tag for tag in self._tags() if not numbers.claim_of(tag))

    def resolve(self, name: str) -> Descriptor:
        """The manifest of a tag or a digest.

        Raises:
            NotFound, Unauthorized, Unavailable: as the registry answers.
        """
        return self._repository.resolve(name)

    def store(self, file: Local, progress: Callable[[int, int | None], None]) -> tuple[Stored, str]:
        """Send a file, unless it is there. It is read twice, since its digest must be known before.

        Raises:
            ModelError: it was changed meanwhile, or cannot be read.
            Unauthorized, Unavailable, RegistryError: as the registry answers.
        """
        # One progress for both: hashing is the first half.
        total = 2 * file.size
        digest = f"sha256:{local.hashed(file, lambda done: progress(done, total))}"
        descriptor = Descriptor("application/octet-stream", digest, file.size)
        try:
            how = self._repository.write(
                descriptor, _opener(file, descriptor), lambda done: progress(file.size + done, total)
            )
        except DigestMismatch:
            raise local.changed(file) from None
        return Stored(file.path, digest, file.size), how

    def publish(self, make: Make, aliases: Sequence[str]) -> tuple[int, Descriptor]:
        """Take the next number by ``numbers.allocation``, and store the version; then the aliases.

        Raises:
            ModelError: no number could be taken.
            Unauthorized, Unavailable, RegistryError: as the registry answers.
        """
        protocol = numbers.allocation(self._new_id, self._settle)
        made: Artifact | None = None
        answer: Answer | None = None
        while True:
            try:
                ask = next(protocol) if answer is None else protocol.send(answer)
            except StopIteration as end:
                claim: Claim = end.value
                break
            if isinstance(ask, numbers.Put):
                made = make(ask.claim.number, ask.claim.id)
                self._repository.write(made.config, _bytes(made.configuration))
                self._repository.write_manifest(made.descriptor, made.body)
            answer = self._answer(ask, made)
        if made is None:  # pragma: no cover  the protocol ends behind a claim
            raise ModelError("no version was made", "This is a fault of Serinus: please report it.")
        for alias in aliases:
            self.point(alias, made.descriptor)
        self._tidy()
        return claim.number, made.descriptor

    def point(self, alias: str, descriptor: Descriptor) -> None:
        """Let an alias point at a version that is there.

        Raises:
            Unauthorized, Unavailable, RegistryError: as the registry answers.
        """
        plain = replace(descriptor, annotations={}, artifact_type="")
        self._repository.write_manifest(plain, self._repository.manifest(plain), [alias])

    def _answer(self, ask: Ask, made: Artifact | None) -> Answer:
        began = self._clock()
        match ask:
            case numbers.Look():
                return Answer(began, tags=self._tags())
            case numbers.Put(claim):
                self._put(claim)
            case numbers.Drop(claim):
                self._drop(claim)
            case numbers.Sleep(seconds):
                self._sleep(seconds)
            case numbers.Take(claim, not_after):
                return Answer(began, done=self._take(claim, not_after, made))
            case numbers.Read(claim):
                return Answer(began, done=self._is_ours(claim, made))
        return Answer(began)

    def _tags(self) -> tuple[str, ...]:
        try:
            return self._repository.tags()
        except NotFound:
            return ()  # the first push makes the repository

    def _put(self, claim: Claim) -> None:
        self._repository.write(_EMPTY, _bytes(_EMPTY_BLOB))
        descriptor, body = claim_manifest(claim)
        self._repository.write_manifest(descriptor, body, [claim.tag])

    def _drop(self, claim: Claim) -> None:
        with suppress(RegistryError):  # many registries delete nothing: then the claim stays, and is hidden
            self._repository.delete(claim_manifest(claim)[0].digest)

    def _take(self, claim: Claim, not_after: float, made: Artifact | None) -> bool:
        if made is None or self._clock() > not_after:
            return False
        begin = self._clock()
        try:
            self._repository.write_tag_once(made.descriptor, made.body, str(claim.number), self._settle / 2)
        except Unavailable:
            return False
        except RegistryError:
            if str(claim.number) in self._tags():
                return False  # a registry whose tags cannot be moved: somebody was faster
            raise
        return self._clock() - begin <= self._settle / 2

    def _is_ours(self, claim: Claim, made: Artifact | None) -> bool:
        try:
            found = self._repository.resolve(str(claim.number))
        except NotFound:
            return False
        return made is not None and found.digest == made.descriptor.digest

    def _tidy(self) -> None:
        """Take away claims that nobody needs; whatever goes wrong with it is no harm."""
        with suppress(RegistryError):
            for claim in numbers.spent(self._tags(), self._claimed):
                self._drop(claim)

    def _claimed(self, number: int) -> str:
        with suppress(RegistryError):
            descriptor = self._repository.resolve(str(number))
            parts = parse_manifest(self._repository.manifest(descriptor), descriptor)
            return parts.annotations.get(CLAIM, "")
        return ""


def claim_manifest(claim: Claim) -> tuple[Descriptor, bytes]:
    """The manifest that stands for a claim: nothing but its annotations, by which it is one of its kind."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": CLAIM_TYPE,
        "config": _EMPTY.to_json(),
        "layers": [_EMPTY.to_json()],
        "annotations": {CLAIM: claim.id, "org.opencontainers.image.version": str(claim.number)},
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    return Descriptor(MANIFEST, digest_of(body), len(body)), body


def _bytes(data: bytes) -> Callable[[], AbstractContextManager[BinaryIO]]:
    return lambda: io.BytesIO(data)


def _opener(file: Local, descriptor: Descriptor) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextmanager
    def opener() -> Iterator[BinaryIO]:
        with local.opened(file) as raw, verified(raw.read, descriptor, str(file.source)) as reader:
            yield reader

    return opener
