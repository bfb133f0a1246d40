"""What differs between two versions of a model: files, metrics, parameters, interface. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serinus.models.facts import Facts

Pairs = Mapping[str, tuple[Any, Any]]
"""Name -> what it was and what it is; None where it was not there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """From one version to another; what is equal is left out."""

    files: Pairs = field(default_factory=dict, hash=False)
    """Path -> digests."""
    metrics: Pairs = field(default_factory=dict, hash=False)
    params: Pairs = field(default_factory=dict, hash=False)
    interface: Pairs = field(default_factory=dict, hash=False)
    """``model.onnx inputs.ids`` -> ``int64[?, 128]``."""

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.files or self.metrics or self.params or self.interface)

    def to_json(self) -> dict[str, Any]:
        """As JSON, each difference ``{"from": ..., "to": ...}``."""
        parts = {
            "files": self.files,
            "metrics": self.metrics,
            "params": self.params,
            "interface": self.interface,
        }
        return {
            part: {name: {"from": old, "to": new} for name, (old, new) in pairs.items()}
            for part, pairs in parts.items()
        }


def compare(files: tuple[Mapping[str, str], Mapping[str, str]], old: Facts, new: Facts) -> Difference:
    """The difference between two versions.

    Args:
        files: of the old and of the new version, path -> digest.
        old: facts of the one version.
        new: facts of the other.
    """
    return Difference(
        files=pairs(*files),
        metrics=pairs(old.metrics, new.metrics),
        params=pairs(old.params, new.params),
        interface=pairs(_flat(old.interface), _flat(new.interface)),
    )


def pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs between two mappings, by name in order; None where a name is in one of them alone."""
    return {
        name: (old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if name not in old or name not in new or not _same(old[name], new[name])
    }


def _same(one: Any, other: Any) -> bool:
    """Equal, and of the same type in JSON: ``true`` is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _flat(interface: Mapping[str, Any]) -> dict[str, str]:
    """File and place -> type of every input and output of a model."""
    return {
        f"{file} {side}.{name}": str(kind)
        for file, about in interface.items()
        for side in ("inputs", "outputs")
        for name, kind in dict(about.get(side) or {}).items()
    }
