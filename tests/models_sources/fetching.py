"""What the tests of the sources share: a model's content, a project around a source, and fetching it."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path

from serinus.events import Event, Noted
from serinus.models.fetch import OpenSource, fetch
from serinus.models.sources import open_source
from serinus.project import Fetched, Model, Models, Project, Service

LARGE = random.Random(1).randbytes(3_000_000)
FILES = {"model.onnx": LARGE, "sub/tokenizer.json": b'{"vocabulary": 3}'}


def sha256(data: bytes) -> str:
    """``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def project(
    root: Path, source: str | None, *, registry: str = "oci:.serinus/models", digest: str | None = None
) -> Project:
    """A project whose model comes from ``source``."""
    model = Model(source=source, digest=digest)
    return Project(root=root, service=Service(name="mood"), model=model, models=Models(registry=registry))


@dataclass
class Machine:
    """A machine with a cache of its own."""

    root: Path
    events: list[Event] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def fetch(self, source: str, *, opened: OpenSource = open_source, **options: str) -> Fetched:
        """Fetch from a source."""
        self.events.clear()
        made = project(self.root, source, **options)
        found = fetch(made, self.events.append, cache=self.cache, open_source=opened)
        assert found is not None
        return found

    @property
    def notes(self) -> list[str]:
        """What was noted while fetching."""
        return [event.message for event in self.events if isinstance(event, Noted)]

    def left(self) -> list[Path]:
        """What is not whole."""
        return list(self.cache.rglob(".serinus-*"))


def contents(found: Fetched) -> dict[str, bytes]:
    """The files of a model that was fetched."""
    if found.path.is_file():
        return {found.path.name: found.path.read_bytes()}
    files = (file for file in found.path.rglob("*") if file.is_file())
    return {file.relative_to(found.path).as_posix(): file.read_bytes() for file in files}
