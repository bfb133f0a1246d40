"""Admission: what a person named becomes a version, or is refused before anything starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from serinus.checks.gate import admit
from serinus.contract import Contract
from serinus.environment.place import absolute
from serinus.errors import NotFound, RegistryError
from serinus.events import Observer, ignore
from serinus.image import LABEL_CONTRACT
from serinus.image.build import layout_of
from serinus.image.publish import pull
from serinus.project import Project
from serinus.registry import Descriptor, Platform, this_platform
from serinus.registry.content import is_digest
from serinus.registry.layout import Layout
from serinus.registry.places import OCI, Connect, connect
from serinus.rollout.state import Version
from serinus.runtimes.launch import Image, read

PIN = "environment:"
"""How the tags begin that keep a version's image in the layout, whatever becomes of the tag that it had."""


class Admission:
    """Finds images for an environment, lets them pass, and sees that they stay.

    Args:
        project: says what a report must show (``deploy.require``).
        layout: the environment's; default the project's. Every version lies there.
        platform: of the machine that runs replicas.
        observer: told the progress of downloads.
        connect: opens a registry.
    """

    def __init__(
        self,
        project: Project,
        layout: Layout | None = None,
        *,
        platform: Platform | None = None,
        observer: Observer = ignore,
        connect: Connect = connect,
    ) -> None:
        self._project = project
        self.layout = layout or layout_of(project)
        self._platform = platform or this_platform()
        self._observer = observer
        self._connect = connect

    def __call__(self, image: str) -> Version:
        """The version of an image.

        Args:
            image: a tag or digest of the layout, ``oci:PATH[:TAG]`` (relative to the project), or a reference
                in a registry. What is not in the layout is brought there.

        Raises:
            NotFound: there is none, or none for this platform.
            CheckError: its report does not show what is required.
            ContractError: it carries a contract that cannot be read.
            RegistryError: as the registry answers, or the image is malformed.
        """
        named = self._found(image)
        admit(self.layout, named, self._project.deploy.require)
        try:
            found = read(self.layout, named, self._platform)
            config = _config(self.layout, found)
            _check_platform(image, config, self._platform)
            label = ((config.get("config") or {}).get("Labels") or {}).get(LABEL_CONTRACT)
            contract = Contract.from_json(label).to_json() if label else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"the image {image} is malformed: {error!r}", "Build it again.") from None
        return Version(
            digest=named.digest,
            name=self._called(image),
            layout=str(self.layout.root.absolute()),
            contract=contract,
            records=found.launch.is_serinus,
        )

    def pin(self, digest: str) -> None:
        """See that an image stays in the layout. A build takes the tag away, and then what has none.

        Raises:
            NotFound: it is not there.
        """
        named = self.layout.resolve(digest)
        self.layout.write_manifest(named, self.layout.manifest(named), [f"{PIN}{digest}"])

    def keep(self, digests: Iterable[str]) -> None:
        """See that these images stay, as far as they are there, and let go of all others."""
        wanted = {f"{PIN}{digest}": digest for digest in digests}
        there = {tag for tag in self.layout.tags() if tag.startswith(PIN)}
        for tag in there - set(wanted):
            self.layout.remove(tag)
        for tag in set(wanted) - there:
            with suppress(NotFound):
                self.pin(wanted[tag])

    def _found(self, image: str) -> Descriptor:
        if "/" not in image and not image.startswith(OCI):
            return self.layout.resolve(image)
        # The tag may have moved since it was pulled last: what the registry says now is what is meant.
        where = absolute(image, self._project.root)
        return pull(where, self.layout, observer=self._observer, connect=self._connect)

    def _called(self, image: str) -> str:
        """A name for people: a tag, where only a digest was given and one points at it."""
        if not is_digest(image):
            return image
        tags = (tag for tag, described in self.layout.tags().items() if described.digest == image)
        return next((tag for tag in tags if not tag.startswith(PIN)), image)


def _config(layout: Layout, image: Image) -> Mapping[str, Any]:
    with layout.blob(image.config) as blob:
        config: Mapping[str, Any] = json.loads(blob.read())
    return config


def _check_platform(name: str, config: Mapping[str, Any], platform: Platform) -> None:
    """Hold an image of one platform to this one: only indexes were chosen from until here."""
    found = (config.get("os") or platform.os, config.get("architecture") or platform.architecture)
    if found != (platform.os, platform.architecture):
        raise NotFound(
            f"the image {name} is for {'/'.join(found)}, and this machine is {platform}",
            f"Build it with --platform {platform}.",
        )
