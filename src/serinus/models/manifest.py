"""The OCI artifact of a version, in the format of the CNCF ModelPack specification. Pure.

Follows ``spec.md``, ``config.md`` and ``annotations.md`` of ``modelpack/model-spec``. Each file is a layer of
its own, as it is, so that equal files are stored once; its path stands in the annotation of ModelPack, and
again in OCI's title, by which ``oras`` names files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from serinus.errors import ModelError
from serinus.models.facts import Facts, to_annotations
from serinus.models.formats import CONFIG_TYPE, FILEPATH, MANIFEST_TYPE, TITLE
from serinus.registry import MANIFEST, Descriptor
from serinus.registry.content import MANIFEST_LIMIT, digest_of

_WEIGHTS = {".onnx", ".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".keras", ".pb"}
_WEIGHTS |= {".tflite", ".pkl", ".pickle", ".joblib", ".ubj", ".cbm", ".npz", ".npy", ".msgpack", ".mlmodel"}
_CONFIGS = {".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".txt", ".model", ".vocab", ".jinja", ".bpe"}
_DOCS = {".md", ".rst", ".pdf", ".html"}
_CODE = {".py", ".sh", ".ipynb", ".js", ".ts", ".go", ".rs", ".c", ".cc", ".cpp", ".h", ".java", ".r"}
_DATA = {".csv", ".tsv", ".jsonl", ".parquet", ".arrow"}
_DOC_NAMES = ("readme", "license", "licence", "notice", "changelog", "model_card", "copying")
_FORMATS = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".pt": "pytorch",
    ".pth": "pytorch",
}
_FORMATS |= {".tflite": "tflite", ".keras": "keras", ".h5": "keras", ".pb": "tensorflow", ".pkl": "pickle"}
_FORMATS |= {".joblib": "joblib"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a model whose bytes are in the registry."""

    path: str
    """Relative to the model's folder, with slashes."""
    digest: str
    """``sha256:<hex>``."""
    size: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version, ready to be stored."""

    descriptor: Descriptor
    body: bytes
    """The manifest."""
    config: Descriptor
    configuration: bytes


def kind_of(path: str) -> str:
    """What a file is for, by its name, in ModelPack's words.

    ``doc`` (README, LICENSE), ``weight.config`` (tokenizer.json, config.json), ``code``, ``dataset``, and
    ``weight`` for whatever else there is.
    """
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    if name.split(".")[0] in _DOC_NAMES or suffix in _DOCS:
        return "doc"
    kinds = (("weight", _WEIGHTS), ("weight.config", _CONFIGS), ("code", _CODE), ("dataset", _DATA))
    return next((kind for kind, suffixes in kinds if suffix in suffixes), "weight")


def format_of(paths: Sequence[str]) -> str:
    """The format of the weights, where their names tell one and the same; ``""`` otherwise."""
    weights = [PurePosixPath(p).suffix.lower() for p in paths if kind_of(p) == "weight"]
    found = {_FORMATS[suffix] for suffix in weights if suffix in _FORMATS}
    return found.pop() if len(found) == 1 else ""


def artifact(name: str, version: int, files: Sequence[Stored], facts: Facts) -> Artifact:
    """The manifest and configuration of a version.

    Raises:
        ModelError: there are so many files that the manifest is larger than registries take.
    """
    layers = [_layer(f) for f in sorted(files, key=lambda f: f.path)]
    configuration = _encoded(_configuration(name, version, files, facts))
    config = Descriptor(CONFIG_TYPE, digest_of(configuration), len(configuration))
    body = _encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": MANIFEST_TYPE,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
            "annotations": dict(sorted(to_annotations(name, version, facts).items())),
        }
    )
    if len(body) > MANIFEST_LIMIT:
        raise ModelError(
            f"the manifest of {name}:{version} with its {len(files)} files has {len(body)} bytes, expected "
            f"at most {MANIFEST_LIMIT}, which is what registries take",
            "Put small files together into an archive, and register that.",
        )
    descriptor = Descriptor(MANIFEST, digest_of(body), len(body), artifact_type=MANIFEST_TYPE)
    return Artifact(descriptor, body, config, configuration)


def _layer(file: Stored) -> Descriptor:
    media_type = f"application/vnd.cncf.model.{kind_of(file.path)}.v1.raw"
    return Descriptor(media_type, file.digest, file.size, annotations={FILEPATH: file.path, TITLE: file.path})


def _configuration(name: str, version: int, files: Sequence[Stored], facts: Facts) -> dict[str, Any]:
    ordered = sorted(files, key=lambda f: f.path)
    lineage = facts.lineage
    about = {
        "createdAt": facts.created,
        "authors": [lineage.who] if lineage.who else [],
        "name": name,
        "version": str(version),
        "description": facts.note,
        "sourceURL": lineage.repository,
        "revision": lineage.commit,
    }
    form = format_of([f.path for f in ordered])
    return {
        "descriptor": {key: value for key, value in about.items() if value},
        "config": {"format": form} if form else {},
        # A layer is a file as it is, so that its digest is that of its uncompressed content too.
        "modelfs": {"type": "layers", "diffIds": [f.digest for f in ordered]},
    }


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
