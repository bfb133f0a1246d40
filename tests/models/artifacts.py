"""Model artifacts of every format, made by hand as their specifications say, in a layout."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from serinus.registry import EMPTY, MANIFEST, Descriptor
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout

KIT = "application/vnd.kitops.modelkit"
PACK = "application/vnd.cncf.model"
FILEPATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"


def blob(layout: Layout, data: bytes, media_type: str, **annotations: str) -> Descriptor:
    with layout.new_blob() as new:
        new.write(data)
    told = {name.replace("__", "."): value for name, value in annotations.items()}
    return Descriptor(media_type, new.digest, new.size, annotations=told)


def titled(
    layout: Layout, data: bytes, title: str, media_type: str = "application/octet-stream"
) -> Descriptor:
    made = blob(layout, data, media_type)
    return Descriptor(media_type, made.digest, made.size, annotations={TITLE: title})


def at(layout: Layout, data: bytes, media_type: str, path: str) -> Descriptor:
    made = blob(layout, data, media_type)
    return Descriptor(media_type, made.digest, made.size, annotations={FILEPATH: path})


def manifest(
    layout: Layout, config: Descriptor, layers: Sequence[Descriptor], tag: str = "m", **members: Any
) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    body = json.dumps(document | members).encode()
    descriptor = Descriptor(MANIFEST, digest_of(body), len(body))
    layout.write_manifest(descriptor, body, [tag])
    return descriptor


def tar(files: Mapping[str, bytes | None], *, compress: bool = False, mode: int = 0o644) -> bytes:
    """A tar of files, and of folders where there is no content, as KitOps writes them: times at zero."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mode = mode
            info.uid, info.gid = 1000, 0
            if content is None:
                info.type = tarfile.DIRTYPE
                info.mode = 0o755
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return gzip.compress(out.getvalue(), mtime=0) if compress else out.getvalue()


def model_kit(layout: Layout, tag: str = "kit", *, old: bool = False) -> Descriptor:
    """A ModelKit: a model, a part, code and documentation, each an archive; the Kitfile is the configuration.

    In kits of the first versions the Kitfile has no digests, and the names in an archive count from the
    folder of its entry's path.
    """
    archives = {
        "model": ("models/model.onnx", tar({"models": None, "models/model.onnx": b"weights"}, compress=True)),
        "modelpart": ("models/tokenizer.json", tar({"models": None, "models/tokenizer.json": b"{}"})),
        "code": ("src", tar({"src": None, "src/run.py": b"print()"}, compress=True)),
        "docs": ("README.md", tar({"README.md": b"# A model"})),
    }
    if old:
        archives["model"] = ("models/model.onnx", tar({"model.onnx": b"weights"}, compress=True))
        archives["modelpart"] = ("models/tokenizer.json", tar({"tokenizer.json": b"{}"}))
    layers, entries = [], {}
    for kind, (path, data) in archives.items():
        compression = "+gzip" if data[:2] == b"\x1f\x8b" else ""
        layers.append(at(layout, data, f"{KIT}.{kind}.v1.tar{compression}", path))
        entries[kind] = {"path": path} | ({} if old else {"digest": layers[-1].digest})
    kitfile = {
        "manifestVersion": "1.0.0",
        "package": {"name": "sentiment", "version": "1.0.0"},
        "model": {"name": "sentiment", **entries["model"], "parts": [entries["modelpart"]]},
        "code": [entries["code"]],
        "docs": [entries["docs"]],
    }
    config = blob(layout, json.dumps(kitfile).encode(), f"{KIT}.config.v1+json")
    return manifest(layout, config, layers, tag, artifactType=f"{KIT}.manifest.v1+json")


KIT_FILES = {
    "models/model.onnx": b"weights",
    "models/tokenizer.json": b"{}",
    "src/run.py": b"print()",
    "README.md": b"# A model",
}


def model_pack(layout: Layout, layers: Sequence[Descriptor], tag: str = "pack") -> Descriptor:
    document = {
        "descriptor": {"name": "x"},
        "config": {},
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
    config = blob(layout, json.dumps(document).encode(), f"{PACK}.config.v1+json")
    return manifest(layout, config, layers, tag, artifactType=f"{PACK}.manifest.v1+json")


def plain(layout: Layout, layers: Sequence[Descriptor], tag: str = "plain") -> Descriptor:
    """What ``oras push`` makes."""
    return manifest(
        layout, blob(layout, b"{}", EMPTY), layers, tag, artifactType="application/vnd.acme.model"
    )
