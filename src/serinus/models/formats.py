"""How a model lies in an OCI artifact, read from its manifest. Pure.

Three formats are read. The CNCF ModelPack specification (``modelpack/model-spec``, ``docs/spec.md`` and
``docs/annotations.md``), also under its older name ``cnai``: layers are files, or archives of files. The
ModelKit of KitOps (``kitops-ml/kitops``, ``pkg/artifact`` and ``pkg/lib/filesystem``): archives, whose paths
the configuration (the Kitfile) completes in kits of the first versions. And what ``oras push`` makes: each
layer is a file that its ``org.opencontainers.image.title`` names, or an archive of a folder.

Paths come from strangers: they are refused when they would lead out of the folder that they are unpacked in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from serinus.errors import ModelError
from serinus.registry import INDEXES, Descriptor
from serinus.registry.content import Parts

MANIFEST_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
KIT_CONFIG = "application/vnd.kitops.modelkit.config.v1+json"
FILEPATH = "org.cncf.model.filepath"
FILE_METADATA = "org.cncf.model.file.metadata+json"
TITLE = "org.opencontainers.image.title"
_ORAS_UNPACK = "io.deis.oras.content.unpack"

_MODELPACK = re.compile(
    r"application/vnd\.(?:cncf|cnai)\.model\.(weight\.config|weight|config|doc|code|dataset)\.v1"
    r"(?:\.(raw|tar)(?:\+(gzip|zstd))?)?(\+json)?"
)
_MODELPACKS = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")
_KIT = re.compile(
    r"application/vnd\.kitops\.modelkit\.(modelpart|model|config|docs|code|dataset|mcpb)\.v1"
    r"(?:\.(raw|tar)(?:\+(gzip|zstd))?)?(\+json)?"
)
_KIT_KINDS = {"modelpart": "weight.config", "model": "weight", "docs": "doc", "mcpb": "code"}
_KIT_MEMBERS = {"modelpart": "parts", "code": "code", "dataset": "datasets", "docs": "docs"}
_BROKEN = "Push the model again at its source; what is there cannot be used."


@dataclass(frozen=True, slots=True)
class Part:
    """A layer of a model: one file, or an archive of files."""

    descriptor: Descriptor
    path: str
    """Of the file; of an archive the folder that its names count from, ``""`` for the model's own."""
    archive: bool = False
    """Whether it is a tar of files, and not a file."""
    compression: str = ""
    """``gzip``, ``zstd`` or none."""
    kind: str = "weight"
    """What it is for, in ModelPack's words: ``weight``, ``weight.config``, ``doc``, ``code``, ``dataset``."""
    executable: bool = False


def safe_path(written: str, where: str) -> str:
    """A path from an artifact, when it stays inside the folder that it is unpacked in.

    Args:
        written: as it stands there.
        where: names the artifact, for the error.

    Raises:
        ModelError: it is absolute, climbs with ``..``, names nothing, or holds a NUL.
    """
    pure = PurePosixPath(written)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in written:
        raise ModelError(
            f"{where} holds the path {written!r}, expected a relative one that stays inside the model",
            "Do not use this artifact: such a path is not written by accident.",
        )
    return pure.as_posix()


def is_kit(parts: Parts) -> bool:
    """Whether a manifest is that of a ModelKit, so that :func:`parts_of` wants its configuration."""
    return bool(parts.blobs) and parts.blobs[0].media_type == KIT_CONFIG


def parts_of(manifest: Parts, where: str, config: bytes = b"") -> tuple[Part, ...]:
    """The files and archives that a model artifact is made of, in the manifest's order.

    Args:
        manifest: as ``registry.content.parse_manifest`` gives it.
        where: names the artifact, for errors.
        config: the configuration's bytes; only a ModelKit's is looked at.

    Raises:
        ModelError: it is no model, or holds paths or layers that cannot be unpacked.
    """
    if manifest.media_type in INDEXES:
        raise ModelError(
            f"{where} is an index of {len(manifest.manifests)} manifests, expected one model",
            "Name one of them by its digest.",
        )
    layers = manifest.blobs[1:]
    if is_kit(manifest):
        found = tuple(_kit_parts(layers, _decoded(config, where), where))
    elif any(kind.startswith(_MODELPACKS) for kind in (manifest.artifact_type, manifest.blobs[0].media_type)):
        found = tuple(_modelpack_parts(layers, where))
    else:
        found = tuple(_plain_parts(layers, where))
    if not found:
        raise ModelError(f"{where} holds no files, expected those of a model", _BROKEN)
    refuse_collisions((p.path for p in found if not p.archive), where)
    return found


def refuse_collisions(paths: Iterator[str] | Sequence[str], where: str) -> None:
    """See that no path stands twice, and none is both a file and a folder.

    Raises:
        ModelError: one is.
    """
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise ModelError(f"{where} holds the path {path!r} twice", _BROKEN)
        seen.add(path)
    for path in seen:
        for above in PurePosixPath(path).parents:
            if str(above) in seen:
                raise ModelError(f"{where} holds {str(above)!r} as a file, and {path!r} inside it", _BROKEN)


def _modelpack_parts(layers: Sequence[Descriptor], where: str) -> Iterator[Part]:
    for layer in layers:
        match = _MODELPACK.fullmatch(layer.media_type)
        if match and match[1] != "config":
            yield _part(layer, match[1], match, where)
        elif layer.media_type != KIT_CONFIG:  # KitOps may put its Kitfile beside the model
            raise _unknown(layer, where)


def _kit_parts(layers: Sequence[Descriptor], kitfile: Mapping[str, Any], where: str) -> Iterator[Part]:
    counts: dict[str, int] = {}
    for layer in layers:
        match = _KIT.fullmatch(layer.media_type)
        if not match or match[1] == "config":
            raise _unknown(layer, where)
        count = counts[match[1]] = counts.get(match[1], -1) + 1
        entry = _kit_entry(kitfile, match[1], count)
        # Kits of the first versions have no digests here; names in their archives count from its folder.
        told = "" if entry.get("digest") else str(entry.get("path") or "")
        above = str(PurePosixPath(told).parent) if told else ""
        base = "" if above in {"", "."} else safe_path(above, where)
        kind = _KIT_KINDS.get(match[1], match[1])
        yield _part(layer, kind, match, where, base)
    if "model" not in counts and (based := _kit_entry(kitfile, "model", 0).get("path")):
        raise ModelError(
            f"{where} is a ModelKit whose model is in another one, {based}; only whole ones can be read",
            "Name that one, or pack the kit with its model.",
        )


def _kit_entry(kitfile: Mapping[str, Any], kind: str, count: int) -> Mapping[str, Any]:
    """What the Kitfile says about a layer: its entries stand in the order of the layers."""
    model = kitfile.get("model")
    model = model if isinstance(model, dict) else {}
    if kind == "model":
        return model
    listed = (model if kind == "modelpart" else kitfile).get(_KIT_MEMBERS.get(kind, kind))
    entry = listed[count] if isinstance(listed, list) and count < len(listed) else {}
    return entry if isinstance(entry, dict) else {}


def _plain_parts(layers: Sequence[Descriptor], where: str) -> Iterator[Part]:
    for layer in layers:
        if TITLE not in layer.annotations:
            raise _unknown(layer, where)
        if layer.annotations.get(_ORAS_UNPACK) == "true":
            compression = "gzip" if layer.media_type.endswith("gzip") else ""
            yield Part(layer, "", archive=True, compression=compression)
        else:
            yield _part(layer, "weight", None, where)


def _part(layer: Descriptor, kind: str, match: re.Match[str] | None, where: str, base: str = "") -> Part:
    form, compression = (match[2] or "raw", match[3] or "") if match else ("raw", "")
    if form == "tar":
        return Part(layer, base, archive=True, compression=compression, kind=kind)
    written = layer.annotations.get(FILEPATH) or layer.annotations.get(TITLE, "")
    path = safe_path(written, f"the layer {layer.digest} of {where}")
    return Part(layer, path, compression=compression, kind=kind, executable=_executable(layer))


def _executable(layer: Descriptor) -> bool:
    try:
        mode = json.loads(layer.annotations.get(FILE_METADATA, "{}"))["mode"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return isinstance(mode, int) and bool(mode & 0o100)


def _decoded(config: bytes, where: str) -> Mapping[str, Any]:
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ModelError(f"the configuration of {where} is no JSON object, expected a Kitfile", _BROKEN)
    return document


def _unknown(layer: Descriptor, where: str) -> ModelError:
    return ModelError(
        f"{where} has a layer of type {layer.media_type} without a file's name, expected a model: "
        "ModelPack, a ModelKit, or files that oras pushed",
        "Check the reference: images are pulled by `serinus pull`.",
    )
