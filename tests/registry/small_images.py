"""Images of a few bytes, made by hand in a layout."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

from serinus.registry import CONFIG, EMPTY, INDEX, LAYER, MANIFEST, Descriptor, Platform
from serinus.registry.layout import Layout


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that look random and are the same each time."""
    return random.Random(seed).randbytes(size)


def blob(layout: Layout, data: bytes, media_type: str = LAYER) -> Descriptor:
    with layout.new_blob() as new:
        new.write(data)
    return Descriptor(media_type, new.digest, new.size)


def body_of(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def manifest_body(config: Descriptor, layers: Sequence[Descriptor], **members: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [d.to_json() for d in layers],
    }
    return body_of(document | members)


def image(
    layout: Layout,
    layers: Sequence[bytes],
    tags: Sequence[str] = (),
    platform: Platform | None = None,
    **members: Any,
) -> Descriptor:
    """Store an image; its configuration names the platform."""
    where = platform or Platform()
    document = {
        "architecture": where.architecture,
        "os": where.os,
        "config": {},
        "rootfs": {"type": "layers"},
    }
    document["rootfs"] = {"type": "layers", "diff_ids": [digest_of(data) for data in layers]}
    config = blob(layout, body_of(document), CONFIG)
    body = manifest_body(config, [blob(layout, data) for data in layers], **members)
    descriptor = Descriptor(MANIFEST, digest_of(body), len(body), platform)
    layout.write_manifest(descriptor, body, tags)
    return descriptor


def index(layout: Layout, images: Sequence[Descriptor], tags: Sequence[str] = ()) -> Descriptor:
    body = body_of({"schemaVersion": 2, "mediaType": INDEX, "manifests": [d.to_json() for d in images]})
    descriptor = Descriptor(INDEX, digest_of(body), len(body))
    layout.write_manifest(descriptor, body, tags)
    return descriptor


def sbom(layout: Layout, subject: Descriptor, text: bytes = b'{"bomFormat": "CycloneDX"}') -> Descriptor:
    """A manifest that refers to an image."""
    empty = blob(layout, b"{}", EMPTY)
    plain = Descriptor(subject.media_type, subject.digest, subject.size)
    kind = "application/vnd.cyclonedx+json"
    body = manifest_body(
        empty, [blob(layout, text, kind)], artifactType=kind, subject=plain.to_json(), annotations={"a": "b"}
    )
    descriptor = Descriptor(MANIFEST, digest_of(body), len(body))
    layout.write_manifest(descriptor, body)
    return descriptor


def whole(layout: Layout, name: str) -> dict[str, bytes]:
    """Digest and bytes of everything an image needs, each verified."""
    from serinus.registry.content import is_manifest, parse_manifest

    found: dict[str, bytes] = {}
    queue = [layout.resolve(name)]
    while queue:
        one = queue.pop()
        if not is_manifest(one):
            with layout.blob(one) as file:
                found[one.digest] = file.read()
            continue
        found[one.digest] = layout.manifest(one)
        parts = parse_manifest(found[one.digest], one)
        queue += [*parts.manifests, *parts.blobs]
    return found
