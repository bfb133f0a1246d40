"""The image: a project becomes an OCI image, without a container engine.

``build.build`` is the flow, one module a stage::

    lock        requirements -> serinus.lock -> an installed tree for the target's Python and platform
    base        debian:bookworm | a registry reference | oci:PATH -> layers, configuration, Python version
    bytecode    sources -> what the base's own Python (borrowed) compiles them to (pyc)
    select      the project's folder -> the files that belong in the image; a secret stops it
    layers      files -> a reproducible tar, compressed or not -> a blob
    manifest    layers and facts -> configuration, manifest, index (pure)
    sbom        lock and base -> CycloneDX (pure)
    archive     an image in a layout -> docker-archive, or into an engine
    dockerfile  the same service for ``docker build``

What lies where inside the image is said here, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from serinus.registry import Descriptor, Platform

WORKDIR = "/srv"
"""The project's code, and its model at ``[model] path``; the working directory of the service."""
LIBRARY = "/opt/serinus/lib"
"""The locked dependencies."""
RUNTIME = "/opt/serinus/runtime"
"""The serving part of Serinus."""
SETTINGS = "/opt/serinus/service.json"
"""``serving.Settings`` as JSON."""
CONTRACT = "/opt/serinus/contract.json"
"""The contract, canonical text."""
USER = "65532:65532"
"""``nonroot``: the number that distroless images use, so that policies know it."""

LABEL_CONTRACT = "dev.serinus.contract"
"""Label: the contract's canonical text without examples."""
LABEL_MODEL = "dev.serinus.model"
"""Label: ``sha256:`` digest of the model layer's content."""
LABEL_MODEL_SOURCE = "dev.serinus.model.source"
"""Label: the URI of a model that was fetched, with a version or a digest where the project has an alias."""
LABEL_MODEL_MANIFEST = "dev.serinus.model.manifest"
"""Label: digest of the manifest of a model that is an OCI artifact."""
SBOM_TYPE = "application/vnd.cyclonedx+json"
"""Artifact type of the SBOM referrer."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that lies in the layout as a blob."""

    name: str
    """``base``, ``bytecode``, ``dependencies``, ``runtime``, ``model`` or ``code``."""
    descriptor: Descriptor
    diff_id: str
    """Digest of the uncompressed tar."""
    cached: bool = False
    """Whether it was there already and nothing was packed."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base image for one platform, its blobs in the layout."""

    reference: str
    """As the project says it."""
    digest: str
    """Of its manifest: what ``org.opencontainers.image.base.digest`` records."""
    platform: Platform
    layers: tuple[Layer, ...]
    config: dict[str, Any] = field(hash=False)
    """The OCI image configuration, decoded."""
    python: str
    """``3.11``: the minor version of its Python."""
    interpreter: str
    """Path of that Python inside the image, ``/usr/bin/python3``."""
    packages: tuple[tuple[str, str, str], ...] = ()
    """Debian packages as (name, version, architecture), for the SBOM."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build gives back."""

    descriptor: Descriptor
    """Of the manifest, or of the index when there is more than one platform."""
    reference: str
    """Name and tag in the layout."""
    layers: tuple[Layer, ...]
    """Of the first platform."""
    size: int
    """Bytes of all layers and configurations, as stored, each counted once."""
