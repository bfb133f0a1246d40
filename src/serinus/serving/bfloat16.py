"""bfloat16, which numpy does not have: values travel as float32, and are bits at the door of the runtime.

A bfloat16 is the upper half of a float32; going there rounds to nearest, ties to even (IEEE 754, 4.3.1).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    import onnxruntime

    from serinus.contract.onnx import Interface
    from serinus.serving.tensors import Array

_ONNX_BFLOAT16 = 16
"""``TensorProto.DataType.BFLOAT16`` of the ONNX specification."""


def to_bits(array: Array) -> Array:
    """uint16 bits of float32 values, rounded to the nearest bfloat16. NaN stays NaN."""
    wide = array.astype("float32", order="C").view("uint32")
    odd = (wide >> 16) & 1
    rounded = ((wide + (0x7FFF + odd)) >> 16).astype("uint16")
    return numpy.where(numpy.isnan(array), numpy.uint16(0x7FC0), rounded).astype("uint16")


def from_bits(bits: Array) -> Array:
    """float32 values of uint16 bits, exactly."""
    return (bits.astype("uint32", order="C") << 16).astype("uint32").view("float32")


def runner(
    session: onnxruntime.InferenceSession, graph: Interface
) -> Callable[[Sequence[str], Mapping[str, Array]], list[Any]]:
    """Runs a model that has bfloat16 inputs or outputs, with float32 arrays in their place."""
    from onnxruntime import OrtValue

    narrow = {value.name for value in graph.inputs if value.dtype == "bfloat16"}

    def run(names: Sequence[str], arrays: Mapping[str, Array]) -> list[Any]:
        feeds = {}
        for name, array in arrays.items():
            if name in narrow:
                feeds[name] = OrtValue.ortvalue_from_numpy_with_onnx_type(to_bits(array), _ONNX_BFLOAT16)
            else:
                feeds[name] = OrtValue.ortvalue_from_numpy(array)
        return [_value(value) for value in session.run_with_ort_values(names, feeds)]

    return run


def _value(value: Any) -> Any:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    shape = tuple(value.shape())
    if not numpy.prod(shape, dtype="int64"):
        return numpy.zeros(shape, "float32")
    # The runtime has no numpy type to offer for this tensor, but its memory can be read while it lives.
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    return from_bits(numpy.ctypeslib.as_array(pointer, shape or (1,))).reshape(shape)
