"""An image of a layout, changed by hand: another configuration, one layer more, what refers to it or not."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

from serinus.image.manifest import document, referrer
from serinus.registry import CONFIG, LAYER, MANIFEST, Descriptor
from serinus.registry.content import parse_descriptor
from serinus.registry.layout import Layout


def rewrite(
    layout: Layout,
    tag: str,
    new: str,
    config: Callable[[dict[str, Any]], object] = lambda config: None,
    files: Mapping[str, bytes] | None = None,
    mode: int = 0o644,
    owner: int = 0,
    sbom: bool = True,
) -> Descriptor:
    """Store a changed copy of the image ``tag`` under the tag ``new``; ``files`` become a layer on top."""
    old = layout.resolve(tag)
    manifest = json.loads(layout.manifest(old))
    with layout.blob(parse_descriptor(manifest["config"], tag)) as blob:
        told = json.loads(blob.read())
    if files:
        body = _tar(files, mode, owner)
        layer = Descriptor(LAYER, "sha256:" + hashlib.sha256(body).hexdigest(), len(body))
        _put(layout, body)
        manifest["layers"].append(layer.to_json())
        told["rootfs"]["diff_ids"].append(layer.digest)
        told["history"].append({"created_by": "serinus build: code"})
    config(told)
    written = document(CONFIG, told)
    _put(layout, written.body)
    manifest["config"] = written.descriptor.to_json()
    made = document(MANIFEST, manifest)
    layout.write_manifest(made.descriptor, made.body, [new])
    for each in layout.referrers(old.digest) if sbom else ():
        content = json.loads(layout.manifest(Descriptor(each.media_type, each.digest, each.size)))["layers"]
        attached = referrer(made.descriptor, parse_descriptor(content[0], tag))
        layout.write_manifest(attached.descriptor, attached.body)
    return made.descriptor


def _put(layout: Layout, body: bytes) -> None:
    with layout.new_blob() as blob:
        blob.write(body)


def _tar(files: Mapping[str, bytes], mode: int, owner: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.uid, info.gid = len(content), mode, owner, owner
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()
