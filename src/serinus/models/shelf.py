"""Where versions are kept: an OCI layout folder, or a repository of a registry. One protocol for both.

A shelf holds the versions of one model under tags: ``3``, ``production``. In a layout the model's name stands
before them (``sentiment:3``), since a layout has no repositories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from serinus.models.local import Local
from serinus.models.manifest import Artifact, Stored
from serinus.registry import Descriptor, Source

Make = Callable[[int, str], Artifact]
"""Takes the version's number, and the claim by which it was taken, and gives what is to be stored."""


class Shelf(Protocol):
    """The versions of one model, and its aliases."""

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    @property
    def source(self) -> Source:
        """To read manifests and files from."""
        ...

    def tags(self) -> tuple[str, ...]:
        """Versions, aliases, and what else there is; empty for a model that nobody registered."""
        ...

    def resolve(self, name: str) -> Descriptor:
        """The manifest of a tag or a digest.

        Raises:
            NotFound: there is none.
        """
        ...

    def store(self, file: Local, progress: Callable[[int, int | None], None]) -> tuple[Stored, str]:
        """Store a file, unless it is there; what was stored, and how it came there.

        Raises:
            ModelError: it was changed meanwhile, or cannot be read.
        """
        ...

    def publish(self, make: Make, aliases: Sequence[str]) -> tuple[int, Descriptor]:
        """Take the next number, and store the version under it; then the aliases point at it.

        Raises:
            ModelError: no number could be taken.
        """
        ...

    def point(self, alias: str, descriptor: Descriptor) -> None:
        """Let an alias point at a version that is there."""
        ...
