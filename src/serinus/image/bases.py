"""What is known about base images, kept in the cache so that a build that has seen its base asks nobody."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.files import write_atomically
from serinus.image import Base, Layer
from serinus.registry import Descriptor, Platform
from serinus.registry.layout import Layout

_FACTS = 1
"""Form of the notes: those of another form are not read."""


@dataclass(frozen=True)
class Store:
    """Bases in the cache: their images in one layout, what is known about each in a file."""

    root: Path

    @property
    def layout(self) -> Layout:
        """The images; each is tagged with the hexadecimal part of its digest."""
        return Layout(self.root / "layout")

    def known(self, digest: str) -> Base | None:
        """What is known about the base of a digest, if its layers may be here."""
        try:
            return _from_facts(json.loads(self._facts(digest).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a damaged note is the same as none

    def keep(self, base: Base) -> None:
        """Note what is known about a base."""
        write_atomically(self._facts(base.digest), json.dumps(_facts(base), sort_keys=True).encode())

    def current(self, name: str) -> tuple[str, float] | None:
        """The digest that a name stood for when it was last made, and when that was (seconds, epoch)."""
        try:
            digest, made = self._name(name).read_text().split()
            return digest, float(made)
        except (OSError, ValueError):
            return None

    def point(self, name: str, digest: str, now: float) -> None:
        """Note that a name stands for a digest from now on."""
        write_atomically(self._name(name), f"{digest} {now}\n".encode())

    def _facts(self, digest: str) -> Path:
        return self.root / "facts" / f"{digest.partition(':')[2]}.json"

    def _name(self, name: str) -> Path:
        return self.root / "names" / hashlib.sha256(name.encode()).hexdigest()[:32]


def _facts(base: Base) -> dict[str, Any]:
    return {
        "version": _FACTS,
        "reference": base.reference,
        "digest": base.digest,
        "platform": [base.platform.os, base.platform.architecture, base.platform.variant],
        "layers": [
            [x.descriptor.media_type, x.descriptor.digest, x.descriptor.size, x.diff_id] for x in base.layers
        ],
        "config": base.config,
        "python": base.python,
        "interpreter": base.interpreter,
        "packages": base.packages,
    }


def _from_facts(facts: dict[str, Any]) -> Base | None:
    if facts["version"] != _FACTS:
        return None
    layers = tuple(
        Layer("base", Descriptor(kind, digest, size), diff) for kind, digest, size, diff in facts["layers"]
    )
    packages = tuple((name, version, architecture) for name, version, architecture in facts["packages"])
    return Base(
        facts["reference"], facts["digest"], Platform(*facts["platform"]), layers, facts["config"],
        facts["python"], facts["interpreter"], packages,
    )  # fmt: skip
