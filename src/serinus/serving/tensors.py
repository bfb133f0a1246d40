"""Tensors and JSON: nested arrays become numpy arrays, and arrays become JSON again. Pure.

Decoding walks whole levels of an array at a time with functions that run in C; only when something is wrong a
second, slow walk names the JSON Pointer of every fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

import numpy
import orjson

from serinus.contract import Violation
from serinus.contract.violations import BrokenContract
from serinus.contract.wire import found, pointer
from serinus.serving.answers import Problem

if TYPE_CHECKING:
    from serinus.contract.onnx import Tensor

Array = numpy.ndarray[Any, Any]
Shape = Sequence[int | str | None]

MAX_VIOLATIONS = 100
"""A broken array of a million elements is described by its first faults."""


@dataclass(frozen=True, slots=True)
class Element:
    """An element type: its names in ONNX, in the Open Inference Protocol and in numpy, and its range."""

    name: str
    """As ``contract.onnx`` calls it."""
    datatype: str
    """As the Open Inference Protocol calls it."""
    kind: Literal["float", "integer", "boolean", "string"]
    numpy: str
    low: float = 0
    high: float = 0
    size: int = 0
    """Bytes of an element in the binary form of the protocol; 0 where they vary."""

    @property
    def noun(self) -> str:
        """What a JSON value must be, for a person."""
        if self.kind in {"boolean", "string"}:
            return f"a {self.kind}"
        word = "an integer" if self.kind == "integer" else "a number"
        return (
            f"{word} from {self.low:g} to {self.high:g}"
            if self.kind == "float"
            else (f"{word} from {self.low} to {self.high}")
        )


def _integer(name: str, bits: int, signed: bool) -> Element:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return Element(name, name.upper(), "integer", name, low, high, bits // 8)


_FLOAT32 = 3.4028234663852886e38
_BFLOAT16 = 3.3895313892515355e38

ELEMENTS: Mapping[str, Element] = {
    element.name: element
    for element in (
        Element("bool", "BOOL", "boolean", "bool", size=1),
        *(_integer(f"int{bits}", bits, signed=True) for bits in (8, 16, 32, 64)),
        *(_integer(f"uint{bits}", bits, signed=False) for bits in (8, 16, 32, 64)),
        Element("float16", "FP16", "float", "float16", -65504.0, 65504.0, 2),
        Element("float32", "FP32", "float", "float32", -_FLOAT32, _FLOAT32, 4),
        Element("float64", "FP64", "float", "float64", -1.7976931348623157e308, 1.7976931348623157e308, 8),
        # numpy has no bfloat16: its values travel as float32, which holds each of them exactly.
        Element("bfloat16", "BF16", "float", "float32", -_BFLOAT16, _BFLOAT16, 2),
        Element("string", "BYTES", "string", "object"),
    )
}


# ---------------------------------------------------------------------------------------------- decoding


def decode(inputs: Sequence[Tensor], document: object) -> dict[str, Array]:
    """The arrays of a request ``{input name: nested arrays}``, each in the element type of its input.

    Raises:
        Problem: 422, with the pointer of each fault: missing or unknown inputs, ragged arrays, wrong
            dimensions, elements of a wrong type or out of range, symbolic dimensions that disagree.
    """
    if type(document) is not dict:
        names = ", ".join(tensor.name for tensor in inputs)
        raise _unprocessable([Violation("", f"found {found(document)}, expected an object of {names}")])
    arrays: dict[str, Array] = {}
    faults: list[Violation] = []
    for tensor in inputs:
        where = pointer([tensor.name])
        if tensor.name not in document:
            faults.append(Violation(where, f"this input is missing, expected {tensor}"))
            continue
        value = document[tensor.name]
        array = to_array(tensor, value)
        if array is None:
            faults.extend(violations(tensor, value, where))
        else:
            arrays[tensor.name] = array
    if len(document) > len(arrays):
        faults.extend(_unknown(inputs, document))
    faults.extend(disagreements(inputs, arrays))
    if faults:
        raise _unprocessable(faults)
    return arrays


def to_array(tensor: Tensor, value: object) -> Array | None:
    """The array that a JSON value is, or None when it is not one of this tensor's type and shape."""
    element = ELEMENTS[tensor.dtype]
    flat: list[Any] = [value]
    shape: list[int] = []
    for dimension in _dimensions(tensor, value):
        if 0 in shape:
            shape.append(dimension if isinstance(dimension, int) else 0)
            continue
        lengths = set(map(len, flat)) if set(map(type, flat)) == {list} else set()
        if len(lengths) != 1:
            return None
        length = lengths.pop()
        if length != dimension if isinstance(dimension, int) else length == 0:
            return None
        shape.append(length)
        flat = list(chain.from_iterable(flat))
    elements = leaves(element, flat)
    return None if elements is None else elements.reshape(shape)


def leaves(element: Element, flat: list[Any]) -> Array | None:
    """A flat array of JSON values, or None when one of them is of a wrong type or out of range.

    As in JSON Schema, ``1.0`` is an integer, and ``true`` is not a number.
    """
    types = set(map(type, flat))
    if element.kind in {"boolean", "string"}:
        return (
            numpy.array(flat, element.numpy)
            if types <= {bool if element.kind == "boolean" else str}
            else None
        )
    if not types <= {int, float}:
        return None
    if element.kind == "float":
        wide = numpy.array(flat, "float64")
        return wide.astype(element.numpy) if bool((numpy.abs(wide) <= element.high).all()) else None
    if float in types:
        if not all(float(value).is_integer() for value in flat):
            return None
        flat = list(map(int, flat))
    fits = not flat or (element.low <= min(flat) and max(flat) <= element.high)
    return numpy.array(flat, element.numpy) if fits else None


def disagreements(inputs: Sequence[Tensor], arrays: Mapping[str, Array]) -> Iterator[Violation]:
    """The symbolic dimensions (``batch``) that have different lengths in different places."""
    first: dict[str, tuple[int, str]] = {}
    for tensor in inputs:
        array = arrays.get(tensor.name)
        if array is None or tensor.shape is None:
            continue
        for axis, (dimension, length) in enumerate(zip(tensor.shape, array.shape, strict=True)):
            if not isinstance(dimension, str):
                continue
            length_before, name = first.setdefault(dimension, (length, tensor.name))
            if length != length_before:
                yield Violation(
                    pointer([tensor.name]) + "/0" * axis,
                    f"found {length} elements, expected {length_before}, the '{dimension}' of {name}",
                )


def violations(tensor: Tensor, value: object, where: str) -> list[Violation]:
    """The first faults of a JSON value that is not an array of this tensor's type and shape."""
    shape = _dimensions(tensor, value)
    walk = _walk(ELEMENTS[tensor.dtype], shape, value, where, [None] * len(shape))
    return list(islice(walk, MAX_VIOLATIONS))


def _walk(
    element: Element, shape: Shape, value: object, where: str, lengths: list[int | None]
) -> Iterator[Violation]:
    """Every fault at and below ``where``; ``lengths`` are those of the first array at each depth."""
    if not shape:
        if not _fits(element, value):
            yield Violation(where, f"found {found(value)}, expected {element.noun}")
        return
    if type(value) is not list:
        yield Violation(where, f"found {found(value)}, expected an array")
        return
    depth = len(lengths) - len(shape)
    length = lengths[depth] = len(value) if lengths[depth] is None else lengths[depth]
    if isinstance(shape[0], int) and len(value) != shape[0]:
        yield Violation(where, f"found {_count(value)}, expected {shape[0]}")
    elif not value:
        yield Violation(where, "found an empty array, expected at least one element")
    elif len(value) != length:
        yield Violation(where, f"found {_count(value)}, expected {length} like the arrays before it")
    if len(shape) == 1 and leaves(element, value) is not None:
        return
    for index, member in enumerate(value):
        yield from _walk(element, shape[1:], member, f"{where}/{index}", lengths)


def _fits(element: Element, value: Any) -> bool:
    """What :func:`leaves` says of a single value, without making an array of it."""
    kind = type(value)
    if element.kind in {"boolean", "string"}:
        return kind is (bool if element.kind == "boolean" else str)
    if kind is float and element.kind == "integer" and not value.is_integer():
        return False
    return kind in {int, float} and bool(element.low <= value <= element.high)


def _dimensions(tensor: Tensor, value: object) -> Shape:
    """The tensor's dimensions; of a tensor whose rank is free, as many as the value is deep."""
    if tensor.shape is not None:
        return tensor.shape
    depth = 0
    while type(value) is list:
        depth += 1
        value = value[0] if value else None
    return (None,) * depth


def _unknown(inputs: Sequence[Tensor], document: Mapping[str, Any]) -> Iterator[Violation]:
    names = [tensor.name for tensor in inputs]
    for name in islice(document, MAX_VIOLATIONS + len(names)):
        if name not in names:
            yield Violation(pointer([name]), f"there is no such input, expected {', '.join(names)}")


def _unprocessable(faults: Sequence[Violation]) -> Problem:
    broken = BrokenContract(faults)
    return Problem(
        422, f"the request breaks the contract {broken.message}", broken.violations[:MAX_VIOLATIONS]
    )


# ---------------------------------------------------------------------------------------------- encoding


def encode(outputs: Mapping[str, object]) -> bytes:
    """The JSON object ``{output name: nested arrays}``.

    A value is an array, or what the runtime makes of ONNX sequences and maps: lists and dictionaries.

    Raises:
        BrokenContract: a NaN or an infinity, which JSON does not have, with the pointer of each.
    """
    try:
        text = orjson.dumps(outputs, option=_OPTIONS)
    except orjson.JSONEncodeError:  # strings, scalars, transposed arrays, maps with numbers as keys
        text = b"null"
    if b"null" not in text and b"e+38" not in text:
        return text
    # A NaN or an infinity is written as null, a number near the end of its type's range may be rounded beyond
    # it; a string may hold such words, too.
    check_finite(outputs)
    return orjson.dumps({name: _plain(value) for name, value in outputs.items()}, option=_OPTIONS)


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def check_finite(outputs: Mapping[str, object]) -> None:
    """See that all numbers are finite.

    Raises:
        BrokenContract: with the pointer of each NaN or infinity (the first :data:`MAX_VIOLATIONS`).
    """
    walk = chain.from_iterable(_infinite(value, pointer([name])) for name, value in outputs.items())
    if faults := list(islice(walk, MAX_VIOLATIONS)):
        raise BrokenContract(faults)


def _infinite(value: object, where: str) -> Iterator[Violation]:
    if isinstance(value, numpy.ndarray):
        if value.dtype.kind == "f" and not (finite := numpy.isfinite(value)).all():
            for place in numpy.argwhere(~finite).tolist():
                number = value[tuple(place)]
                yield Violation(where + pointer(place), f"found {number}, expected a finite number")
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _infinite(member, where + pointer([str(key)]))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _infinite(member, f"{where}/{index}")
    elif isinstance(value, float) and not numpy.isfinite(value):
        yield Violation(where, f"found {value}, expected a finite number")


def _plain(value: object) -> object:
    """A value that orjson can write."""
    if isinstance(value, numpy.ndarray):
        return value.tolist() if value.dtype.kind == "O" else _writable(value)
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return value


def _writable(array: Array) -> object:
    """The array as orjson can write it: contiguous, and with at least one dimension.

    Numbers of single precision are written with as few digits as tell them apart, which rounds the largest
    of them up beyond the type's range; an array with such numbers is written with the digits of doubles.
    """
    if array.dtype == "float32" and array.size and float(numpy.abs(array).max()) > _ROUNDED_UP:
        array = array.astype("float64")
    if array.ndim == 0:
        return orjson.Fragment(orjson.dumps(array.reshape(1), option=_OPTIONS)[1:-1])
    return numpy.ascontiguousarray(array)


_ROUNDED_UP = 3.38e38
"""Below the largest bfloat16 and float32."""


# ---------------------------------------------------------------------------------------------- words


def _count(value: list[Any]) -> str:
    return f"{len(value)} element{'' if len(value) == 1 else 's'}"
