"""Layers become an image that has a name: settings, configuration, manifest, bill of materials, tag."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serinus import __version__
from serinus.contract import Contract
from serinus.image import CONTRACT, SETTINGS, WORKDIR, Base, Built, Layer, install
from serinus.image import manifest as manifests
from serinus.image import sbom as sboms
from serinus.image.cache import layer_key
from serinus.image.lock import Lock, normalised
from serinus.image.settings import settings
from serinus.image.sources import ModelPlace, text
from serinus.image.stages import Gathered, Workshop
from serinus.models.digest import model_digest
from serinus.project import Project
from serinus.registry import Descriptor
from serinus.registry.layout import Layout


@dataclass(frozen=True, slots=True)
class Parts:
    """What the images of all platforms share."""

    project: Project
    contract: Contract | None
    code: Gathered
    model: ModelPlace | None
    contents: Mapping[str, str]
    """Of the model: path inside the image -> hexadecimal SHA-256."""
    told: Mapping[str, str]
    """Standard annotations by short name."""

    @property
    def origin(self) -> dict[str, str]:
        """Where a model that was fetched comes from, as the bill of materials says it."""
        model = self.model
        said = {"serinus:model:source": model.uri, "serinus:model:manifest": model.manifest} if model else {}
        return {name: value for name, value in said.items() if value}

    @property
    def facts(self) -> manifests.Facts:
        """What the image says about itself."""
        service, contract = self.project.service, self.contract
        promised = Contract(contract.request, contract.response).to_json() if contract else None
        told = {"version": service.version or "", **self.told}
        digest, model = model_digest(self.contents), self.model
        origin = (model.uri, model.manifest) if model else ("", "")
        return manifests.Facts(service.name, service.port, promised, digest, *origin, told)


@dataclass(frozen=True, slots=True)
class Image:
    """The image of one platform, its layers in the layout, not yet named."""

    base: Base
    layers: tuple[Layer, ...]
    """Those above the base."""
    config: manifests.Document
    manifest: manifests.Document

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configuration and layers."""
        layers = (*self.base.layers, *self.layers)
        return (self.config.descriptor, *(layer.descriptor for layer in layers))


def compose(shop: Workshop, parts: Parts, base: Base, below: Sequence[Layer]) -> Image:
    """The image of one platform: the code with its settings and contract on top of the other layers."""
    code = parts.code
    if parts.contract is not None:
        code += text(CONTRACT, parts.contract.to_json().encode())
    stamp = _stamp((*base.layers, *below), code)
    told = settings(
        parts.project,
        model=parts.model.path if parts.model else None,
        contract=CONTRACT if parts.contract else None,
        build=stamp,
    )
    code += text(SETTINGS, told.to_json().encode())
    top, _ = shop.layers("code", code)
    layers = (*below, *top)
    config = manifests.configuration(base, layers, parts.facts)
    return Image(base, layers, config, manifests.manifest(base, layers, config, parts.facts))


def _stamp(below: Sequence[Layer], code: Gathered) -> str:
    """Digest over the image's layers, as far as it can stand inside one of them."""
    known = {item.path: code.known.get(item.path, str(item.size)) for item in code.items}
    lines = (*(layer.diff_id for layer in below), layer_key(code.items, known, compress=True))
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def attach_sbom(parts: Parts, layout: Layout, image: Image, lock: Lock, tree: Path) -> None:
    """Write the configuration and the bill of materials, which refers to the manifest that comes after it."""
    subject = image.manifest.descriptor
    contains = sboms.Contains(image.base, _packages(lock, tree), _model_files(parts.contents), parts.origin)
    bill = sboms.sbom(parts.project.service.name, __version__, contains)
    for document in (image.config, bill, manifests.NOTHING):
        if not layout.has(document.descriptor):
            with layout.new_blob() as blob:
                blob.write(document.body)
    attached = manifests.referrer(subject, bill.descriptor)
    layout.write_manifest(attached.descriptor, attached.body)


def name_images(layout: Layout, images: Sequence[Image], facts: manifests.Facts, reference: str) -> Built:
    """Write the manifests, and the index where there are several; then move the tag."""
    first = images[0]
    top = first.manifest
    if len(images) > 1:
        for image in images:
            layout.write_manifest(image.manifest.descriptor, image.manifest.body)
        top = manifests.index([image.manifest.descriptor for image in images], facts)
    layout.write_manifest(top.descriptor, top.body, [reference])
    stored = {blob.digest: blob.size for image in images for blob in image.blobs}
    return Built(top.descriptor, reference, (*first.base.layers, *first.layers), sum(stored.values()))


def _packages(lock: Lock, tree: Path) -> tuple[sboms.Package, ...]:
    hashes = {normalised(pin.name): pin.hashes for pin in lock.pins}
    found = install.packages(tree)
    return tuple(sboms.Package(name, version, hashes.get(name, ())) for name, version in found)


def _model_files(contents: Mapping[str, str]) -> tuple[sboms.ModelFile, ...]:
    place = f"{WORKDIR}/".lstrip("/")
    shown = ((os.fsencode(path).decode(errors="replace"), digest) for path, digest in contents.items())
    return tuple(sboms.ModelFile(path.removeprefix(place), digest) for path, digest in shown)
