"""Small inferences with fewer steps: inputs and outputs that are bound to buffers once for each shape.

ONNX Runtime's ``run`` looks inputs up by name, wraps each array and makes new outputs. That takes longer than
a small model computes. With an IO binding (``onnxruntime.IOBinding``) it is done once: a request then copies
its numbers into the bound input, and reads the bound outputs. A shape is bound when it comes for the second
time; a model whose outputs' shapes depend on values is not bound at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    import onnxruntime

    from serinus.serving.onnx import Run
    from serinus.serving.tensors import Array

SHAPES = 16
"""As many shapes of requests are bound at most; the others are run as ever."""
_KINDS = "biuf"
"""Booleans and numbers: strings are objects of Python and cannot be bound."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """Buffers that belong together. They are the runtime's as long as the binding lives."""

    binding: onnxruntime.IOBinding
    inputs: tuple[tuple[str, Array], ...]
    outputs: list[Array]


class Bindings:
    """Runs a model like :data:`serinus.serving.onnx.Run`, for one thread alone.

    The arrays that it gives are overwritten by the next call.

    Args:
        session: of the model.
        run: the ordinary way, for everything that is not bound.
        names: of the outputs that are wanted.
    """

    def __init__(self, session: onnxruntime.InferenceSession, run: Run, names: Sequence[str]) -> None:
        self._session = session
        self._run = run
        self._names = tuple(names)
        self._bound: dict[tuple[tuple[int, ...], ...], _Bound | None] = {}
        self._fit = True

    def __call__(self, arrays: Mapping[str, Array]) -> list[Any]:
        """The outputs for inputs that fit the model.

        Raises:
            Exception: the model failed on these inputs.
        """
        form = tuple([array.shape for array in arrays.values()])
        bound = self._bound.get(form)
        if bound is None:
            return self._unbound(form, arrays)
        for name, buffer in bound.inputs:
            buffer[...] = arrays[name]
        try:
            self._session.run_with_iobinding(bound.binding)
        except Exception:  # noqa: BLE001 - the ordinary way says whether it was the model or the binding
            values = self._run(self._names, arrays)
            self._fit = False
            self._bound.clear()
            return values
        return bound.outputs

    def _unbound(self, form: tuple[tuple[int, ...], ...], arrays: Mapping[str, Array]) -> list[Any]:
        values = self._run(self._names, arrays)
        if self._fit and form in self._bound:
            self._fit = all(map(_bindable, (*arrays.values(), *values)))
            self._bound[form] = self._bind(arrays, values) if self._fit else None
        elif self._fit and len(self._bound) < SHAPES:
            self._bound[form] = None
        return values

    def _bind(self, arrays: Mapping[str, Array], values: Sequence[Array]) -> _Bound:
        """Buffers for arrays of these shapes and types."""
        binding = self._session.io_binding()
        inputs = tuple((name, numpy.array(array, order="C")) for name, array in arrays.items())
        outputs = [numpy.empty(value.shape, value.dtype) for value in values]
        for name, buffer in inputs:
            binding.bind_input(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
        for name, buffer in zip(self._names, outputs, strict=True):
            binding.bind_output(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
        return _Bound(binding, inputs, outputs)


def _bindable(value: Any) -> bool:
    return isinstance(value, numpy.ndarray) and value.dtype.kind in _KINDS and value.size > 0
