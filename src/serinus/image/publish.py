"""Publishing: an image of the project's layout to registries, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from serinus.errors import NotFound, ProjectError, RegistryError
from serinus.events import Observer, ignore
from serinus.project import Project
from serinus.registry import Descriptor, Platform, Source
from serinus.registry.copy import copy
from serinus.registry.layout import Layout
from serinus.registry.places import OCI, Connect, connect, opened, place
from serinus.registry.reference import Reference, parse


@dataclass(frozen=True, slots=True)
class Published:
    """An image that was pushed."""

    reference: str
    digest: str
    sent: int
    """Bytes of request bodies that travelled; 0 for a layout folder."""


def publish(
    project: Project,
    layout: Layout,
    name: str,
    references: Sequence[str] = (),
    *,
    jobs: int = 4,
    observer: Observer = ignore,
    connect: Connect = connect,
) -> tuple[Published, ...]:
    """Push an image, with what refers to it (its SBOM), to every reference.

    Args:
        project: gives ``image.repository`` where no reference is given.
        layout: holds the image.
        name: tag or digest in the layout.
        references: registry references or ``oci:PATH[:TAG]``; a reference without a tag gets ``latest``.
        jobs: blobs that travel at a time.
        observer: told the progress of each blob.
        connect: opens a registry.

    Raises:
        ProjectError: there is no reference, here or in the project's file.
        NotFound: the layout has no such image.
        RegistryError: as the registry says; nothing was tagged there.
    """
    wanted = tuple(references) or tuple(filter(None, [project.image.repository]))
    if not wanted:
        raise ProjectError(
            "there is no reference to publish to, and the project has no image.repository",
            "Run `serinus publish REGISTRY/REPOSITORY:TAG`, or set image.repository.",
        )
    places = [place(text) for text in wanted]
    for where in places:
        if where.reference is not None and where.reference.digest:
            raise RegistryError(
                f"{where.text} has a digest, and the image's digest is its own",
                "Leave it out, or give a tag.",
            )
    bases = base_of(layout, layout.resolve(name))
    published = []
    for where in places:
        with opened(where, connect, bases) as target:
            done = copy(layout, target, name, [where.name], jobs=jobs, observer=observer, referrers=True)
            sent = 0 if isinstance(target, Layout) else target.traffic.sent
        published.append(Published(where.text, done.digest, sent))
    return tuple(published)


def base_of(source: Source, image: Descriptor) -> tuple[Reference, ...]:
    """The repository that an image's base came from, by its standard annotation; empty for other bases."""
    from serinus.image.base import parse as kind_of

    document = json.loads(source.manifest(image))
    name: str = (document.get("annotations") or {}).get("org.opencontainers.image.base.name", "")
    return (parse(name),) if name and kind_of(name)[0] == "registry" else ()


def pull(
    text: str,
    layout: Layout,
    *,
    platform: str | None = None,
    observer: Observer = ignore,
    connect: Connect = connect,
) -> Descriptor:
    """Bring an image into a layout, under its reference as the tag.

    Args:
        text: a registry reference, or ``oci:PATH[:TAG]``.
        layout: where to.
        platform: of a multi-platform index only this one, like ``linux/arm64``.
        observer: told the progress of each blob.
        connect: opens a registry.

    Raises:
        NotFound, Unauthorized, Unavailable, DigestMismatch: as the registry answers; nothing was tagged.
    """
    where = place(text)
    platforms = None if platform is None else [Platform(*platform.split("/"))]
    with opened(where, connect) as source:
        return copy(
            source, layout, where.name, [where.text], observer=observer, platforms=platforms, referrers=True
        )


def find(
    text: str, layout: Layout, *, observer: Observer = ignore, connect: Connect = connect
) -> tuple[Layout, Descriptor]:
    """An image that a person named: in ``layout`` by tag or digest, in another layout, or in a registry.

    One from a registry is brought into ``layout`` first.

    Returns:
        The layout that holds it, and its descriptor there.

    Raises:
        NotFound: there is none; RegistryError and others as the registry answers.
    """
    if text.startswith(OCI):
        where = place(text)
        with opened(where) as other:
            if isinstance(other, Layout):
                return other, other.resolve(where.name)
    try:
        return layout, layout.resolve(text)
    except NotFound as missing:
        if not _names_a_registry(text):
            raise
        try:
            return layout, pull(text, layout, observer=observer, connect=connect)
        except NotFound as error:
            raise NotFound(f"{error.message}; and {missing.message}", error.todo) from None


def _names_a_registry(text: str) -> bool:
    """Whether a name is meant as a registry's: ``sentiment:latest`` is a tag of the layout."""
    return "/" in text
