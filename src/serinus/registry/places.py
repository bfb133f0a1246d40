"""Places where images are, as a person writes them: a registry reference, or ``oci:PATH[:TAG]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serinus.errors import RegistryError
from serinus.registry.layout import Layout
from serinus.registry.reference import Reference, parse

if TYPE_CHECKING:
    from serinus.registry.client import Repository

OCI = "oci:"

Connect = Callable[[Reference], "Repository"]
"""Opens a repository of a registry."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image is or goes: a folder with an OCI layout, or a repository; and its name there."""

    text: str
    name: str
    """Tag or digest in the layout or the repository."""
    folder: Path | None = None
    reference: Reference | None = None


def place(text: str) -> Place:
    """Read ``oci:PATH[:TAG]`` or a registry reference; without a tag it is ``latest``.

    Raises:
        RegistryError: neither; the message says which part is wrong.
    """
    if not text.startswith(OCI):
        reference = parse(text)
        return Place(str(reference), reference.name, reference=reference)
    path, tag = split_tag(text.removeprefix(OCI))
    if not path:
        raise RegistryError(f"{text!r} names no folder", "Write oci:PATH or oci:PATH:TAG.")
    return Place(text, tag, folder=Path(path))


def split_tag(rest: str) -> tuple[str, str]:
    """``PATH[:TAG]`` as path and tag; a colon before the last slash is part of the path."""
    path, colon, tag = rest.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (rest, "latest")


def connect(reference: Reference) -> Repository:
    """The repository of a reference, over HTTP."""
    from serinus.registry.client import Repository

    return Repository(reference)


@contextmanager
def opened(where: Place, connect: Connect = connect) -> Iterator[Layout | Repository]:
    """The place as a source and target; connections are closed at the end of the block."""
    if where.folder is not None:
        yield Layout(where.folder)
        return
    if where.reference is None:
        raise RegistryError(f"{where.text!r} is no place for an image", "Name a reference or oci:PATH.")
    with connect(where.reference) as repository:
        yield repository
