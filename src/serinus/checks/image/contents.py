"""What the layers of an image hold, read from their tars: names, owners, modes, and what looks like a secret.

A root file system on disk does not tell this: it belongs to whoever unpacked it, without set-uid bits, and
what a later layer takes away is not in it, though it is still stored in the layer below.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from serinus.checks.subjects import Subject
from serinus.image import secrets

OURS = ("bytecode", "dependencies", "runtime", "model", "code")
"""Names of the layers that a build puts on its base, as the image's history has them."""
_KEYS = (".pem", ".key")
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a layer."""

    path: str
    """Absolute, in the image."""
    uid: int
    gid: int
    mode: int
    kind: str
    """``file``, ``folder`` or ``link``."""
    layer: int
    """From 0, lowest first."""
    found: tuple[secrets.Finding, ...] = ()
    """What looks like a secret in its content."""
    head: bytes = b""
    """The beginning of a file whose name says that it may hold a key."""


def names(image: Subject) -> tuple[str, ...]:
    """What each layer is: ``base``, or one of :data:`OURS`, told by the image's history."""
    steps = [one for one in image.config.get("history") or () if not one.get("empty_layer")]
    if len(steps) != len(image.layers):
        return tuple("layer" for _ in image.layers)
    told = (str(one.get("created_by", "")).removeprefix("serinus build: ") for one in steps)
    return tuple(name if name in OURS else "base" for name in told)


def contents(image: Subject) -> tuple[Entry, ...]:
    """Every member of every layer, lowest first; each tar is read once and nothing is unpacked."""
    from serinus.image.scan import open_layer

    entries: list[Entry] = []
    for number, layer in enumerate(image.layers):
        plain = layer.descriptor.media_type.endswith("tar")
        with (
            open_layer(image.layout.path(layer.descriptor.digest)) as stream,
            # Of a plain tar what need not be read is passed over.
            tarfile.open(fileobj=stream, mode="r:" if plain else "r|") as tar,
        ):
            entries += (_entry(tar, member, number) for member in tar)
    return tuple(entries)


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, layer: int) -> Entry:
    path = posixpath.normpath("/" + member.name)
    path = path if path != "//" else "/"
    found: tuple[secrets.Finding, ...] = ()
    head = b""
    if member.isreg() and (file := tar.extractfile(member)):
        content = file.read(secrets.LIMIT)
        found, head = secrets.scan(path, content), content[:_HEAD] if path.endswith(_KEYS) else b""
    kind = "folder" if member.isdir() else "file" if member.isreg() else "link"
    return Entry(path, member.uid, member.gid, member.mode, kind, layer, found, head)


def view(entries: Iterable[Entry]) -> Mapping[str, Entry]:
    """What is to be seen of the layers on top of each other, by path. Pure."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        folder, name = posixpath.split(entry.path)
        if name.startswith(".wh."):
            gone = folder if name == ".wh..wh..opq" else posixpath.join(folder, name[4:])
            hidden = [
                path
                for path, other in seen.items()
                if other.layer < entry.layer
                and (path.startswith(gone.rstrip("/") + "/") or (path == gone and gone != folder))
            ]
            for path in hidden:
                del seen[path]
        else:
            seen[entry.path] = entry
    return seen
