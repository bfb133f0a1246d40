"""The model registry in an OCI layout folder: nothing to start, nothing to log in to."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from serinus.errors import ModelError
from serinus.files import write_atomically
from serinus.models import local
from serinus.models.ids import version_of
from serinus.models.local import Local
from serinus.models.manifest import Stored
from serinus.models.shelf import Make
from serinus.registry import Descriptor
from serinus.registry.layout import Layout

NUMBERS = "serinus-models.json"
"""File in the layout: model -> the highest number that it ever gave, also when that version is gone."""
_UNUSED = 86400.0
"""Seconds after which what no version needs is dropped: what registrations that were killed have left."""


def names(layout: Layout) -> tuple[str, ...]:
    """The models that a layout holds versions of."""
    found = {name for name, _, tag in (t.partition(":") for t in layout.tags()) if version_of(tag)}
    return tuple(sorted(found))


class LayoutShelf:
    """The versions of one model in a layout.

    Args:
        layout: the folder; it is made by the first version.
        name: of the model.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._name = name
        self._sizes: frozenset[int] | None = None

    @property
    def where(self) -> str:
        """The place, for messages."""
        return f"the layout {self._layout.root}"

    @property
    def source(self) -> Layout:
        """The layout."""
        return self._layout

    def tags(self) -> tuple[str, ...]:
        """Versions and aliases."""
        return tuple(self._own(self._layout.tags()))

    def resolve(self, name: str) -> Descriptor:
        """The manifest of a tag or a digest.

        Raises:
            NotFound: there is none.
        """
        return self._layout.resolve(name if name.startswith("sha256:") else self._tag(name))

    def store(self, file: Local, progress: Callable[[int, int | None], None]) -> tuple[Stored, str]:
        """Store a file: hashed while it is written, or before where its size makes it likely to be there.

        Raises:
            ModelError: it was changed meanwhile, or cannot be read.
            RegistryError: the disk is full, or may not be written to.
        """
        if self._sizes is None:
            blobs = self._layout.root.glob("blobs/sha256/[!.]*")
            self._sizes = frozenset(blob.stat().st_size for blob in blobs)
        if file.size in self._sizes:
            digest = f"sha256:{local.hashed(file, lambda done: progress(done, file.size))}"
            if self._touched(Descriptor("", digest, file.size)):
                return Stored(file.path, digest, file.size), "present"
        with self._layout.new_blob() as blob:
            for piece in local.pieces(file):
                blob.write(piece)
                progress(blob.size, file.size)
        return Stored(file.path, blob.digest, blob.size), "written"

    def publish(self, make: Make, aliases: Sequence[str]) -> tuple[int, Descriptor]:
        """Take the next number under the folder's lock, and store the version under it and the aliases.

        Raises:
            NotFound: a file was dropped from the layout meanwhile.
            RegistryError: the disk is full, or may not be written to.
        """
        number = 0

        def next_one(tags: Mapping[str, Descriptor]) -> tuple[Descriptor, bytes, Sequence[str]]:
            nonlocal number
            given = self._given()
            number = max([0, given.get(self._name, 0), *(version_of(t) for t in self._own(tags))]) + 1
            # The number is given before the version is there: a kill between the two leaves a gap, and
            # never one number for two versions.
            document = json.dumps({**given, self._name: number}, sort_keys=True)
            write_atomically(self._layout.root / NUMBERS, document.encode(), durable=True, mode=0o644)
            made = make(number, "")
            self._layout.write(made.config, lambda: io.BytesIO(made.configuration))
            return made.descriptor, made.body, [self._tag(t) for t in (str(number), *aliases)]

        descriptor = self._layout.write_next(next_one)
        self._layout.collect(_UNUSED)
        return number, descriptor

    def point(self, alias: str, descriptor: Descriptor) -> None:
        """Let an alias point at a version that is there."""
        self._layout.write_manifest(descriptor, self._layout.manifest(descriptor), [self._tag(alias)])

    def _tag(self, tag: str) -> str:
        return f"{self._name}:{tag}"

    def _own(self, tags: Mapping[str, Descriptor]) -> Iterator[str]:
        prefix = f"{self._name}:"
        return (tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))

    def _touched(self, descriptor: Descriptor) -> bool:
        """Whether a blob is there; its time says from now on that somebody counts on it."""
        if not self._layout.has(descriptor):
            return False
        return self._layout.write(descriptor, io.BytesIO) == "present"

    def _given(self) -> dict[str, int]:
        path = Path(self._layout.root / NUMBERS)
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(n, int) for n in found.values()):
            raise ModelError(
                f"{path} is damaged, expected a JSON object of numbers",
                "Remove it: the numbers go on from the versions that are there.",
            )
        return found
