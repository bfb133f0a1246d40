"""Whether the pinned onnxruntime runs the model's version of ONNX."""

from __future__ import annotations

import re
from typing import NamedTuple

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.subjects import Locked
from serinus.contract.onnx import Interface, interface
from serinus.image import lock as locks
from serinus.image.sources import ModelPlace
from serinus.project import Project

RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
)
"""The distributions of onnxruntime; they are released under the same numbers."""


class Limits(NamedTuple):
    """The newest of each that a version of onnxruntime runs."""

    ir: int
    """IR version of the file."""
    onnx: int
    """Operator set of the domain ``ai.onnx``."""
    ml: int
    """Operator set of the domain ``ai.onnx.ml``."""


# From the releases themselves, of onnxruntime 1.15 to 1.32: each was given a model of IR version 99, of opset
# 99 and of ai.onnx.ml 99, and its refusal names these numbers.
LIMITS = (
    ((1, 15), Limits(9, 19, 3)),
    ((1, 17), Limits(9, 20, 4)),
    ((1, 18), Limits(10, 21, 5)),
    ((1, 21), Limits(10, 22, 5)),
    ((1, 23), Limits(11, 23, 5)),
    ((1, 24), Limits(13, 25, 5)),
    ((1, 25), Limits(13, 26, 5)),
    ((1, 32), Limits(14, 28, 5)),
)
"""First version of onnxruntime -> its limits, which hold until the next row."""
NEWEST = (1, 32)
"""Newest version that was asked."""


@check(
    "dependencies.opset",
    why="A model exported anew for a newer opset did not load in the onnxruntime that was pinned.",
    seconds=0.1,
)
def opset(source: Project, lock: Locked, model: ModelPlace) -> Result:
    """The model's opset and IR version are within what the pinned onnxruntime runs."""
    files = sorted(model.source.rglob("*.onnx")) if model.source.is_dir() else [model.source]
    files = [file for file in files if file.suffix == ".onnx"]
    if not files:
        raise NotApplicable("the model is no ONNX file")
    if lock.lock is None:
        raise NotApplicable("no onnxruntime is pinned yet", "Run `serinus build`, and commit serinus.lock.")
    pins = [p for p in lock.lock.pins if locks.normalised(p.name) in RUNTIMES and p.version]
    if not pins:
        raise NotApplicable(
            "the lock pins no onnxruntime", "Add it to the requirements, if the service uses it."
        )
    findings, told = [], []
    for pin in pins:
        for file in files:
            found = interface(file)
            name = str(file.relative_to(source.root)) if file.is_relative_to(source.root) else str(file)
            findings += beyond(found, name, pin.name, pin.version)
            told.append(f"{file.name}: IR version {found.ir_version}, opset {_opset(found, '')}")
    newer = "".join(
        f"; {p.name} {p.version} is newer than what is known here"
        for p in pins
        if _number(p.version) > NEWEST
    )
    return Result("" if findings else f"{', '.join(dict.fromkeys(told))}{newer}", tuple(findings))


def limits(version: str) -> Limits:
    """The limits of a version of onnxruntime; one older than all that are known has those of the oldest."""
    rows = [row for first, row in LIMITS if first <= _number(version)]
    return rows[-1] if rows else LIMITS[0][1]


def beyond(found: Interface, file: str, runtime: str, version: str) -> list[Finding]:
    """What of a model is newer than what a version of onnxruntime runs. Pure."""
    most = limits(version)
    values = (
        ("IR version", found.ir_version, most.ir),
        ("opset", _opset(found, ""), most.onnx),
        ("opset of ai.onnx.ml", _opset(found, "ai.onnx.ml"), most.ml),
    )
    return [
        Finding(
            f"{file} has the {what} {value}, expected at most {limit}, which {runtime} {version} runs",
            f"Ask for a newer {runtime} in the requirements and run `serinus build`, or export the model for "
            f"an older opset.",
            file,
        )
        for what, value, limit in values
        if value > limit
    ]


def _opset(found: Interface, domain: str) -> int:
    names = ("", "ai.onnx") if not domain else (domain,)
    return max((version for name, version in found.opsets if name in names), default=0)


def _number(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)(?:\.(\d+))?", version)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)
