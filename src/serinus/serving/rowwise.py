"""Whether a model treats each row by itself, so that callers may be answered together: found out by trying.

What a graph declares does not tell: a model may norm over its rows, or sort them. So rows are run alone, and
together in several sizes and orders, and every output must be the same to the last bit. An answer must not
depend on who else asks at that moment; a model whose matrix products round otherwise in a batch is therefore
run for each request alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from serinus.serving.tensors import ELEMENTS

if TYPE_CHECKING:
    from serinus.contract.onnx import Tensor
    from serinus.serving.onnx import Run
    from serinus.serving.tensors import Array

SIZES = (2, 3, 8, 17, 32)
"""Rows that are run together."""
_FREE = 3
"""The length that free dimensions get, but for the first."""
_WORDS = ("a", "the quick brown fox", "", "Zürich", "42")


def rowwise(run: Run, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether the outputs for a row are the same alone and beside others.

    Args:
        run: runs the model.
        inputs: of the model; no output may have other than one row for each row of them.
        outputs: of the model.
    """
    if not _have_rows(inputs, outputs):
        return False
    names = [tensor.name for tensor in outputs]
    most = max(SIZES)
    rows = {tensor.name: probe(tensor, most) for tensor in inputs}
    try:
        alone = [run(names, _part(rows, slice(at, at + 1))) for at in range(most)]
        parts = [slice(0, size) for size in SIZES] + [slice(None, None, -1)]
        return all(_same(run(names, _part(rows, part)), alone[part]) for part in parts)
    except Exception:  # noqa: BLE001 - the rows are ours, and say nothing about real requests
        return False


def _have_rows(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether the first dimension is free everywhere, and is the same for all inputs."""
    every = (*inputs, *outputs)
    if not inputs or any(
        t.dtype not in ELEMENTS or not t.shape or isinstance(t.shape[0], int) for t in every
    ):
        return False
    first = {tensor.shape[0] for tensor in inputs if tensor.shape}
    return len(inputs) == 1 or (len(first) == 1 and None not in first)


def probe(tensor: Tensor, rows: int) -> Array:
    """Rows of values that have nothing in common: small and large ones, of both signs, and a row of zeros."""
    shape = [rows, *(d if isinstance(d, int) else _FREE for d in (tensor.shape or (None,))[1:])]
    waves = numpy.sin(numpy.arange(1, numpy.prod(shape) + 1) * 12.9898).reshape(shape)
    element = ELEMENTS[tensor.dtype]
    if element.kind == "string":
        return numpy.array([_WORDS[int(wave * 1000) % len(_WORDS)] for wave in waves.flat], object).reshape(
            shape
        )
    if element.kind != "float":
        return numpy.asarray(waves > 0, element.numpy)
    scales = numpy.array([1.0, 100.0, 0.01, 0.0, 10.0, 1000.0])[numpy.arange(rows) % 6]
    return numpy.asarray(waves * scales.reshape(-1, *[1] * (len(shape) - 1)), element.numpy)


def _part(rows: Mapping[str, Array], part: slice) -> dict[str, Array]:
    return {name: numpy.ascontiguousarray(array[part]) for name, array in rows.items()}


def _same(together: Sequence[Any], alone: Sequence[Sequence[Any]]) -> bool:
    """Whether the outputs of a batch are those of its rows, below each other; NaN is the same as itself."""
    for number, value in enumerate(together):
        expected = numpy.concatenate([one[number] for one in alone])
        if value.shape != expected.shape or value.dtype != expected.dtype:
            return False
        if value.dtype.kind == "O":
            if value.tolist() != expected.tolist():
                return False
        elif value.tobytes() != expected.tobytes():
            return False
    return True
