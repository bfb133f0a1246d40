"""Bringing a project's model to this machine: asked for once, verified, kept in the cache.

A source whose address fixes the content (a digest, a commit) is served from the cache and nobody is asked.
Any other is asked what there is now, which is one question; files travel only when the cache has not got
them. A version that never changes is also served while its place cannot be reached, and that is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from serinus.errors import ModelError, SourceUnavailable, Unavailable
from serinus.events import Noted, Observer, Step, ignore, step
from serinus.files import cache_folder
from serinus.models import Found, Source
from serinus.models.address import EXAMPLES, parse
from serinus.models.cache import Cached, Kept
from serinus.models.forms import Address, Artifact, Local, Registered, Web
from serinus.models.sources import open_source
from serinus.project import Fetched, Project


class OpenSource(Protocol):
    """Opens the source that an address names: :func:`serinus.models.sources.open_source`, or another."""

    def __call__(self, address: Address, *, root: Path, registry: str) -> Source:
        """The source, not yet asked."""
        ...


def address_of(project: Project) -> Address | None:
    """Where the model of a project comes from; None where it names none.

    A file that is there is meant before anything else of the same name.

    Raises:
        ModelError: ``model.source`` cannot be read.
    """
    named = project.model.source or project.model.path
    if named is None:
        return None
    if project.model.source is None or os.path.lexists(project.root / named):
        return Local(named)
    return _pinned(parse(named), project.model.digest)


def elsewhere(project: Project) -> Address | None:
    """As :func:`address_of`, but None also for a file or folder of this machine: nothing need be fetched."""
    address = address_of(project)
    return None if isinstance(address, Local) else address


def resolve(project: Project, *, open_source: OpenSource = open_source) -> Found:
    """What the project's source has now: one question, and no file travels.

    Raises:
        ModelError: there is no such model, it cannot be asked for, or it is on this machine.
    """
    address = elsewhere(project)
    if address is None:
        raise ModelError(
            f"the model {project.model.source or project.model.path} is on this machine, or there is none",
            f"Set model.source to an id of the model registry or to a URI, like {EXAMPLES['s3']}.",
        )
    return open_source(address, root=project.root, registry=project.models.registry).find()


def fetch(
    project: Project,
    observer: Observer = ignore,
    *,
    cache: Path | None = None,
    open_source: OpenSource = open_source,
) -> Fetched | None:
    """Bring the model of a project to this machine, unless it is here.

    Args:
        project: names the model.
        observer: told of the step ``model``, and when a source could not be asked.
        cache: the user's cache folder; default :func:`serinus.files.cache_folder`.
        open_source: opens the source of an address.

    Returns:
        Where it is and what it is; None where the project's model comes from no other place.

    Raises:
        ModelError: there is no such model, or it cannot be had; and what failed says which login is missing.
        RegistryError: the same, of a model registry.
    """
    address = elsewhere(project)
    if address is None:
        return None
    cached = Cached.of(cache or cache_folder(), _key(address, project))
    opened = partial(open_source, address, root=project.root, registry=project.models.registry)
    with step("model", observer) as told:
        kept = _kept(address, cached, opened, told, observer)
    return _fetched(address, kept)


def _kept(
    address: Address, cached: Cached, opened: Callable[[], Source], told: Step, observer: Observer
) -> Kept:
    """The model in the cache, brought there where it is not."""
    before = cached.named(str(address)) if address.fixed else None
    if before is not None:
        told.detail = f"{before.found.uri}, cached"
        if address.exact:
            return before
    source = opened()
    try:
        found = source.find()
    except (SourceUnavailable, Unavailable) as error:
        if before is None:
            raise
        observer(Noted(f"{error.message}; using {before.found.uri}, which was fetched before"))
        return before
    if kept := cached.get(found.identity):
        kept = replace(kept, found=found)
        told.detail = f"{found.uri}, cached"
    else:
        # Another process may have brought it meanwhile, for somebody who calls it by another name.
        kept = replace(
            cached.put(found, lambda folder: source.fetch(found, folder, told.progress)), found=found
        )
        told.detail = f"{found.uri}, {sum(file.size for file in kept.files.values())} bytes"
    if address.fixed:
        cached.name(str(address), kept)
    return kept


def _fetched(address: Address, kept: Kept) -> Fetched:
    name = kept.path.name if len(kept.files) == 1 else address.name
    files = {path: file.digest for path, file in kept.files.items()}
    return Fetched(kept.path, name, kept.found.uri, kept.digest, kept.found.facts.get("manifest", ""), files)


def _key(address: Address, project: Project) -> str:
    """A text that no other place has: what is not in the address is said by the project or by variables."""
    match address:
        case Registered():
            return f"{_place(project.models.registry, project.root)}\n{address.place}"
        case Artifact(reference=None):
            return _place(address.place, project.root)
    told = (f"{name}={os.environ[name]}" for name in _TELLING if name in os.environ)
    return "\n".join((address.place, *told))


_TELLING = (
    "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE",
    "AWS_REGION", "AWS_DEFAULT_REGION", "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_CONNECTION_STRING", "AZURE_SUBSCRIPTION_ID", "HF_ENDPOINT",
)  # fmt: skip
"""Variables by which the libraries know which server, account or region is meant."""


def _place(text: str, root: Path) -> str:
    """A place for models, a layout's folder as an absolute path."""
    if not text.startswith("oci:") or text.startswith("oci://"):
        return text
    path, colon, tag = text.removeprefix("oci:").partition(":")
    return f"oci:{os.path.realpath(root / path)}{colon}{tag}"


def _pinned(address: Address, digest: str | None) -> Address:
    """The address of a file in the web with the digest that the project says it has.

    Raises:
        ModelError: the URL says another one.
    """
    if not isinstance(address, Web) or digest is None:
        return address
    if address.sha256 and digest != f"sha256:{address.sha256}":
        raise ModelError(
            f"model.source says sha256={address.sha256}, and model.digest {digest}",
            "Keep the one that is right.",
        )
    return replace(address, sha256=digest.removeprefix("sha256:"))
