"""What the object stores of Google and Azure answer to the calls that their file systems make."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from fakes.cloud import Answer, Asked, Double, ranged

_BLOB = {
    "content-type": "application/octet-stream",
    "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT",
    "x-ms-blob-type": "BlockBlob",
    "x-ms-version": "2021-08-06",
}


def google(double: Double, stored: dict[str, bytes]) -> None:
    """The calls of the JSON API of Google Cloud Storage that gcsfs makes: metadata, lists, media."""
    as_json = {"content-type": "application/json"}

    def described(key: str) -> dict[str, Any]:
        digest = hashlib.md5(stored[key], usedforsecurity=False).digest()
        return {
            "kind": "storage#object", "bucket": "models", "name": key, "size": str(len(stored[key])),
            "generation": "17", "metageneration": "1", "etag": "CAE=",
            "md5Hash": base64.b64encode(digest).decode(), "updated": "2024-01-01T00:00:00Z",
        }  # fmt: skip

    def one(asked: Asked) -> Answer:
        key = unquote(asked.match[1])
        if key not in stored or asked.query.get("generation", "17") != "17":
            return Answer(
                404, json.dumps({"error": {"message": "No such object", "code": 404}}).encode(), as_json
            )
        if asked.query.get("alt") == "media":
            return ranged(asked, stored[key], **{"x-goog-hash": f"md5={described(key)['md5Hash']}"})
        return Answer(200, json.dumps(described(key)).encode(), as_json)

    def listed(asked: Asked) -> Answer:
        items = [described(key) for key in sorted(stored) if key.startswith(asked.query.get("prefix", ""))]
        return Answer(200, json.dumps({"kind": "storage#objects", "items": items}).encode(), as_json)

    double.on("GET", "/(?:download/)?storage/v1/b/models/o/(.+)", one)
    double.on("GET", "/storage/v1/b/models/o/?", listed)


def azure(double: Double, stored: dict[str, bytes], base: str) -> None:
    """The calls of the Blob service that its library makes: properties, lists, ranges."""

    def one(asked: Asked) -> Answer:
        key = unquote(asked.match[1])
        if key not in stored:
            return Answer(404, b"", {"x-ms-error-code": "BlobNotFound"})
        if asked.method == "HEAD":
            return Answer(200, b"", {**_BLOB, "etag": '"1"', "content-length": str(len(stored[key]))})
        return ranged(asked, stored[key], '"1"', **_BLOB)

    def listed(asked: Asked) -> Answer:
        if asked.query.get("comp") != "list":
            return Answer(200, b"", {"etag": '"1"', "last-modified": _BLOB["last-modified"]})
        prefix = asked.query.get("prefix", "")
        blobs = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{_BLOB['last-modified']}</Last-Modified>"
            f'<Etag>"1"</Etag><Content-Length>{len(data)}</Content-Length><BlobType>BlockBlob</BlobType>'
            "<Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
            for key, data in sorted(stored.items())
            if key.startswith(prefix)
        )
        body = (
            f'<?xml version="1.0"?><EnumerationResults ContainerName="models"><Prefix>{prefix}</Prefix>'
            f"<Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
        )
        return Answer(200, body.encode(), {"content-type": "application/xml"})

    double.on("GET|HEAD", f"{base}/(.+)", one)
    double.on("GET|HEAD", base, listed)
