"""How an image wants to be started: read from its manifest and configuration, for any runtime.

The configuration is that of the OCI image specification 1.1 ("Image Configuration"); what it leaves out is
filled in as Docker does, so that an image finds the same in every runtime.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serinus.errors import NotFound, RegistryError
from serinus.image import Layer
from serinus.registry import INDEXES, Descriptor, Platform, this_platform
from serinus.registry.content import parse_descriptor
from serinus.registry.layout import Layout
from serinus.runtimes.unpack import inside

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for when the image does not say."""
_SERVING = ("-m", "serinus.serving")
"""The end of the entry point of every image that ``serinus build`` makes."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run, and as what."""

    argv: tuple[str, ...]
    """Entrypoint and Cmd."""
    env: Mapping[str, str] = field(hash=False)
    workdir: str = "/"
    user: str = ""
    """``name``, ``uid``, ``name:group`` or ``uid:gid``; empty is root."""
    ports: tuple[int, ...] = ()
    """TCP ports that it says it listens on, ascending."""
    volumes: tuple[str, ...] = ()
    """Folders that are to be writable."""
    stop_signal: str = "SIGTERM"

    @property
    def is_serinus(self) -> bool:
        """Whether it is Serinus' own server: it knows ``/readyz``, ``--host`` and ``--port``."""
        return self.argv[-2:] == _SERVING


@dataclass(frozen=True, slots=True)
class Image:
    """An image for this machine: what a runtime needs of it."""

    manifest: Descriptor
    config: Descriptor
    launch: Launch
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user inside an image."""

    uid: int
    gid: int
    home: str


def plain(name: str) -> str:
    """A name as it may stand in file names and container names.

    >>> plain("my app")
    'my-app'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def launch(config: Mapping[str, Any]) -> Launch:
    """Read an image configuration.

    Raises:
        RegistryError: it names nothing to run, or is not as the specification has it.
    """
    inner: Mapping[str, Any] = config.get("config") or {}
    argv = (*(inner.get("Entrypoint") or ()), *(inner.get("Cmd") or ()))
    if not argv:
        raise RegistryError(
            "the image has neither Entrypoint nor Cmd: it says nothing to run",
            "Use an image that serinus build made, or one with an entry point.",
        )
    env = dict(line.partition("=")[::2] for line in inner.get("Env") or ())
    ports = (port.partition("/")[::2] for port in inner.get("ExposedPorts") or ())
    return Launch(
        argv=argv,
        env={"PATH": PATH} | env,
        workdir=inner.get("WorkingDir") or "/",
        user=inner.get("User") or "",
        ports=tuple(sorted(int(port) for port, kind in ports if kind in ("", "tcp"))),
        volumes=tuple(sorted(inner.get("Volumes") or ())),
        stop_signal=inner.get("StopSignal") or "SIGTERM",
    )


def read(layout: Layout, image: Descriptor, platform: Platform | None = None) -> Image:
    """Read what there is to run of an image or a multi-platform index in a layout.

    Raises:
        NotFound: the index has no image for the platform; the message names those it has.
        RegistryError: a part of the image is missing or malformed.
    """
    platform = this_platform() if platform is None else platform
    document = json.loads(layout.manifest(image))
    if image.media_type in INDEXES or "manifests" in document:
        image = _choose(document, platform, image.digest)
        document = json.loads(layout.manifest(image))
    described = parse_descriptor(document["config"], image.digest)
    with layout.blob(described) as blob:
        config = json.loads(blob.read())
    diff_ids = config.get("rootfs", {}).get("diff_ids", [])
    if len(diff_ids) != len(document["layers"]):
        raise RegistryError(
            f"image {image.digest} has {len(document['layers'])} layers and {len(diff_ids)} diff_ids",
            "Pull or build the image again.",
        )
    layers = tuple(
        Layer(f"layer {number}", parse_descriptor(part, image.digest), diff_id)
        for number, (part, diff_id) in enumerate(zip(document["layers"], diff_ids, strict=True))
    )
    return Image(image, described, launch(config), layers)


def _choose(index: Mapping[str, Any], platform: Platform, digest: str) -> Descriptor:
    found = []
    for entry in index["manifests"]:
        at = entry.get("platform") or {}
        if (at.get("os"), at.get("architecture")) == (platform.os, platform.architecture):
            return parse_descriptor(entry, digest)
        found.append(f"{at.get('os')}/{at.get('architecture')}")
    raise NotFound(
        f"index {digest} has no image for {platform}; it has {', '.join(found) or 'none'}",
        f"Build it with --platform {platform}.",
    )


def user(tree: Path, text: str) -> User:
    """Who ``User`` of an image configuration is, by the passwd and group files of its root file system.

    Raises:
        RegistryError: a name that those files do not have.
    """
    name, _, group = text.partition(":")
    people = _table(tree, "etc/passwd", 7)
    if not name:
        name = "0"
    known = next(
        (row for row in people if name in ((row[0], row[2]) if name.isdecimal() else (row[0],))), None
    )
    if known is None and not name.isdecimal():
        raise RegistryError(
            f"the image is to run as user {name!r}, which its /etc/passwd does not have",
            "Give the image a numeric User, such as 65532:65532.",
        )
    gid = known[3] if known else "0"
    if group:
        gid = group if group.isdecimal() else _group(tree, group)
    return User(int(known[2] if known else name), int(gid), (known[5] if known else "") or "/")


def _group(tree: Path, name: str) -> str:
    for row in _table(tree, "etc/group", 4):
        if row[0] == name:
            return row[2]
    raise RegistryError(
        f"the image is to run as group {name!r}, which its /etc/group does not have",
        "Give the image a numeric User, such as 65532:65532.",
    )


def _table(tree: Path, name: str, columns: int) -> list[list[str]]:
    path = tree / inside(tree, name)
    if not path.is_file():
        return []
    rows = (line.split(":") for line in path.read_text("utf-8", "replace").splitlines())
    return [row for row in rows if len(row) == columns and row[2].isdecimal()]
