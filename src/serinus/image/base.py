"""The base image: where it comes from, and whether it fits.

Three kinds of ``[image] base``::

    debian:bookworm             assembled here from packages, by mmdebstrap
    docker.io/library/python:3  any reference of a registry: tag or digest
    oci:PATH[:TAG]              an image of another layout folder

All end as an image of a layout in the cache, with what is known about it kept beside (``bases.Store``); so a
build that has seen its base before asks for a few files and nothing else. The lock says which base that is:

- With a locked digest that is the base, wherever it can still be had; the tag is not asked again.
- Without one, or when asked to refresh, a tag is resolved anew. A Debian base that was assembled within
  :data:`FRESH` is taken from the cache, an older one assembled again.
- Debian keeps only current packages, so a locked Debian base that no cache has cannot be made again: another
  takes its place, and that is told; where the lock must hold it is an error.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from serinus.errors import BaseError, NotFound, RegistryError
from serinus.events import Noted, Observer, ignore, step
from serinus.files import cache_folder
from serinus.image import Base, Layer
from serinus.image.bases import Store
from serinus.registry import (
    CONFIG,
    DOCKER_MANIFEST,
    INDEXES,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Platform,
    Source,
)
from serinus.registry.layout import Layout

DEFAULT = "debian:bookworm"
FALLBACK = "docker.io/library/python:3.11-slim"
"""Stands in for the default base where mmdebstrap is not installed."""
FRESH = 7 * 86400.0
"""Seconds that an assembled base is taken for a project that has not locked one."""

_LAYERS = {
    LAYER: LAYER,
    LAYER_GZIP: LAYER_GZIP,
    LAYER_ZSTD: LAYER_ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}
_CONFIGS = (CONFIG, "application/vnd.docker.container.image.v1+json")

Kind = Literal["debian", "oci", "registry"]


class Assemble(Protocol):
    """Makes a Debian base: as :func:`serinus.image.debian.assemble`."""

    def __call__(
        self, suite: str, platform: Platform, layout: Layout, *, observer: Observer = ignore
    ) -> Descriptor:
        """Assemble a base into a layout."""
        ...


Connect = Callable[[str], AbstractContextManager[tuple[Source, str]]]
"""Opens what a reference names: a source, and the tag or digest to ask it for."""


def parse(reference: str) -> tuple[Kind, str]:
    """What kind of base a reference names, and what follows its scheme. Pure.

    ``debian:`` and one of Debian's code names is assembled; ``debian:12-slim`` is Docker Hub's image.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "oci" and rest:
        return "oci", rest
    if scheme == "debian" and re.fullmatch(r"[a-z]+", rest) and rest != "latest":
        return "debian", rest
    return "registry", reference


def assemble(suite: str, platform: Platform, layout: Layout, *, observer: Observer = ignore) -> Descriptor:
    """Assemble a Debian base; the module that does it is loaded only for that."""
    from serinus.image import debian

    return debian.assemble(suite, platform, layout, observer=observer)


@contextmanager
def connect(reference: str) -> Iterator[tuple[Source, str]]:
    """Open the repository of a registry.

    Raises:
        RegistryError: not a reference.
    """
    from serinus.registry.client import Repository
    from serinus.registry.reference import parse as parse_reference

    parsed = parse_reference(reference)
    with Repository(parsed) as repository:
        yield repository, parsed.name


@dataclass(frozen=True)
class _Resolver:
    """One resolution: what was asked for, and the collaborators."""

    reference: str
    platform: Platform
    store: Store
    root: Path
    observer: Observer
    assemble: Assemble
    connect: Connect
    clock: Callable[[], float]

    def cached(self, locked: str | None) -> Base | None:
        """The base without asking anybody, where that is allowed."""
        if locked:
            return self._complete(locked)
        kind, _ = parse(self.reference)
        current = self.store.current(self._debian_name) if kind == "debian" else None
        if current and self.clock() - current[1] < FRESH:
            return self._complete(current[0])
        return None

    def fetched(self, locked: str | None) -> Base:
        """The base from where it comes from, and kept."""
        kind, rest = parse(self.reference)
        if kind == "debian":
            return self._debian(rest, locked)
        if kind == "oci":
            from serinus.registry.places import split_tag

            path, tag = split_tag(rest)
            return self._copied(Layout(self.root / path), locked or tag)
        with self.connect(self.reference) as (source, name):
            return self._copied(source, locked or name)

    def _complete(self, digest: str) -> Base | None:
        base = self.store.known(digest)
        if base is None or base.platform != self.platform:
            return None
        layout = self.store.layout
        return base if all(layout.has(layer.descriptor) for layer in base.layers) else None

    def _debian(self, suite: str, locked: str | None) -> Base:
        from serinus.image import debian

        try:
            descriptor = self.assemble(suite, self.platform, self.store.layout, observer=self.observer)
        except debian.NotInstalledError as missing:
            if self.reference != DEFAULT:
                raise
            return replace(self, reference=FALLBACK)._instead(self.reference, missing, locked)
        base = self._read(self.store.layout, descriptor)
        self.store.point(self._debian_name, base.digest, self.clock())
        return base

    def _instead(self, wanted: str, missing: BaseError, locked: str | None) -> Base:
        """A registry's image in place of one that cannot be assembled; the locked one, if it is of those."""
        self.observer(Noted(f"{missing.message}: {FALLBACK} is the base in place of {wanted}"))
        try:
            with self.connect(FALLBACK) as (source, name):
                if locked:
                    with suppress(NotFound):
                        return self._copied(source, locked)
                return self._copied(source, name)
        except RegistryError as error:
            raise BaseError(
                f"{missing.message}, and {FALLBACK}, which would stand in, cannot be had: {error.message}",
                missing.todo,
            ) from error

    @property
    def _debian_name(self) -> str:
        from serinus.image.debian import PACKAGES, RECIPE

        return "\0".join((self.reference, str(self.platform), str(RECIPE), *PACKAGES))

    def _copied(self, source: Source, name: str) -> Base:
        from serinus.registry.copy import copy

        store = self.store.layout
        with step("base", self.observer) as told:
            descriptor = chosen(source, source.resolve(name), self.platform, self.reference)
            tag = descriptor.digest.partition(":")[2]
            copy(source, store, descriptor.digest, [tag], observer=self.observer)
            base = self._read(store, descriptor)
            told.detail = f"{sum(layer.descriptor.size for layer in base.layers) / 1e6:.1f} MB"
        return base

    def _read(self, layout: Layout, descriptor: Descriptor) -> Base:
        base = read(layout, descriptor, self.platform, self.reference)
        self.store.keep(base)
        return base


def resolve(
    reference: str,
    platform: Platform,
    layout: Layout,
    *,
    python: str | None = None,
    locked: str | None = None,
    strict: bool = False,
    refresh: bool = False,
    root: Path | None = None,
    cache: Path | None = None,
    observer: Observer = ignore,
    assemble: Assemble = assemble,
    connect: Connect = connect,
    clock: Callable[[], float] = time.time,
) -> Base:
    """The base image of a platform, its layers in ``layout``.

    Args:
        reference: as the project says it.
        platform: for which.
        layout: gets the layers (hard links into the cache where the file system allows).
        python: minor version that the base must have; None takes any.
        locked: digest of its manifest in the lock, if there is one.
        strict: the locked digest must hold; without one it is an error too.
        refresh: resolve anew, whatever the lock and the cache say.
        root: folder that ``oci:PATH`` is relative to; None is the current one.
        cache: the cache's folder; None takes the usual one.
        observer: told of the step ``base`` when something is fetched, and of what a person should know.
        assemble: makes a Debian base.
        connect: opens a registry.
        clock: seconds since the epoch.

    Returns:
        The base. Its ``digest`` belongs into the lock.

    Raises:
        BaseError: there is no such base for the platform, it has no Python or another one, it is made for
            musl, or it is not the locked one.
        RegistryError: the registry refused or could not be reached.
    """
    if strict and locked is None:
        raise BaseError(
            f"the lock has no base image {reference} for {platform}",
            "Run `serinus build` without --locked, and commit the lock.",
        )
    wanted = None if refresh else locked
    store = Store((cache or cache_folder()) / "bases")
    resolver = _Resolver(reference, platform, store, root or Path(), observer, assemble, connect, clock)
    base = None if refresh else resolver.cached(wanted)
    cached = base is not None
    base = base or resolver.fetched(wanted)
    if (reference, base.reference) != (DEFAULT, FALLBACK):
        base = replace(base, reference=reference)
    _hold(base, locked, strict, observer)
    _fit(base, python)
    return _placed(base, store.layout, layout, cached)


def _hold(base: Base, locked: str | None, strict: bool, observer: Observer) -> None:
    """Compare with the lock."""
    if locked is None or base.digest == locked:
        return
    found = f"the base {base.reference} for {base.platform} is now {base.digest}; the lock has {locked}"
    if strict:
        why = (
            "; this machine has not kept that one, and Debian keeps only current packages"
            if parse(base.reference)[0] == "debian"
            else ""
        )
        raise BaseError(found + why, "Run `serinus build` without --locked, test, and commit the lock.")
    observer(Noted(f"{found}, and is brought up to date"))


def _fit(base: Base, python: str | None) -> None:
    if python is not None and base.python != python:
        raise BaseError(
            f"the base {base.reference} has Python {base.python} ({base.interpreter}); "
            f"the dependencies are locked for Python {python}",
            f'Set python = "{base.python}" in [image], or name a base with Python {python}.',
        )


def _placed(base: Base, store: Layout, layout: Layout, cached: bool) -> Base:
    """The base with its layers in the project's layout."""
    for layer in base.layers:
        if not layout.has(layer.descriptor):
            layout.adopt(store.path(layer.descriptor.digest), layer.descriptor.digest)
    return replace(base, layers=tuple(replace(layer, cached=cached) for layer in base.layers))


def chosen(source: Source, descriptor: Descriptor, platform: Platform, reference: str) -> Descriptor:
    """The manifest of a platform: of an index the fitting one, of a manifest itself.

    Raises:
        BaseError: the index has none for the platform; the message names those it has.
    """
    if descriptor.media_type not in INDEXES:
        return descriptor
    from serinus.registry.content import parse_manifest

    manifests = parse_manifest(source.manifest(descriptor), descriptor).manifests
    for m in manifests:
        if m.platform and fits(m.platform, platform):
            return chosen(source, m, platform, reference)
    # An attestation of a build is listed as a manifest of an unknown platform.
    there = sorted({str(m.platform) for m in manifests if m.platform and m.platform.os != "unknown"})
    raise BaseError(
        f"the base {reference} has no image for {platform}; it has {', '.join(there) or 'no platforms'}",
        "Name another base, or build for one of these platforms: [image] platforms.",
    )


def fits(offered: Platform, wanted: Platform) -> bool:
    """Whether an image of one platform runs on another: arm64 is arm64/v8, and no variant asks for none."""

    def plain(p: Platform) -> Platform:
        return Platform(
            p.os, p.architecture, "" if (p.architecture, p.variant) == ("arm64", "v8") else p.variant
        )

    a, b = plain(offered), plain(wanted)
    return (a.os, a.architecture) == (b.os, b.architecture) and b.variant in ("", a.variant)


def read(layout: Layout, descriptor: Descriptor, platform: Platform, reference: str) -> Base:
    """Read an image of a layout as a base: its layers, configuration, Python and packages.

    Raises:
        BaseError: it is not an image for the platform, or nothing in it can run wheels.
    """
    from serinus.image.scan import PATH, open_layer, python_of, scan

    stored, config = _image(layout, descriptor, reference)
    _check_platform(config, platform, reference)
    environment = dict(e.partition("=")[::2] for e in (config.get("config") or {}).get("Env") or [])
    path = environment.get("PATH", PATH)
    held = scan([partial(open_layer, layout.path(d.digest)) for d, _ in stored], path)
    if held.musl and not held.glibc:
        raise BaseError(
            f"the base {reference} is made for musl; the packages' wheels are made for glibc",
            "Name a base with glibc: debian:bookworm, or an image that is not Alpine's.",
        )
    python = python_of(held, path, environment.get("PYTHON_VERSION"))
    if python is None:
        raise BaseError(
            f"the base {reference} has no Python: no python3.N in {path}",
            f"Name a base with Python, like {DEFAULT} or {FALLBACK}.",
        )
    layers = tuple(Layer("base", d, diff_id) for d, diff_id in stored)
    return Base(reference, descriptor.digest, platform, layers, config, *python, held.packages)


def _image(
    layout: Layout, descriptor: Descriptor, reference: str
) -> tuple[list[tuple[Descriptor, str]], dict[str, Any]]:
    """The layers with their diff ids, and the configuration; media types as OCI names them."""
    from serinus.registry.content import parse_descriptor

    manifest = json.loads(layout.manifest(descriptor))
    described = parse_descriptor(manifest.get("config"), f"config of {reference}")
    if descriptor.media_type not in (MANIFEST, DOCKER_MANIFEST) or described.media_type not in _CONFIGS:
        raise BaseError(
            f"the base {reference} is not an image but {described.media_type}", "Name a container image."
        )
    with layout.blob(described) as file:
        config = json.loads(file.read())
    stored = [parse_descriptor(d, f"layer of {reference}") for d in manifest["layers"]]
    diff_ids = config.get("rootfs", {}).get("diff_ids", [])
    for d in stored:
        if d.media_type not in _LAYERS:
            raise BaseError(
                f"a layer of the base {reference} is {d.media_type}; expected one of {', '.join(_LAYERS)}",
                "Name a base whose layers may be distributed.",
            )
    if len(diff_ids) != len(stored):
        raise BaseError(
            f"the base {reference} has {len(stored)} layers and {len(diff_ids)} diff ids", "Build it again."
        )
    plain = [Descriptor(_LAYERS[d.media_type], d.digest, d.size) for d in stored]
    return list(zip(plain, diff_ids, strict=True)), config


def _check_platform(config: dict[str, Any], platform: Platform, reference: str) -> None:
    found = Platform(config.get("os", ""), config.get("architecture", ""), config.get("variant", ""))
    if not fits(found, platform):
        raise BaseError(
            f"the base {reference} is for {found}, not for {platform}",
            "Name another base, or build for its platform: [image] platforms.",
        )
