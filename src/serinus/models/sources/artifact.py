"""``oci://HOST/REPOSITORY:TAG``, ``oci:FOLDER:TAG``, and ids of the model registry: models as OCI artifacts.

Our own, ModelKits of KitOps, and files that ``oras`` pushed: see ``pack``. We log in as for images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from serinus.models import Found, Progress
from serinus.models.digest import model_digest
from serinus.models.forms import Artifact, Registered
from serinus.models.pack import bring, parts_in
from serinus.models.registry import ModelRegistry
from serinus.models.version import ModelVersion
from serinus.registry.places import OCI, Connect, Place, connect, opened, split_tag
from serinus.registry.reference import parse as parse_reference


class OciModel:
    """A model at a place where images can be, too.

    Args:
        where: the place.
        uri: what names the model, given the digest of its manifest.
        connect: opens a registry.
    """

    def __init__(self, where: Place, uri: Callable[[str], str], *, connect: Connect = connect) -> None:
        self._where = where
        self._uri = uri
        self._connect = connect

    def find(self) -> Found:
        """What the tag points at, or the manifest of that digest."""
        with opened(self._where, self._connect) as source:
            manifest = source.resolve(self._where.name)
            size = sum(part.descriptor.size for part in parts_in(source, manifest))
        digest = manifest.digest
        return Found(self._uri(digest), digest, size=size, facts={"manifest": digest})

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the files of that manifest, verified, several at a time."""
        with opened(self._where, self._connect) as source:
            bring(source, source.resolve(found.identity), folder, progress)


def artifact(address: Artifact, root: Path) -> OciModel:
    """The model that a reference names, or a layout's folder relative to ``root``."""
    if address.reference is None:
        path, tag = split_tag(address.layout)
        return OciModel(Place(str(address), tag, folder=root / path), lambda _: str(address))
    reference = address.reference

    def uri(digest: str) -> str:
        return str(Artifact(replace(reference, digest=digest)))

    return OciModel(Place(str(reference), reference.name, reference=reference), uri)


class RegisteredModel:
    """A model in the model registry.

    Args:
        address: names it.
        where: the model registry, as the project's file says it.
        root: the project's folder.
        connect: opens a registry.
    """

    def __init__(self, address: Registered, where: str, root: Path, *, connect: Connect = connect) -> None:
        self._address = address
        self._registry = ModelRegistry(where, root, connect=connect)
        self._connect = connect

    def find(self) -> Found:
        """The version that the id names now."""
        version = self._registry.resolve(str(self._address))
        files = {path: digest.partition(":")[2] for path, digest in (version.contents or {}).items()}
        return Found(
            self._uri(version),
            version.digest,
            model_digest(files) or "",
            version.size,
            {"manifest": version.digest},
        )

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the files of that version, verified, several at a time."""
        place, where = self._registry.where, Place(found.uri, found.identity)
        if place.startswith(OCI):
            where = replace(where, folder=self._registry.root / place.removeprefix(OCI))
        else:
            where = replace(where, reference=parse_reference(f"{place}/{self._address.name}"))
        OciModel(where, lambda _: found.uri, connect=self._connect).fetch(found, folder, progress)

    def _uri(self, version: ModelVersion) -> str:
        """In a layout the id, since its folder means nothing elsewhere; in a registry the reference."""
        if self._registry.where.startswith(OCI):
            return version.id
        reference = parse_reference(f"{self._registry.where}/{version.name}")
        tag = str(version.version) if version.version else ""
        return str(Artifact(replace(reference, tag=tag, digest=version.digest)))
