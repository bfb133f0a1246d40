"""Images by hand: tars, and OCI layouts around them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from serinus.registry import CONFIG, INDEX, LAYER, LAYER_GZIP, LAYER_ZSTD, MANIFEST, Descriptor, this_platform
from serinus.registry.layout import Layout


class Tiny(NamedTuple):
    """The tiny image, and what it answers in every runtime."""

    layout: Layout
    image: Descriptor
    expected: dict[str, Any]


def answered(port: int) -> Any:
    """What the tiny image answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello", timeout=10) as response:
        return json.loads(response.read())


def sys_python() -> str:
    """Where the interpreter stands in the tiny image: where it stands here."""
    return os.path.realpath(sys.executable)


_LEFT_OUT = re.compile(
    r"(^|/)(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages|dist-packages|__pycache__"
    r"|config-[^/]*|pydoc_data|unittest|distutils)(/|$)|\.a$"
)


def digest_of(data: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_of(files: Mapping[str, bytes]) -> bytes:
    """A plain tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def put(layout: Layout, data: bytes, media_type: str) -> Descriptor:
    """Store a blob."""
    with layout.new_blob() as blob:
        blob.write(data)
    return Descriptor(media_type, blob.digest, len(data))


def make_image(
    layout: Layout,
    layers: Sequence[bytes],
    config: Mapping[str, Any],
    *,
    stored: Sequence[bytes] | None = None,
    diff_ids: Sequence[str] | None = None,
    tag: str = "latest",
) -> Descriptor:
    """An image of plain tars; ``stored`` are the same compressed, ``diff_ids`` what it says of them."""
    blobs = [put(layout, data, _type(data)) for data in stored or layers]
    document = {
        "architecture": this_platform().architecture,
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids or map(digest_of, layers))},
    }
    described = put(layout, json.dumps(document).encode(), CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described.to_json(),
        "layers": [blob.to_json() for blob in blobs],
    }
    return _write(layout, manifest, MANIFEST, tag)


def make_index(layout: Layout, entries: Sequence[tuple[Descriptor, str]], tag: str = "index") -> Descriptor:
    """An index of images, each for an architecture."""
    manifests = [
        image.to_json() | {"platform": {"os": "linux", "architecture": architecture}}
        for image, architecture in entries
    ]
    return _write(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX, tag)


def _write(layout: Layout, document: Mapping[str, Any], media_type: str, tag: str) -> Descriptor:
    body = json.dumps(document).encode()
    descriptor = Descriptor(media_type, digest_of(body), len(body))
    layout.write_manifest(descriptor, body, [tag])
    return descriptor


def _type(data: bytes) -> str:
    if data.startswith(b"\x1f\x8b"):
        return LAYER_GZIP
    return LAYER_ZSTD if data.startswith(b"\x28\xb5\x2f\xfd") else LAYER


def python_tree(tar: tarfile.TarFile) -> None:
    """Put this Python and the libraries it is linked to into a tar, at the places where they are here."""
    interpreter = os.path.realpath(sys.executable)
    standard = sysconfig.get_path("stdlib")
    programs = [interpreter, *map(str, Path(standard, "lib-dynload").glob("*.so"))]
    for name in sorted({interpreter, *(library for program in programs for library in _linked(program))}):
        tar.add(os.path.realpath(name), name.lstrip("/"))
    tar.add(standard, standard.lstrip("/"), filter=_kept)


def _linked(program: str) -> list[str]:
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/[^\s]+) \(0x", text)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT.search(member.name) else member
