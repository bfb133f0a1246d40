"""Faults in what a service depends on."""

from __future__ import annotations

import re
from pathlib import Path

from faults import Fault, append


def _added(folder: Path) -> None:
    append(folder / "requirements.txt", "idna\n")


def _unhashed(folder: Path) -> None:
    lock = folder / "serinus.lock"
    text, count = re.subn(
        r"^(flask==\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+", r"\1\n", lock.read_text(), flags=re.M
    )
    assert count == 1
    lock.write_text(text)


def _old(folder: Path) -> None:
    lock = folder / "serinus.lock"
    text, count = re.subn(r"^onnxruntime==\S+", "onnxruntime==1.16.3", lock.read_text(), flags=re.M)
    assert count
    lock.write_text(text)
    import onnx

    model = onnx.load(folder / "model.onnx")
    model.ir_version = 10
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = 21
    onnx.save(model, folder / "model.onnx")


def _python(folder: Path) -> None:
    append(folder / "serinus.toml", '\n[image]\nbase = "debian:trixie"\n')


def _licence(folder: Path) -> None:
    append(folder / "serinus.toml", '\n[checks.dependencies]\nforbidden_licences = ["BSD-*"]\n')


FAULTS = (
    Fault("a requirement that was added without a new lock", "flask-app", "dependencies.current",
          "'idna' was added", _added),
    Fault("a pin without a digest", "flask-app", "dependencies.pinned", "flask==", _unhashed),
    Fault("an onnxruntime too old for the model's opset", "sentiment", "dependencies.opset",
          "opset 21, expected at most 19", _old),
    Fault("a base with another Python than that of the lock", "flask-app", "dependencies.python",
          "Python 3.13", _python),
    Fault("a package under a licence that the project forbids", "flask-app", "dependencies.licences",
          "forbidden licence", _licence),
)  # fmt: skip
