"""The contract of a bare ONNX file, read from its graph without the ``onnx`` package or a runtime.

Field numbers are those of ``onnx.proto3`` (ONNX IR specification). Only the interface is read: names and
types of inputs and outputs, and the names of initializers, since an initializer that is also an input is a
default value and not asked of a caller (IR version 3 wants all of them listed as inputs).

A request is an object {input: nested arrays}, a response an object {output: nested arrays}, outermost
dimension first. In a request a free dimension is at least 1. That symbolic dimensions are equal wherever a
name stands, is for the service to check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from serinus.contract import Contract, Schema
from serinus.contract.protobuf import Reader, Span
from serinus.errors import ContractError

# onnx.TensorProto.DataType, and what the elements may be in JSON.
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4e2m1",
    24: "float8e8m0",
    25: "uint2",
    26: "int2",
}
_LARGEST_FLOAT = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}
_INTEGER_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_UNSIGNED_BITS = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
_WHOLE_NAME = "^-?(0|[1-9][0-9]*)$"
_DEEPEST_TYPE = 16

# Field numbers.
_IR_VERSION, _PRODUCER, _GRAPH, _OPSETS = 1, 2, 7, 8  # ModelProto
_DOMAIN, _VERSION = 1, 2  # OperatorSetIdProto
_INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 5, 11, 12, 15  # GraphProto
_NAME, _TYPE = 1, 2  # ValueInfoProto
_TENSOR_NAME, _SPARSE_VALUES = 8, 1  # TensorProto, SparseTensorProto
_TENSOR, _SEQUENCE, _MAP, _SPARSE_TENSOR, _OPTIONAL, _OPAQUE = 1, 4, 5, 8, 9, 7  # TypeProto
_ELEMENT, _SHAPE, _KEY, _VALUE = 1, 2, 1, 2
_DIMENSION, _DIM_VALUE, _DIM_PARAM = 1, 1, 2  # TensorShapeProto

Dimension = int | str | None
"""Fixed; symbolic (equal wherever the name stands); or free."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: a tensor, unless it is one of the two classes below."""

    name: str
    dtype: str
    """numpy's name: ``float32``, ``int64``, ``bool``; ``string`` for text. In words if it is no tensor."""
    shape: tuple[Dimension, ...] | None
    """None where not even the number of dimensions is fixed."""

    def __str__(self) -> str:
        dims = (
            ", ".join("?" if d is None else str(d) for d in self.shape) if self.shape is not None else "..."
        )
        return f"{self.dtype}[{dims}]"


@dataclass(frozen=True, slots=True)
class Records(Tensor):
    """An output that is a sequence of maps, one for each row: class -> probability (skl2onnx's ZipMap)."""

    key: str
    """``string`` or an integer type."""
    value: str
    """Type of the values, a tensor's element type."""

    def __str__(self) -> str:
        return self.dtype


@dataclass(frozen=True, slots=True)
class Other(Tensor):
    """An input or output of a type that has no JSON form here."""

    def __str__(self) -> str:
        return self.dtype


def _other(name: str, kind: str) -> Other:
    return Other(name, kind, None)


@dataclass(frozen=True, slots=True)
class Interface:
    """What a model takes and gives."""

    inputs: tuple[Tensor, ...]
    """Without those that have a default value in the file."""
    outputs: tuple[Tensor, ...]
    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    """(domain, version); the domain of ONNX itself is ``""``."""
    producer: str = ""


def interface(path: Path | str) -> Interface:
    """The interface of an ONNX file. Takes milliseconds, whatever the size of the weights.

    Raises:
        ContractError: the file cannot be read or is not an ONNX model.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _model(Reader(file, path.stat().st_size, str(path)))
    except OSError as error:
        raise ContractError(
            f"{path}: {(error.strerror or str(error)).lower()}", "Check [model] source and path."
        ) from None


def from_onnx(path: Path | str) -> Contract:
    """The contract of an ONNX file.

    Raises:
        ContractError: as :func:`interface`; or an input or output has no JSON form, and is named.
    """
    return contract_of(interface(path), str(path))


def contract_of(found: Interface, name: str = "the model") -> Contract:
    """The contract of an interface.

    Raises:
        ContractError: an input or output has no JSON form, and is named.
    """
    return Contract(
        _members("input", found.inputs, name, bounded=True),
        _members("output", found.outputs, name, bounded=False),
    )


def _members(side: str, values: Iterable[Tensor], name: str, bounded: bool) -> Schema:
    properties: dict[str, Schema] = {}
    definitions: dict[str, Schema] = {}
    for value in values:
        if value.name in properties:
            raise ContractError(f"{name} has two {side}s called {value.name!r}, expected different names")
        schema = _schema_of(value, f"the {side} {value.name!r} of {name}", bounded)
        definitions |= schema.pop("$defs", {})
        properties[value.name] = {"description": str(value), **schema}
    whole: Schema = {"type": "object", "properties": properties, "required": list(properties)}
    if bounded:
        whole["additionalProperties"] = False
    return whole | ({"$defs": definitions} if definitions else {})


def _schema_of(value: Tensor, name: str, bounded: bool) -> Schema:
    if isinstance(value, Other):
        raise ContractError(
            f"{name} is of the type {value}, expected a tensor",
            "Export the model with tensors alone, or serve it with a typed function.",
        )
    if isinstance(value, Records):
        row: Schema = {"type": "object", "additionalProperties": _element(value.value, name)}
        if value.key != "string":
            row["propertyNames"] = {"pattern": _WHOLE_NAME}
        return {"type": "array", "items": row}
    schema = _element(value.dtype, name)
    if value.shape is None:
        return _any_rank(value.dtype, schema, bounded)
    for dimension in reversed(value.shape):
        schema = {"type": "array", "items": schema}
        if isinstance(dimension, int):
            schema |= {"minItems": dimension, "maxItems": dimension}
        elif bounded:
            schema["minItems"] = 1
    return schema


def _any_rank(dtype: str, element: Schema, bounded: bool) -> Schema:
    """One element, or arrays of arrays of any depth."""
    itself = {"$ref": f"#/$defs/{dtype}-array"}
    nested = {"type": "array", "items": itself} | ({"minItems": 1} if bounded else {})
    return {**itself, "$defs": {f"{dtype}-array": {"anyOf": [element, nested]}}}


def _element(dtype: str, name: str) -> Schema:
    """One element of a tensor."""
    if dtype in _LARGEST_FLOAT:
        largest = _LARGEST_FLOAT[dtype]
        return {"type": "number", "minimum": -largest, "maximum": largest}
    if dtype in _INTEGER_BITS:
        half = 1 << (_INTEGER_BITS[dtype] - 1)
        return {"type": "integer", "minimum": -half, "maximum": half - 1}
    if dtype in _UNSIGNED_BITS:
        return {"type": "integer", "minimum": 0, "maximum": (1 << _UNSIGNED_BITS[dtype]) - 1}
    plain = {"float64": "number", "bool": "boolean", "string": "string"}
    if dtype not in plain:
        raise ContractError(
            f"{name} has elements of the type {dtype}, which JSON cannot carry here",
            f"Cast it to one of {', '.join([*plain, *_LARGEST_FLOAT, *_INTEGER_BITS, *_UNSIGNED_BITS])}.",
        )
    return {"type": plain[dtype]}


def _model(reader: Reader) -> Interface:
    ir_version, producer = 0, ""
    opsets: list[tuple[str, int]] = []
    graphs: list[Span] = []
    for number, value in reader.fields(reader.whole):
        if number == _IR_VERSION and isinstance(value, int):
            ir_version = value
        elif number == _PRODUCER and isinstance(value, Span):
            producer = reader.text(value)
        elif number == _OPSETS and isinstance(value, Span):
            opsets.append(_opset(reader, value))
        elif number == _GRAPH and isinstance(value, Span):
            graphs.append(value)
    if not ir_version or not graphs:
        raise reader.broken("no graph" if ir_version else "no IR version")
    inputs, outputs = _graph(reader, graphs)
    if not outputs:
        raise reader.broken("a graph without outputs")
    return Interface(inputs, outputs, ir_version, tuple(opsets), producer)


def _opset(reader: Reader, span: Span) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in reader.fields(span):
        if number == _DOMAIN and isinstance(value, Span):
            domain = reader.text(value)
        elif number == _VERSION and isinstance(value, int):
            version = value
    return domain, version


def _graph(reader: Reader, graphs: Iterable[Span]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs that have no default, and outputs. A message that stands twice is merged, as protobuf has it."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    defaults: set[str] = set()
    for graph in graphs:
        for number, value in reader.fields(graph):
            if not isinstance(value, Span):
                continue
            if number == _INPUT:
                inputs.append(_value(reader, value))
            elif number == _OUTPUT:
                outputs.append(_value(reader, value))
            elif number == _INITIALIZER:
                defaults.update(_names(reader, value))
            elif number == _SPARSE:
                for values in reader.messages(value, _SPARSE_VALUES):
                    defaults.update(_names(reader, values))
    return tuple(v for v in inputs if v.name not in defaults), tuple(outputs)


def _names(reader: Reader, tensor: Span) -> list[str]:
    return [reader.text(span) for span in reader.messages(tensor, _TENSOR_NAME)]


def _value(reader: Reader, span: Span) -> Tensor:
    name, kind = "", None
    for number, value in reader.fields(span):
        if number == _NAME and isinstance(value, Span):
            name = reader.text(value)
        elif number == _TYPE and isinstance(value, Span):
            kind = value
    if not name:
        raise reader.broken("an input or output without a name")
    return _other(name, "unknown") if kind is None else _type(reader, kind, name, 0)


def _type(reader: Reader, span: Span, name: str, depth: int) -> Tensor:
    if depth > _DEEPEST_TYPE:
        raise reader.broken("a type nested too deeply")
    found: Tensor = _other(name, "unknown")
    for number, value in reader.fields(span):
        if not isinstance(value, Span):
            continue
        if number == _TENSOR:
            found = _tensor(reader, value, name)
        elif number in (_SEQUENCE, _OPTIONAL):
            found = _container(reader, value, name, "sequence" if number == _SEQUENCE else "optional", depth)
        elif number == _MAP:
            found = _map(reader, value, name, depth)
        elif number == _SPARSE_TENSOR:
            found = _other(name, f"sparse {_tensor(reader, value, name)}")
        elif number == _OPAQUE:
            found = _other(name, "opaque")
    return found


def _container(reader: Reader, span: Span, name: str, kind: str, depth: int) -> Tensor:
    element: Tensor = _other(name, "unknown")
    for inner in reader.messages(span, _ELEMENT):
        element = _type(reader, inner, name, depth + 1)
    if kind == "sequence" and isinstance(element, _Map):
        return Records(name, f"sequence({element})", None, element.key, element.value)
    return _other(name, f"{kind}({element})")


@dataclass(frozen=True, slots=True)
class _Map(Other):
    """A map, which has a JSON form only within a sequence."""

    key: str
    value: str


def _map(reader: Reader, span: Span, name: str, depth: int) -> Tensor:
    key = "unknown"
    inner: Tensor = _other(name, "unknown")
    for number, field in reader.fields(span):
        if number == _KEY and isinstance(field, int):
            key = DTYPES.get(field, f"type {field}")
        elif number == _VALUE and isinstance(field, Span):
            inner = _type(reader, field, name, depth + 1)
    kind = f"map({key}, {inner})"
    keyed = key == "string" or key in _INTEGER_BITS or key in _UNSIGNED_BITS
    if keyed and type(inner) is Tensor and not inner.shape:
        return _Map(name, kind, None, key, inner.dtype)
    return _other(name, kind)


def _tensor(reader: Reader, span: Span, name: str) -> Tensor:
    dtype, shape = "undefined", None
    for number, value in reader.fields(span):
        if number == _ELEMENT and isinstance(value, int):
            dtype = DTYPES.get(value, f"type {value}")
        elif number == _SHAPE and isinstance(value, Span):
            shape = tuple(_dimension(reader, d) for d in reader.messages(value, _DIMENSION))
    return Tensor(name, dtype, shape)


def _dimension(reader: Reader, span: Span) -> Dimension:
    found: Dimension = None
    for number, value in reader.fields(span):
        if number == _DIM_VALUE and isinstance(value, int):
            found = value if value < 1 << 63 else None  # exporters write -1 where they mean free
        elif number == _DIM_PARAM and isinstance(value, Span):
            found = reader.text(value) or None
    return found
