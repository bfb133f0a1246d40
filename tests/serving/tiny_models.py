"""Tiny ONNX models for tests, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "string": TensorProto.STRING,
}

Value = tuple[str, str, Sequence[int | str | None] | None]


def model(
    inputs: Sequence[Value],
    outputs: Sequence[Any],
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ir: int = 9,
) -> onnx.ModelProto:
    """A model of these values, nodes and weights; an output may be a ready ``ValueInfoProto``."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TYPES[t], s) for n, t, s in inputs],
        [
            helper.make_tensor_value_info(v[0], TYPES[v[1]], v[2]) if isinstance(v, tuple) else v
            for v in outputs
        ],
        list(weights),
    )
    domains = {node.domain for node in nodes} | {""}
    opsets = [helper.make_opsetid(domain, opset if not domain else 3) for domain in sorted(domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def save(made: onnx.ModelProto, path: Path) -> Path:
    """Write the model to a file."""
    path.write_bytes(made.SerializeToString())
    return path


def echo(dtype: str, shape: Sequence[int | str | None] | None = ("n", None)) -> onnx.ModelProto:
    """``y`` is ``x``."""
    return model([("x", dtype, shape)], [("y", dtype, shape)], [helper.make_node("Identity", ["x"], ["y"])])


def logarithm() -> onnx.ModelProto:
    """``y`` is the logarithm of ``x``: minus infinity for 0, NaN below."""
    return model(
        [("x", "float32", ["n", 2])], [("y", "float32", ["n", 2])], [helper.make_node("Log", ["x"], ["y"])]
    )


def pair() -> onnx.ModelProto:
    """``sum`` of two inputs that share a dimension, and ``text`` beside it as it came."""
    return model(
        [("a", "float32", ["batch", 2]), ("b", "float32", ["batch", 2]), ("text", "string", ["batch"])],
        [("sum", "float32", ["batch", 2]), ("same", "string", ["batch"])],
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Identity", ["text"], ["same"])],
    )


def embedding(rows: int = 4) -> onnx.ModelProto:
    """``row`` of a table by its number; a number out of the table is the model's error."""
    table = numpy_helper.from_array(numpy.arange(rows * 3, dtype="float32").reshape(rows, 3), "table")
    return model(
        [("id", "int64", ["n"])],
        [("row", "float32", ["n", 3])],
        [helper.make_node("Gather", ["table", "id"], ["row"])],
        [table],
    )


def zipmap() -> onnx.ModelProto:
    """``probability`` as scikit-learn's converter makes it: a map of class to number for each row."""
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    return model(
        [("x", "float32", ["n", 2])],
        [
            ("raw", "float32", ["n", 2]),
            helper.make_value_info("probability", helper.make_sequence_type_proto(kind)),
        ],
        [
            helper.make_node("Identity", ["x"], ["raw"]),
            helper.make_node(
                "ZipMap", ["x"], ["probability"], domain="ai.onnx.ml", classlabels_int64s=[3, 5]
            ),
        ],
    )


def matrix(path: Path, external: str) -> Path:
    """A product with a matrix of ones whose weights lie in the file ``external`` beside the model."""
    weights = numpy_helper.from_array(numpy.ones((8, 8), "float32"), "w")
    made = model(
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 8])],
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [weights],
    )
    onnx.save(made, path, save_as_external_data=True, location=external, size_threshold=0)
    return path
