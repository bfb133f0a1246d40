"""What is known about a version of a model, and how it stands in an OCI manifest. Pure.

A version never changes, so that all of this lies in the manifest, whose digest covers it: the standard
annotations of OCI where there is one, and ``dev.serinus.model.*`` beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serinus.errors import ModelError

Value = bool | int | float | str
"""Of a parameter."""

_OCI = "org.opencontainers.image."
_OURS = "dev.serinus.model."
CONTENT = f"{_OURS}digest"
CLAIM = f"{_OURS}claim"
"""Annotation: the claim by which a registry's version was taken."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from."""

    commit: str = ""
    """Of the git repository that it was registered from."""
    clean: bool | None = None
    """Whether that had no changes that were not committed; None without a repository."""
    repository: str = ""
    """The address of its ``origin``, without a password."""
    data: Mapping[str, str] = field(default_factory=dict, hash=False)
    """File of training data, as it was named -> ``sha256:<hex>`` of its content."""
    pipeline: str = ""
    run: str = ""
    """Id of the pipeline's run."""
    who: str = ""
    """User and machine."""

    def to_json(self) -> dict[str, Any]:
        """As JSON; empty members are left out."""
        members = {
            "commit": self.commit,
            "clean": self.clean,
            "repository": self.repository,
            "data": dict(self.data),
            "pipeline": self.pipeline,
            "run": self.run,
            "who": self.who,
        }
        return {name: value for name, value in members.items() if value not in ("", {}, None)}


@dataclass(frozen=True, slots=True)
class Facts:
    """What was said when a version was registered."""

    created: str = ""
    """When it was registered (RFC 3339, UTC)."""
    content: str = ""
    """Digest over the files, equal for equal files: ``models.digest.model_digest``."""
    note: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    params: Mapping[str, Value] = field(default_factory=dict, hash=False)
    interface: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """ONNX file -> ``{"inputs": {name: "float32[?, 3]"}, "outputs": ..., "opset": 21}``."""
    lineage: Lineage = Lineage()
    claim: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON, for programs; every member stands there."""
        return {
            "created": self.created,
            "content": self.content,
            "note": self.note,
            "metrics": dict(self.metrics),
            "params": dict(self.params),
            "interface": dict(self.interface),
            "lineage": self.lineage.to_json(),
        }


def to_annotations(name: str, version: int, facts: Facts) -> dict[str, str]:
    """The annotations of a version's manifest."""
    documents: dict[str, Any] = {
        "metrics": facts.metrics,
        "params": facts.params,
        "interface": facts.interface,
        "lineage": facts.lineage.to_json(),
    }
    told = {
        f"{_OCI}title": name,
        f"{_OCI}version": str(version),
        f"{_OCI}created": facts.created,
        f"{_OCI}description": facts.note,
        f"{_OCI}revision": facts.lineage.commit,
        f"{_OCI}source": facts.lineage.repository,
        f"{_OCI}authors": facts.lineage.who,
        CONTENT: facts.content,
        CLAIM: facts.claim,
        **{f"{_OURS}{key}": _compact(value) for key, value in documents.items() if value},
    }
    return {key: value for key, value in told.items() if value}


def facts_of(told: Mapping[str, str]) -> Facts:
    """The facts in a manifest's annotations; what others have written there in another form is left out."""
    lineage = _document(told, "lineage")
    data = lineage.get("data")
    clean = lineage.get("clean")
    return Facts(
        created=told.get(f"{_OCI}created", ""),
        content=told.get(CONTENT, ""),
        note=told.get(f"{_OCI}description", ""),
        metrics={k: float(v) for k, v in _document(told, "metrics").items() if _is_number(v)},
        params={
            k: v for k, v in _document(told, "params").items() if isinstance(v, bool | int | float | str)
        },
        interface={k: v for k, v in _document(told, "interface").items() if isinstance(v, dict)},
        lineage=Lineage(
            commit=told.get(f"{_OCI}revision", ""),
            clean=clean if isinstance(clean, bool) else None,
            repository=told.get(f"{_OCI}source", ""),
            data={k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {},
            pipeline=_word(lineage, "pipeline"),
            run=_word(lineage, "run"),
            who=told.get(f"{_OCI}authors", ""),
        ),
        claim=told.get(CLAIM, ""),
    )


def parse_metric(text: str) -> tuple[str, float]:
    """Read ``accuracy=0.91``.

    Raises:
        ModelError: no name, or no finite number.
    """
    name, value = _pair(text, "accuracy=0.91")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ModelError(
            f"the metric {text!r} has the value {value!r}, expected a finite number", "Write accuracy=0.91."
        )
    return name, number


def parse_param(text: str) -> tuple[str, Value]:
    """Read ``epochs=3``, ``rate=1e-4``, ``freeze=true``, ``optimizer=adam``.

    Raises:
        ModelError: no name.
    """
    name, value = _pair(text, "epochs=3")
    if value in {"true", "false"}:
        return name, value == "true"
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if math.isfinite(number) and "_" not in value and value == value.strip():
            return name, number
    return name, value


def check_metrics(found: Any, where: str) -> dict[str, float]:
    """Metrics from decoded JSON: an object of finite numbers.

    Raises:
        ModelError: it is something else; the message says where.
    """
    if not isinstance(found, dict):
        raise ModelError(f"{where} is no JSON object", 'Write one like {"accuracy": 0.91}.')
    for name, value in found.items():
        if not _is_number(value) or not math.isfinite(value):
            raise ModelError(
                f"{where} has {json.dumps(value)} as {name!r}, expected a finite number",
                'Write one like {"accuracy": 0.91}.',
            )
    return {name: float(value) for name, value in found.items()}


def _pair(text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ModelError(f"{text!r} has no name or no '=', expected NAME=VALUE", f"Write {example}.")
    return name.strip(), value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)


def _document(told: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        found = json.loads(told.get(f"{_OURS}{key}", "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _word(document: Mapping[str, Any], key: str) -> str:
    found = document.get(key, "")
    return found if isinstance(found, str) else ""
