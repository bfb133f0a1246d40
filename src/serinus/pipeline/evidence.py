"""What is in front of a person who is asked: metrics beside those of the version in charge, plots, texts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from serinus.errors import ModelError, RegistryError
from serinus.pipeline import Approval
from serinus.pipeline.contents import Index, Missing, digest_of, entries
from serinus.pipeline.key import key_of_question
from serinus.project import Project

MetricsOf = Callable[[str], Mapping[str, float]]
"""The metrics that were registered with a model, by its id; ModelError where there is none."""

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp"})
_TEXT = 4000
"""Characters of a text that are shown."""
_MOST = 200
"""Metrics of a file that are shown."""
_DEEP = 4 << 20
"""Bytes of a JSON file that is read for metrics."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is shown, and the key of the question about it."""

    key: str
    document: Mapping[str, Any]


def gather(
    root: Path, approval: Approval, index: Index, metrics_of: MetricsOf, mask: Callable[[str], str]
) -> Evidence:
    """What a person is to see before they answer.

    Args:
        root: the project's folder.
        approval: the question.
        index: knows digests of files.
        metrics_of: asks the model registry.
        mask: takes secrets out of a text.

    Raises:
        Missing: a file that is to be shown is not there.
        OSError: one cannot be read.
    """
    shown, metrics, digests = [], {}, {}
    for path in approval.show:
        try:
            digests[path] = digest_of(entries(root / path, index))
        except Missing as missing:
            raise Missing(f"{path}, which is to be shown, {missing}") from None
        one, found = _file(root, path, mask)
        shown.append(one)
        metrics.update({name: value for name, value in found.items() if name not in metrics})
    old, note = _in_charge(approval.against, metrics_of)
    names = [*metrics, *(name for name in old if name not in metrics and not metrics)]
    document = {
        "question": approval.question,
        "against": approval.against,
        "note": note,
        "metrics": [{"name": mask(n), "new": metrics.get(n), "old": _old(n, old)} for n in names],
        "files": shown,
    }
    return Evidence(key_of_question(approval, digests), document)


def _file(root: Path, path: str, mask: Callable[[str], str]) -> tuple[dict[str, Any], dict[str, float]]:
    """One file as it is shown, and the metrics in it."""
    file = root / path
    kind = PurePosixPath(path).suffix.lower()
    if kind in _IMAGES:
        return {"path": path, "kind": "image"}, {}
    if file.is_dir():
        return {"path": path, "kind": "folder"}, {}
    if kind == ".json" and file.stat().st_size <= _DEEP:
        try:
            found = dict(list(flat(json.loads(file.read_bytes())))[:_MOST])
        except (ValueError, RecursionError):
            found = {}
        if found:
            return {"path": path, "kind": "metrics"}, found
    with file.open("rb") as stream:
        data = stream.read(4 * _TEXT)
    text = mask(data.decode("utf-8", "replace"))[:_TEXT]
    return {"path": path, "kind": "text", "text": text}, {}


def flat(document: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a JSON document by dotted names; lists are not metrics."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield from flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(document, int | float) and not isinstance(document, bool) and math.isfinite(document):
        yield path or "value", document


def _in_charge(model: str, metrics_of: MetricsOf) -> tuple[Mapping[str, float], str]:
    if not model:
        return {}, ""
    try:
        return metrics_of(model), ""
    except (ModelError, RegistryError) as error:
        return {}, f"nothing to compare with: {error.message}"


def _old(name: str, old: Mapping[str, float]) -> float | None:
    """The metric of that name of the version in charge; its last part will do where it is the only one."""
    if name in old:
        return old[name]
    last = name.rpartition(".")[2]
    alike = [value for other, value in old.items() if other.rpartition(".")[2] == last]
    return alike[0] if len(alike) == 1 else None


def metrics_in(project: Project) -> MetricsOf:
    """Asks the project's model registry."""

    def ask(model: str) -> Mapping[str, float]:
        from serinus.models.registry import ModelRegistry

        return dict(ModelRegistry.of(project).resolve(model).facts.metrics)

    return ask


def rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The metrics as a table for a person: name, new, in charge, difference; the first row is the head."""
    against = document["against"] or "before"
    found = [("metric", "new", against, "difference")]
    for one in document["metrics"]:
        new, old = one["new"], one["old"]
        difference = "" if new is None or old is None else f"{new - old:+.4g}"
        found.append((one["name"], _number(new), _number(old), difference))
    return found


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
