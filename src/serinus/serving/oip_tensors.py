"""Inference requests and responses of the Open Inference Protocol, version 2, over REST. Pure.

The JSON forms are those of ``inference_rest.md`` of the protocol's specification; tensors may also follow the
JSON as bytes, as the binary tensor data extension of the Triton Inference Server has it: little-endian, row
major, without padding; a BOOL is a byte, and a BYTES element its length in four bytes before its content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import orjson

from serinus.contract.onnx import Tensor
from serinus.contract.wire import found, shorten
from serinus.serving.answers import JSON, Answer, Problem
from serinus.serving.bfloat16 import from_bits, to_bits
from serinus.serving.tensors import (
    ELEMENTS,
    Array,
    Element,
    check_finite,
    disagreements,
    to_array,
    violations,
)

HEADER_LENGTH = "inference-header-content-length"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output to send back, as JSON or as bytes."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class Inference:
    """What an inference request asks for."""

    id: str | None
    arrays: Mapping[str, Array]
    outputs: tuple[Wanted, ...]


def read(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], headers: Mapping[str, str], body: bytes
) -> Inference:
    """The inference that a request asks for.

    Args:
        inputs: of the model.
        outputs: those of the model that are tensors.
        headers: of the request, names in lower case.
        body: not compressed.

    Raises:
        Problem: 400, with what is wrong and where.
    """
    text, rest = _split(headers.get(HEADER_LENGTH), body)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _bad(f"the inference request is not JSON: {error}") from None
    request = _object(document, "the inference request")
    identifier = request.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise _bad(f"/id: found {found(identifier)}, expected a string")
    parameters = _parameters(request, "")
    if parameters.get("sequence_id"):
        raise _bad("/parameters/sequence_id: sequences are not supported, this model keeps no state")
    arrays = _read_inputs(inputs, request.get("inputs"), rest)
    binary = parameters.get("binary_data_output") is True
    return Inference(identifier, arrays, _read_outputs(outputs, request.get("outputs"), binary))


def _split(length: str | None, body: bytes) -> tuple[bytes | memoryview, memoryview]:
    """The JSON and the bytes after it."""
    whole = memoryview(body)
    if length is None:
        return whole, whole[len(body) :]
    if not (length.isascii() and length.isdigit()) or int(length) > len(body):
        raise _bad(
            f"{HEADER_LENGTH} is {shorten(length)!r}, expected a number up to {len(body)}, the body's length"
        )
    return whole[: int(length)], whole[int(length) :]


def _read_inputs(tensors: Sequence[Tensor], sent: Any, rest: memoryview) -> dict[str, Array]:
    known = {tensor.name: tensor for tensor in tensors}
    arrays: dict[str, Array] = {}
    for index, item in enumerate(_list(sent, "/inputs")):
        where = f"/inputs/{index}"
        name = _object(item, where).get("name")
        if not isinstance(name, str) or name not in known:
            raise _bad(f"{where}/name: found {found(name)}, expected one of {', '.join(known)}")
        if name in arrays:
            raise _bad(f"{where}/name: {name!r} is there twice")
        size = _binary_size(_parameters(item, where), where, len(rest))
        arrays[name] = _read_input(known[name], item, where, None if size is None else rest[:size])
        rest = rest[size or 0 :]
    if missing := [name for name in known if name not in arrays]:
        raise _bad(f"/inputs: found {', '.join(arrays) or 'none'}, expected also {', '.join(missing)}")
    if len(rest):
        raise _bad(f"the body has {len(rest)} bytes that belong to no input")
    for fault in disagreements(tensors, arrays):
        raise _bad(f"/inputs: {fault.pointer}: {fault.message}")
    return arrays


def _binary_size(parameters: Mapping[str, Any], where: str, left: int) -> int | None:
    """How many bytes after the JSON belong to an input; None when its data stand in the JSON."""
    if "shared_memory_region" in parameters:
        raise _bad(f"{where}/parameters: shared memory is not supported, send the data with the request")
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= left:
        raise _bad(f"{where}/parameters/binary_data_size: found {found(size)}, expected at most {left}")
    return size


def _read_input(tensor: Tensor, item: Mapping[str, Any], where: str, raw: memoryview | None) -> Array:
    element = ELEMENTS[tensor.dtype]
    if item.get("datatype") != element.datatype:
        raise _bad(f"{where}/datatype: found {found(item.get('datatype'))}, expected {element.datatype}")
    shape = _read_shape(tensor, item.get("shape"), f"{where}/shape")
    if raw is not None:
        if "data" in item:
            raise _bad(f"{where}/data: found beside binary_data_size, expected one of them")
        return _from_bytes(element, shape, raw, where)
    data = _list(item.get("data"), f"{where}/data")
    # Flat or nested, both are allowed; what is flat is an array of one dimension that is reshaped.
    nested = bool(data) and type(data[0]) is list
    sent = Tensor(tensor.name, tensor.dtype, tuple(shape) if nested else (math.prod(shape),))
    array = to_array(sent, data)
    if array is None:
        fault = violations(sent, data, f"{where}/data")[0]
        raise _bad(f"{fault.pointer}: {fault.message}")
    return array.reshape(shape)


def _read_shape(tensor: Tensor, sent: Any, where: str) -> list[int]:
    if not isinstance(sent, list) or not all(type(d) is int and d >= 0 for d in sent):
        raise _bad(f"{where}: found {found(sent)}, expected an array of whole numbers")
    fits = tensor.shape is None or (
        len(sent) == len(tensor.shape)
        and all(s == d if isinstance(d, int) else s > 0 for s, d in zip(sent, tensor.shape, strict=True))
    )
    if not fits:
        raise _bad(f"{where}: found {shorten(str(sent))}, expected {tensor}")
    return sent


def _from_bytes(element: Element, shape: Sequence[int], raw: memoryview, where: str) -> Array:
    count = math.prod(shape)
    if element.kind == "string":
        return _strings(raw, count, where).reshape(shape)
    if len(raw) != count * element.size:
        raise _bad(
            f"{where}/parameters/binary_data_size: found {len(raw)}, expected {count * element.size}: "
            f"{count} elements of {element.size} bytes"
        )
    if element.name == "bfloat16":
        return from_bits(numpy.frombuffer(raw, "<u2")).reshape(shape)
    if element.kind == "boolean" and raw.tobytes().translate(None, b"\x00\x01"):
        raise _bad(f"{where}: found a byte above 1 among the data, expected BOOL: 0 or 1")
    # A copy, for the bytes may lie where the processor would not have numbers.
    return (
        numpy.frombuffer(raw, numpy.dtype(element.numpy).newbyteorder("<"))
        .astype(element.numpy)
        .reshape(shape)
    )


def _strings(raw: memoryview, count: int, where: str) -> Array:
    texts: list[str] = []
    at = 0
    while at < len(raw) and len(texts) <= count:
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if end > len(raw):
            raise _bad(f"{where}: element {len(texts)} ends at byte {end} of {len(raw)}")
        try:
            texts.append(str(raw[at + 4 : end], "utf-8"))
        except UnicodeDecodeError:
            raise _bad(f"{where}: element {len(texts)} is not UTF-8") from None
        at = end
    if len(texts) != count:
        more = "more than " if len(texts) > count else ""
        raise _bad(f"{where}: found {more}{min(len(texts), count)} elements in the data, expected {count}")
    return numpy.array(texts, "object")


def _read_outputs(tensors: Sequence[Tensor], sent: Any, binary: bool) -> tuple[Wanted, ...]:
    known = [tensor.name for tensor in tensors]
    if sent is None or sent == []:
        return tuple(Wanted(name, binary) for name in known)
    wanted: dict[str, Wanted] = {}
    for index, item in enumerate(_list(sent, "/outputs")):
        where = f"/outputs/{index}"
        name = _object(item, where).get("name")
        if not isinstance(name, str) or name not in known:
            raise _bad(f"{where}/name: found {found(name)}, expected one of {', '.join(known) or 'none'}")
        parameters = _parameters(item, where)
        for unsupported in ("shared_memory_region", "classification"):
            if unsupported in parameters:
                raise _bad(f"{where}/parameters/{unsupported}: this extension is not supported")
        flag = parameters.get("binary_data", binary)
        if not isinstance(flag, bool):
            raise _bad(f"{where}/parameters/binary_data: found {found(flag)}, expected a boolean")
        wanted[name] = Wanted(name, flag)
    return tuple(wanted.values())


# ----------------------------------------------------------------------------------------------- response


def write(
    outputs: Sequence[Tensor], inference: Inference, values: Mapping[str, Any], model: str, version: str
) -> Answer:
    """The response to an inference.

    Raises:
        BrokenContract: a NaN or an infinity, with its pointer in the answer on the service's own route:
            ``/output/row/column``.
    """
    check_finite(values)
    types = {tensor.name: ELEMENTS[tensor.dtype] for tensor in outputs}
    raws: list[bytes] = []
    described: list[dict[str, Any]] = []
    for wanted in inference.outputs:
        element, array = types[wanted.name], values[wanted.name]
        output: dict[str, Any] = {
            "name": wanted.name,
            "datatype": element.datatype,
            "shape": list(array.shape),
        }
        if wanted.binary:
            raws.append(_to_bytes(element, array))
            output["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            output["data"] = array.ravel().tolist() if element.kind == "string" else array.ravel()
        described.append(output)
    document: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if inference.id is not None:
        document["id"] = inference.id
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raws:
        return Answer(200, text, (("content-type", JSON),))
    headers = (("content-type", BINARY), (HEADER_LENGTH, str(len(text))))
    return Answer(200, b"".join((text, *raws)), headers)


def _to_bytes(element: Element, array: Array) -> bytes:
    if element.kind == "string":
        encoded = [text.encode() for text in array.flat]
        return b"".join(len(e).to_bytes(4, "little") + e for e in encoded)
    if element.name == "bfloat16":
        return to_bits(array).astype("<u2").tobytes()
    return array.astype(numpy.dtype(element.numpy).newbyteorder("<"), copy=False).tobytes()


# -------------------------------------------------------------------------------------------------- words


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"{where}: found {found(value)}, expected an object")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(f"{where}: found {'nothing' if value is None else found(value)}, expected an array")
    return value


def _parameters(item: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    return _object(item.get("parameters", {}), f"{where}/parameters")


def _bad(detail: str) -> Problem:
    return Problem(400, detail)
