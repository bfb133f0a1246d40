"""Requests of one model, read: what :func:`serinus.serving.tensors.decode` does, prepared for its inputs.

Most requests are right, and most of those are a row or a few of numbers. They are read in as few steps as
there can be; everything else, and all that is wrong, is left to ``decode``, which knows every place at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy

from serinus.serving.tensors import ELEMENTS, Array, Element, decode

if TYPE_CHECKING:
    from serinus.contract.onnx import Tensor

FEW = 256
"""Numbers that are looked at sooner by Python than by numpy."""
_NUMBERS = {int, float}


class Reader:
    """Reads the requests of one model.

    Args:
        inputs: of the model.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self._inputs = tuple(inputs)
        self._matrices = [(tensor.name, matrix(tensor)) for tensor in inputs]
        symbols = [d for tensor in inputs for d in tensor.shape or () if isinstance(d, str)]
        self._may_disagree = len(set(symbols)) < len(symbols)

    def read(self, document: Any) -> tuple[dict[str, Array], int]:
        """The arrays of a request ``{input name: nested arrays}``, and how much work they are (:func:`work`).

        Raises:
            Problem: 422, as :func:`serinus.serving.tensors.decode` has it.
        """
        if self._may_disagree or type(document) is not dict or len(document) != len(self._matrices):
            return self._slowly(document)
        arrays, amount = {}, 0
        for name, few in self._matrices:
            array = None if few is None else few(document.get(name))
            if array is None:
                return self._slowly(document)
            arrays[name] = array
            amount += array.size
        return arrays, amount

    def _slowly(self, document: Any) -> tuple[dict[str, Array], int]:
        arrays = decode(self._inputs, document)
        return arrays, work(arrays)


def work(arrays: Mapping[str, Array]) -> int:
    """How much there is to compute on: numbers, and characters of strings."""
    return sum(
        sum(map(len, array.flat)) if array.dtype.kind == "O" else array.size for array in arrays.values()
    )


def matrix(tensor: Tensor) -> Callable[[Any], Array | None] | None:
    """Reads a small matrix of numbers as ``decode`` does, sooner.

    What is made gives None for every other value, right or wrong; None for a tensor that is no such matrix.
    """
    element, shape = ELEMENTS[tensor.dtype], tensor.shape or ()
    if element.kind != "float" or len(shape) != 2:
        return None
    rows, columns = (length if isinstance(length, int) else None for length in shape)
    return _reading(element, rows, columns)


def _reading(element: Element, rows: int | None, columns: int | None) -> Callable[[Any], Array | None]:
    dtype, high = numpy.dtype(element.numpy), element.high

    def read(value: Any) -> Array | None:
        if type(value) is not list or not 0 < len(value) <= FEW or type(flat := value[0]) is not list:
            return None
        count, width = len(value), len(flat)
        if (rows is not None and rows != count) or (columns is not None and columns != width):
            return None
        if count > 1:
            if not all(type(row) is list and len(row) == width for row in value):
                return None
            flat = [number for row in value for number in row]
        if not 0 < len(flat) <= FEW or not {*map(type, flat)} <= _NUMBERS:
            return None
        if not (-high <= min(flat) and max(flat) <= high and isfinite(sum(flat))):  # no comparison sees a NaN
            return None
        return numpy.array(flat, dtype).reshape(count, width)

    return read
