"""Layers and facts -> image configuration, manifest and index, as bytes. Pure.

Follows the OCI image specification 1.1 (config, manifest, index, predefined annotation keys). No time, host
or user is in them: equal inputs give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serinus.image import (
    LABEL_CONTRACT,
    LABEL_MODEL,
    LABEL_MODEL_MANIFEST,
    LABEL_MODEL_SOURCE,
    LIBRARY,
    RUNTIME,
    SBOM_TYPE,
    SETTINGS,
    USER,
    WORKDIR,
    Base,
    Layer,
)
from serinus.registry import CONFIG, EMPTY, INDEX, LAYER, LAYER_GZIP, MANIFEST, Descriptor

CREATED = "1970-01-01T00:00:00Z"
"""The specification wants a date where one is given; ours says nothing, as reproducible images do."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STANDARD = "org.opencontainers.image."
_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
}

ENVIRONMENT: Mapping[str, str] = {
    "LANG": "C.UTF-8",
    # ONNX Runtime 1.29 and later sends telemetry from Linux unless this is set (its Privacy.md).
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": f"{RUNTIME}:{LIBRARY}",
    "PYTHONUNBUFFERED": "1",
    "SERINUS_SETTINGS": SETTINGS,
}
"""What every image sets, over what its base sets."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image says about itself."""

    title: str
    port: int
    contract: str | None = None
    """Canonical text of the contract without its examples."""
    model: str | None = None
    """``sha256:`` digest of the model's content."""
    source: str = ""
    """Resolved URI of a model that was fetched."""
    source_manifest: str = ""
    """Digest of its manifest, where it has one."""
    told: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further standard annotations by their short names (``version``, ``source``, ``revision``), if told."""


@dataclass(frozen=True, slots=True)
class Document:
    """JSON that is stored: its bytes and what they are."""

    descriptor: Descriptor
    body: bytes


def document(media_type: str, value: Any, **members: Any) -> Document:
    """A JSON value as the bytes that are stored, and their descriptor.

    Args:
        media_type: of the descriptor.
        value: encoded with sorted keys and without spaces.
        members: further members of the descriptor.
    """
    body = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return Document(describe(media_type, body, **members), body)


def describe(media_type: str, body: bytes, **members: Any) -> Descriptor:
    """The descriptor of bytes."""
    return Descriptor(media_type, "sha256:" + hashlib.sha256(body).hexdigest(), len(body), **members)


NOTHING = document(EMPTY, {})
"""The empty JSON object, which the specification gives manifests that need no configuration."""


def configuration(base: Base, layers: Sequence[Layer], facts: Facts) -> Document:
    """The image configuration.

    Args:
        base: what the image stands on; its environment, labels and volumes are inherited, what it would run
            and what its labels say about itself are not.
        layers: those above the base, in order.
        facts: what the image says about itself.
    """
    inherited = dict(base.config.get("config") or {})
    for member in ("Cmd", "Healthcheck", "OnBuild", "ArgsEscaped", "Shell"):
        inherited.pop(member, None)
    runs = {
        "Entrypoint": [base.interpreter, "-m", "serinus.serving"],
        "Env": environment(inherited.get("Env") or ()),
        "ExposedPorts": {**(inherited.get("ExposedPorts") or {}), f"{facts.port}/tcp": {}},
        "Labels": labels(inherited.get("Labels") or {}, base, facts),
        "StopSignal": "SIGTERM",
        "User": USER,
        "WorkingDir": WORKDIR,
    }
    platform = base.platform
    value = {
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "created": CREATED,
        "config": {**inherited, **runs},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in (*base.layers, *layers)]},
        "history": [*_base_history(base), *(_step(layer.name) for layer in layers)],
    }
    return document(CONFIG, value)


def environment(base: Iterable[str]) -> list[str]:
    """``NAME=value`` lines: those of the base in its order, a PATH in any case, and :data:`ENVIRONMENT`."""
    values = {"PATH": _PATH}
    for line in base:
        name, _, value = line.partition("=")
        values[name] = value
    values.update(ENVIRONMENT)
    return [f"{name}={value}" for name, value in values.items()]


def labels(inherited: Mapping[str, str], base: Base, facts: Facts) -> dict[str, str]:
    """The standard labels, the contract, the model, and the base's labels but for those that say the same."""
    kept = {name: value for name, value in inherited.items() if not name.startswith((_STANDARD, LABEL_MODEL))}
    ours = standard(base, facts)
    if facts.contract is not None:
        ours[LABEL_CONTRACT] = facts.contract
    if facts.model is not None:
        ours[LABEL_MODEL] = facts.model
    if facts.source:
        ours[LABEL_MODEL_SOURCE] = facts.source
    if facts.source_manifest:
        ours[LABEL_MODEL_MANIFEST] = facts.source_manifest
    return {**kept, **ours}


def standard(base: Base, facts: Facts) -> dict[str, str]:
    """The standard annotations (``org.opencontainers.image.*``)."""
    named = {**facts.told, "title": facts.title, "base.name": base.reference, "base.digest": base.digest}
    return {_STANDARD + name: value for name, value in named.items() if value}


def manifest(base: Base, layers: Sequence[Layer], config: Document, facts: Facts) -> Document:
    """The manifest of one platform's image."""
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor.to_json(),
        "layers": [_stored(layer).to_json() for layer in (*base.layers, *layers)],
        "annotations": standard(base, facts),
    }
    return document(MANIFEST, value, platform=base.platform)


def index(manifests: Sequence[Descriptor], facts: Facts) -> Document:
    """The index of a multi-platform image, in the order of the manifests, which carry their platforms."""
    value = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor.to_json() for descriptor in manifests],
        "annotations": {_STANDARD + "title": facts.title},
    }
    return document(INDEX, value)


def referrer(
    subject: Descriptor, content: Descriptor, annotations: Mapping[str, str] | None = None
) -> Document:
    """The manifest that attaches something (an SBOM, a report) to an image, after the specification.

    Args:
        subject: the image's manifest or index.
        content: what is attached.
        annotations: of the manifest; an SBOM has its title by default.
    """
    plain = Descriptor(subject.media_type, subject.digest, subject.size)
    title = {_STANDARD + "title": "sbom.cdx.json"} if content.media_type == SBOM_TYPE else {}
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": content.media_type,
        "config": NOTHING.descriptor.to_json(),
        "layers": [content.to_json()],
        "subject": plain.to_json(),
        "annotations": dict(annotations or title),
    }
    return document(MANIFEST, value, artifact_type=content.media_type)


def _stored(layer: Layer) -> Descriptor:
    """The layer with the media type of the specification: Docker's own names mean the same."""
    found = layer.descriptor
    return Descriptor(_OCI_TYPES.get(found.media_type, found.media_type), found.digest, found.size)


def _base_history(base: Base) -> list[dict[str, Any]]:
    """What the base says about its layers, if it says something about each; one line a layer otherwise."""
    told = [dict(entry) for entry in base.config.get("history") or ()]
    if sum(not entry.get("empty_layer") for entry in told) == len(base.layers):
        return told
    return [_step("base") for _ in base.layers]


def _step(name: str) -> dict[str, Any]:
    return {"created": CREATED, "created_by": f"serinus build: {name}"}
