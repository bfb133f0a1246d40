"""What the ONNX files of a model take and give, as it is registered with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serinus.contract.onnx import interface
from serinus.errors import ContractError
from serinus.events import Noted, Observer
from serinus.models.local import Local


def interfaces(files: Sequence[Local], observer: Observer) -> dict[str, Any]:
    """The interface of each ONNX file: ``{"inputs": {name: "float32[?, 3]"}, "outputs": ..., "opset": 21}``.

    A file that is called ONNX and cannot be read as such is registered without one, and noted.
    """
    found: dict[str, Any] = {}
    for file in files:
        if not file.path.lower().endswith(".onnx"):
            continue
        try:
            told = interface(file.source)
        except ContractError as error:
            observer(Noted(f"the interface of {file.path} is not registered: {error.message}"))
            continue
        sides = {"inputs": told.inputs, "outputs": told.outputs}
        document: dict[str, Any] = {side: {t.name: str(t) for t in ts} for side, ts in sides.items()}
        opset = max((version for domain, version in told.opsets if not domain), default=0)
        found[file.path] = document | ({"opset": opset} if opset else {})
    return found
