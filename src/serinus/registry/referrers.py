"""Referrers in a registry: by the API, and by the tag scheme where a registry lacks the API.

Follows the OCI distribution specification 1.1, "Listing referrers", "Pushing manifests with subject" and
"Referrers tag schema".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import urlencode

from serinus.errors import DigestMismatch, NotFound
from serinus.registry import INDEX, INDEXES, MANIFESTS, Descriptor
from serinus.registry.auth import scope
from serinus.registry.connection import Answer, Connection, Request
from serinus.registry.content import digest_of, parse_manifest, split_digest
from serinus.registry.network import follow

ACCEPT = ("accept", ", ".join((*INDEXES, *MANIFESTS)))
"""Header: every kind of manifest that we can read."""
_MOST_PAGES = 100


def fallback_tag(digest: str) -> str:
    """The tag under which a registry without the API lists the referrers of a digest: ``sha256-<hex>``."""
    algorithm, hexadecimal = split_digest(digest)
    return f"{algorithm[:32]}-{hexadecimal[:64]}"


def with_referrer(present: Sequence[Descriptor], new: Descriptor) -> bytes:
    """The index that lists referrers, one more among them; a digest stands there once."""
    listed = [*(d for d in present if d.digest != new.digest), new]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [d.to_json() for d in listed]}
    return json.dumps(document, separators=(",", ":")).encode()


def parse_listed(body: bytes) -> tuple[Descriptor, ...]:
    """The referrers in an answer of the API or in the index under the fallback tag.

    Raises:
        RegistryError: it is not an index.
    """
    return parse_manifest(body, Descriptor(INDEX, digest_of(body), len(body))).manifests


def pages(connection: Connection, request: Request) -> Iterator[Answer]:
    """The answers to a request whose list comes in pages: ``Link: <...>; rel="next"`` (RFC 8288)."""
    for _ in range(_MOST_PAGES):
        answer = connection.request(request)
        yield answer
        link = re.match(r'\s*<([^>]+)>\s*;[^,]*\brel="?next\b', answer.headers.get("link", ""))
        if not link:
            return
        request = replace(request, url=follow(answer.url, link[1]))


def put_manifest(
    connection: Connection, descriptor: Descriptor, body: bytes, name: str, once: float = 0.0
) -> Answer:
    """Store a manifest under a tag or its digest, and see that the registry has understood the same bytes.

    Args:
        connection: to the registry.
        descriptor: of the manifest.
        body: its bytes.
        name: tag or digest.
        once: seconds without a byte from the registry after which the one try has failed; 0 tries as often
            as ``Connection.request``.

    Raises:
        DigestMismatch: it has not.
        Interrupted: the one try has failed.
    """
    reference = connection.reference
    what = f"{reference.registry}/{reference.repository}{'@' if ':' in name else ':'}{name}"
    scopes = (scope(reference.repository, "pull", "push"),)
    headers = (("content-type", descriptor.media_type),)
    url = f"/v2/{reference.repository}/manifests/{name}"
    request = Request("PUT", url, scopes, what, (201, 202, 204), headers, body)
    answer = connection.send(replace(request, patience=once)) if once else connection.request(request)
    found = answer.headers.get("docker-content-digest", descriptor.digest)
    same_kind = found.partition(":")[0] == descriptor.digest.partition(":")[0]
    if same_kind and found != descriptor.digest:
        message = f"the registry stored {found} as {what}; expected {descriptor.digest}"
        raise DigestMismatch(message, "The registry is at fault; ask its operator.")
    return answer


class Referrers:
    """The referrers of one repository's manifests.

    Args:
        connection: to the registry.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._repository = connection.reference.repository
        self._pull = (scope(self._repository, "pull"),)

    def listed(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests whose ``subject`` is this digest, of one artifact type or of all.

        Raises:
            RegistryError: the list cannot be read; and as ``Connection.request``.
        """
        split_digest(digest)
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        url = f"/v2/{self._repository}/referrers/{digest}{query}"
        what = f"the referrers of {digest}"
        found: list[Descriptor] = []
        for answer in pages(self._connection, Request("GET", url, self._pull, what, (200, 404, 405))):
            if answer.status != 200:
                found = list(self._by_tag(digest))
                break
            found += parse_listed(answer.body)
        # A registry may have ignored the filter, and the tag scheme has none.
        return tuple(d for d in found if artifact_type in {"", d.artifact_type})

    def enter(self, subject: str, entry: Descriptor) -> None:
        """Enter a manifest into the list under the subject's fallback tag.

        Two clients that do so at once can lose one of the entries: the tag scheme knows no better.
        """
        present = self._by_tag(subject)
        if entry not in present:
            body = with_referrer(present, entry)
            index = Descriptor(INDEX, digest_of(body), len(body))
            put_manifest(self._connection, index, body, fallback_tag(subject))

    def _by_tag(self, digest: str) -> tuple[Descriptor, ...]:
        tag = fallback_tag(digest)
        what = f"the referrers under the tag {tag}"
        url = f"/v2/{self._repository}/manifests/{tag}"
        try:
            answer = self._connection.request(Request("GET", url, self._pull, what, headers=(ACCEPT,)))
        except NotFound:
            return ()
        return parse_listed(answer.body)
