"""A version of a model, as it is read from its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serinus.models import ids
from serinus.models.facts import CONTENT, Facts, facts_of
from serinus.models.ids import Id
from serinus.models.manifest import kind_of
from serinus.models.pack import read
from serinus.registry import Descriptor, Source
from serinus.registry.content import Parts


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a version; for an archive of files its folder, and the digest of the archive."""

    path: str
    digest: str
    size: int
    kind: str
    """``weight``, ``weight.config``, ``doc``, ``code`` or ``dataset``."""
    archive: bool = False


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model."""

    name: str
    version: int
    """0 for what others have pushed under no number."""
    digest: str
    """Of the manifest."""
    files: tuple[ModelFile, ...]
    facts: Facts
    aliases: tuple[str, ...] = ()
    """Filled where a version is shown or listed."""

    @property
    def id(self) -> str:
        """``NAME:VERSION``, or by digest where it has no number."""
        return str(Id(self.name, self.version, digest="" if self.version else self.digest))

    @property
    def size(self) -> int:
        """Bytes of all files, as they are stored."""
        return sum(file.size for file in self.files)

    @property
    def contents(self) -> dict[str, str] | None:
        """Path -> digest of every file; None where archives hide some."""
        if any(file.archive for file in self.files):
            return None
        return {file.path: file.digest for file in self.files}

    def to_json(self) -> dict[str, Any]:
        """As JSON, for programs."""
        files = [
            {"path": f.path, "digest": f.digest, "size": f.size, "kind": f.kind, "archive": f.archive}
            for f in self.files
        ]
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "aliases": list(self.aliases),
            "size": self.size,
            "files": files,
            **self.facts.to_json(),
        }


def version_at(source: Source, name: str, number: int, descriptor: Descriptor) -> ModelVersion:
    """Read a version.

    Args:
        source: holds it.
        name: of the model.
        number: of the version; 0 takes what the manifest tells.
        descriptor: of the manifest.

    Raises:
        ModelError: it is no model.
        RegistryError: as the source says.
    """
    manifest, parts = read(source, descriptor)
    files = tuple(
        ModelFile(p.path, p.descriptor.digest, p.descriptor.size, _kind(p.kind, p.path, p.archive), p.archive)
        for p in parts
    )
    facts = facts_of(manifest.annotations)
    return ModelVersion(name, number or _told(manifest), descriptor.digest, files, facts)


def _kind(told: str, path: str, archive: bool) -> str:
    """What a file is for: as it is told, and by its name where others call all of them weights."""
    return kind_of(path) if told == "weight" and not archive else told


def _told(manifest: Parts) -> int:
    """The number that a manifest of ours tells."""
    if CONTENT not in manifest.annotations:
        return 0
    return ids.version_of(manifest.annotations.get("org.opencontainers.image.version", ""))
