"""What is in an image, as a CycloneDX bill of materials. Pure.

Follows CycloneDX 1.6 (ECMA-424) in JSON and the package URL specification (types ``pypi``, ``deb``, ``oci``).
It names no image: it is attached to one as a referrer, so that images which differ in their code alone share
it. The serial number is made from the content (a name-based UUID, RFC 9562 version 5) and there is no time in
it: the same parts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from serinus.image import SBOM_TYPE, Base
from serinus.image.lock import normalised
from serinus.image.manifest import Document, document

_NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562, "NameSpace_URL"
_ALGORITHMS = {
    "md5": "MD5",
    "sha1": "SHA-1",
    "sha256": "SHA-256",
    "sha384": "SHA-384",
    "sha512": "SHA-512",
}


@dataclass(frozen=True, slots=True)
class Package:
    """An installed Python package."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    """``sha256:<hex>`` of each distribution file that the lock allows."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of the model."""

    path: str
    """In the image, relative to the working directory."""
    digest: str
    """Hexadecimal SHA-256."""


@dataclass(frozen=True, slots=True)
class Contains:
    """What is in an image."""

    base: Base
    packages: tuple[Package, ...]
    model: tuple[ModelFile, ...]
    origin: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Properties of the model's files: where the model comes from, if it was fetched."""


def sbom(name: str, version: str, contains: Contains) -> Document:
    """The bill of materials of an image.

    Args:
        name: of the service.
        version: of Serinus, the tool that made it.
        contains: what is in it.
    """
    root = f"image:{name}"
    components = [
        *(_python(package) for package in sorted(contains.packages, key=lambda p: (p.name, p.version))),
        *(_debian(package, contains.base.reference) for package in sorted(contains.base.packages)),
        *(_model(file, contains.origin) for file in sorted(contains.model, key=lambda f: f.path)),
    ]
    value: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": root, "name": name},
            "tools": {"components": [{"type": "application", "name": "serinus", "version": version}]},
            "properties": [
                {"name": "serinus:base:name", "value": contains.base.reference},
                {"name": "serinus:base:digest", "value": contains.base.digest},
            ],
        },
        "components": components,
        "dependencies": [_depends(root, components)],
    }
    content = document(SBOM_TYPE, value).descriptor.digest
    return document(SBOM_TYPE, value | {"serialNumber": f"urn:uuid:{uuid5(_NAMESPACE, content)}"})


def _depends(root: str, components: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"ref": root, "dependsOn": [component["bom-ref"] for component in components]}


def _python(package: Package) -> dict[str, Any]:
    name = normalised(package.name)
    purl = f"pkg:pypi/{name}@{_quoted(package.version)}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": package.version,
        "purl": purl,
        **({"hashes": hashes} if (hashes := _hashes(package.hashes)) else {}),
    }


def _hashes(digests: Iterable[str]) -> list[dict[str, str]]:
    split = (digest.partition(":") for digest in sorted(set(digests)))
    return [{"alg": _ALGORITHMS[a], "content": content} for a, _, content in split if a in _ALGORITHMS]


def _debian(package: tuple[str, str, str], reference: str) -> dict[str, Any]:
    name, version, architecture = package
    distribution = (
        f"&distro={_quoted(reference.partition(':')[2])}" if reference.startswith("debian:") else ""
    )
    purl = f"pkg:deb/debian/{_quoted(name)}@{_quoted(version)}?arch={_quoted(architecture)}{distribution}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _model(file: ModelFile, origin: Mapping[str, str]) -> dict[str, Any]:
    properties = [{"name": name, "value": value} for name, value in sorted(origin.items())]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{file.path}",
        "name": file.path,
        "version": f"sha256:{file.digest}",
        "hashes": [{"alg": "SHA-256", "content": file.digest}],
        **({"properties": properties} if properties else {}),
    }


def _quoted(text: str) -> str:
    """Percent-encoded as package URLs want it: all but letters, digits and ``.-_~:``."""
    from urllib.parse import quote

    return quote(text, safe=".-_~:")
