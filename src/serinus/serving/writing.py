"""Responses of one model, written: outputs become JSON, and what is known of them by their making is told.

Of arrays of numbers the graph's own promise need not be looked for in the text again: their types and shapes
keep it, and what is not finite was found in writing. Their values are counted from the arrays, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from serinus.serving.answers import Prediction
from serinus.serving.predictions import ARRAYS, LIMIT, Observed, escaped
from serinus.serving.tensors import ELEMENTS, encode

if TYPE_CHECKING:
    from serinus.contract.onnx import Tensor

FORMS = 64
"""As many combinations of shapes are remembered."""

_Plan = tuple[str | None, ...]
"""For each output the pointer to its values, None where they are not counted."""


class Writer:
    """Writes the responses of one model.

    Args:
        outputs: of the model.
        promised: whether what callers are promised is what the graph promises by itself.
    """

    def __init__(self, outputs: Sequence[Tensor], promised: bool) -> None:
        self._outputs = tuple(outputs)
        self._names = [tensor.name for tensor in outputs]
        self._promised = promised
        self._plans: dict[tuple[tuple[int, ...], ...], _Plan] = {}

    def write(self, values: Sequence[Any]) -> Prediction:
        """The response of these outputs.

        Raises:
            BrokenContract: a NaN or an infinity, with the pointer of each.
        """
        body = encode(dict(zip(self._names, values, strict=True)))
        form = tuple([getattr(value, "shape", ()) for value in values])
        # The runtime gives each output one type, so what holds once for these shapes holds always.
        plan = self._plans.get(form)
        if plan is None:
            plan = self._plan(values) if self._promised else None
            if plan is None:
                return Prediction(body)
            if len(self._plans) < FORMS:
                self._plans[form] = plan
        return Prediction(body, _observed(values, plan))

    def _plan(self, values: Sequence[Any]) -> _Plan | None:
        """Where the values of these outputs stand; None when they do not keep the promise by their making."""
        if not all(map(keeps, self._outputs, values)):
            return None
        return tuple(
            f"/{escaped(name)}{'/*' * value.ndim}" if value.ndim <= ARRAYS else None
            for name, value in zip(self._names, values, strict=True)
        )


def keeps(tensor: Tensor, value: object) -> bool:
    """Whether a value is an array of an output's type and shape, of numbers or booleans."""
    if tensor.dtype == "string" or tensor.dtype not in ELEMENTS or type(value) is not numpy.ndarray:
        return False
    if value.dtype != numpy.dtype(ELEMENTS[tensor.dtype].numpy):
        return False
    return tensor.shape is None or (
        len(tensor.shape) == value.ndim
        and all(
            length == dimension or not isinstance(dimension, int)
            for length, dimension in zip(value.shape, tensor.shape, strict=True)
        )
    )


def _observed(values: Sequence[Any], plan: _Plan) -> Observed:
    """What :func:`serinus.serving.predictions.observed` finds in the text."""
    found: Observed = []
    room = LIMIT
    for value, pointer in zip(values, plan, strict=True):
        if pointer is not None and room:
            flat = value.ravel()
            numbers = (flat if flat.size <= room else flat[:room]).tolist()
            if numbers:
                found.append((pointer, numbers))
                room -= len(numbers)
    return found
