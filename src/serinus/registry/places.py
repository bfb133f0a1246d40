"""Places where images are, as a person writes them: a registry reference, or ``oci:PATH[:TAG]``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from serinus.errors import RegistryError
from serinus.registry.layout import Layout
from serinus.registry.reference import Reference, parse

if TYPE_CHECKING:
    from serinus.registry.client import Repository

OCI = "oci:"


class Connect(Protocol):
    """Opens a repository of a registry."""

    def __call__(self, reference: Reference, *, mount_from: Sequence[str] = ()) -> Repository:
        """The repository; ``mount_from`` names others of the same registry that may have its blobs."""
        ...


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


def split_tag(rest: str, default: str = "latest") -> tuple[str, str]:
    """``PATH[:TAG]`` as path and tag. The path ends at the first colon, as skopeo has it."""
    path, _, tag = rest.partition(":")
    return path, tag or default


def connect(reference: Reference, *, mount_from: Sequence[str] = ()) -> Repository:
    """The repository of a reference, over HTTP."""
    from serinus.registry.client import Repository

    return Repository(reference, mount_from=mount_from)


@contextmanager
def opened(
    where: Place, connect: Connect = connect, mount_from: Sequence[Reference] = ()
) -> Iterator[Layout | Repository]:
    """The place as a source and target; connections are closed at the end of the block.

    Args:
        where: the place.
        connect: opens a registry.
        mount_from: repositories that may have its blobs; those of another registry are left out.
    """
    if where.folder is not None:
        yield Layout(where.folder)
        return
    if where.reference is None:
        raise RegistryError(f"{where.text!r} is no place for an image", "Name a reference or oci:PATH.")
    near = [r.repository for r in mount_from if r.registry == where.reference.registry]
    with connect(where.reference, mount_from=near) as repository:
        yield repository
