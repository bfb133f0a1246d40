"""The nodes of an ONNX graph and the shapes of its weights, read without the weights.

Field numbers are those of ``onnx.proto3`` (ONNX IR specification).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serinus.contract.protobuf import Reader, Span

_GRAPH = 7  # ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12  # GraphProto
_NODE_INPUT, _NODE_OUTPUT, _OPERATOR = 1, 2, 4  # NodeProto
_DIMS, _TENSOR_NAME, _NAME = 1, 8, 1  # TensorProto, ValueInfoProto

LOOKUPS = {
    "Gather": (1, 0),
    "GatherBlockQuantized": (1, 0),
    "EmbedLayerNormalization": (0, 2),
    "QEmbedLayerNormalization": (0, 2),
}
"""Operators that look rows up -> which of their inputs are the numbers of the rows, and the rows."""
_SAME_ROWS = ("Cast", "Identity", "DequantizeLinear", "Reshape", "Unsqueeze", "Squeeze", "Flatten")


@dataclass(frozen=True, slots=True)
class Node:
    """One operation."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """What a graph consists of."""

    nodes: tuple[Node, ...]
    weights: dict[str, tuple[int, ...]]
    """Initializer -> its shape."""
    inputs: tuple[str, ...]
    """Those with a default too."""
    outputs: tuple[str, ...]


def read(path: Path) -> Graph:
    """Read a graph.

    Raises:
        ContractError: the file is no ONNX model.
    """
    nodes: list[Node] = []
    weights: dict[str, tuple[int, ...]] = {}
    inputs: list[str] = []
    outputs: list[str] = []
    with path.open("rb") as file:
        reader = Reader(file, path.stat().st_size, str(path))
        for graph in reader.messages(reader.whole, _GRAPH):
            for number, value in reader.fields(graph):
                if not isinstance(value, Span):
                    continue
                if number == _NODE:
                    nodes.append(_node(reader, value))
                elif number == _INITIALIZER:
                    name, dims = _tensor(reader, value)
                    weights[name] = dims
                elif number in (_INPUT, _OUTPUT):
                    names = [reader.text(span) for span in reader.messages(value, _NAME)]
                    (inputs if number == _INPUT else outputs).extend(names)
    return Graph(tuple(nodes), weights, tuple(inputs), tuple(outputs))


def rows(graph: Graph, name: str) -> int | None:
    """Rows of the smallest table that an input's numbers are looked up in; None where none is found. Pure."""
    made = {output: node for node in graph.nodes for output in node.outputs}

    def origin(value: str) -> str:
        for _ in graph.nodes:
            node = made.get(value)
            if node is None or node.operator not in _SAME_ROWS or not node.inputs:
                break
            value = node.inputs[0]
        return value

    found = []
    for node in graph.nodes:
        ids, table = LOOKUPS.get(node.operator, (0, 0))
        if node.operator not in LOOKUPS or len(node.inputs) <= max(ids, table):
            continue
        shape = graph.weights.get(origin(node.inputs[table]), ())
        if origin(node.inputs[ids]) == name and len(shape) >= 2:
            found.append(shape[0])
    return min(found, default=None)


def _node(reader: Reader, span: Span) -> Node:
    operator = ""
    inputs: list[str] = []
    outputs: list[str] = []
    for number, value in reader.fields(span):
        if not isinstance(value, Span):
            continue
        if number == _NODE_INPUT:
            inputs.append(reader.text(value))
        elif number == _NODE_OUTPUT:
            outputs.append(reader.text(value))
        elif number == _OPERATOR:
            operator = reader.text(value)
    return Node(operator, tuple(inputs), tuple(outputs))


def _tensor(reader: Reader, span: Span) -> tuple[str, tuple[int, ...]]:
    name, dims = "", []
    for number, value in reader.fields(span):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else list(reader.integers(value))
        elif number == _TENSOR_NAME and isinstance(value, Span):
            name = reader.text(value)
    return name, tuple(dims)
