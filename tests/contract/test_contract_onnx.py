"""The interface of ONNX files, read from the wire format and held to what the ``onnx`` package says."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from serinus.contract import violations
from serinus.contract.onnx import DTYPES, Interface, Other, Records, Tensor, contract_of, from_onnx, interface
from serinus.contract.protobuf import Reader
from serinus.errors import ContractError

NAMES = st.text("abcXYZ/.é_", min_size=1, max_size=5)
DTYPE = st.sampled_from(sorted(DTYPES))
SHAPE = st.none() | st.lists(st.none() | st.integers(0, 5) | NAMES, max_size=4)
VALUES = st.lists(st.tuples(NAMES, DTYPE, SHAPE), min_size=1, max_size=4, unique_by=lambda v: v[0])


def _value(name: str, dtype: int, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def _expected(value: Any) -> Tensor:
    tensor = value.type.tensor_type
    dims = []
    for dim in tensor.shape.dim:
        which = dim.WhichOneof("value")
        dims.append(None if which is None else getattr(dim, which) or (0 if which == "dim_value" else None))
    return Tensor(value.name, DTYPES[tensor.elem_type], tuple(dims) if tensor.HasField("shape") else None)


@st.composite
def models(draw: Any) -> Any:
    """Models with inputs, outputs, initializers (some of them inputs too), and things nobody asks for."""
    inputs = [_value(*v) for v in draw(VALUES)]
    outputs = [_value(*v) for v in draw(VALUES)]
    named = (
        draw(st.lists(st.sampled_from([v.name for v in inputs]), unique=True)) if draw(st.booleans()) else []
    )
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, [3], b"\0" * 12, raw=True)
        for name in [*named, *draw(st.lists(NAMES.map("w".__add__), max_size=3))]
    ]
    nodes = [
        helper.make_node("Identity", ["x"], ["y"], name=name) for name in draw(st.lists(NAMES, max_size=3))
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        outputs,
        weights,
        doc_string=draw(st.text("ab", max_size=300)),
        value_info=inputs[:1],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in {"": 17, "ai.onnx.ml": 3}.items()]
    return helper.make_model(
        graph, ir_version=draw(st.integers(1, 12)), opset_imports=opsets, producer_name=draw(NAMES)
    )


def read(path: Path, content: bytes) -> Interface:
    path.write_bytes(content)
    return interface(path)


@settings(suppress_health_check=list(HealthCheck))
@given(models())
def test_the_interface_is_what_the_onnx_package_reads(
    tmp_path_factory: pytest.TempPathFactory, model: Any
) -> None:
    found = read(tmp_path_factory.getbasetemp() / "model.onnx", model.SerializeToString())
    weights = {tensor.name for tensor in model.graph.initializer}
    assert found.inputs == tuple(_expected(v) for v in model.graph.input if v.name not in weights)
    assert found.outputs == tuple(_expected(v) for v in model.graph.output)
    assert found.ir_version == model.ir_version
    assert found.opsets == tuple((o.domain, o.version) for o in model.opset_import)
    assert found.producer == model.producer_name


@settings(suppress_health_check=list(HealthCheck), max_examples=60)
@given(models(), st.data())
def test_a_file_that_is_cut_off_or_damaged_is_an_error_or_another_model(
    tmp_path_factory: pytest.TempPathFactory, model: Any, data: st.DataObject
) -> None:
    content = bytearray(model.SerializeToString())
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    whole = bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ContractError):
        found = read(path, whole)
        assert found.outputs
        assert found.ir_version


@given(st.binary(max_size=300))
def test_garbage_is_refused(content: bytes) -> None:
    # Even noise could be a model, if it began well: a field with the number 0 rules that out.
    reader = Reader(io.BytesIO(b"\0" + content), len(content) + 1, "noise")
    with pytest.raises(ContractError, match="noise is not an ONNX model"):
        list(reader.fields(reader.whole))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no IR version"),
        (b"\x08\x08", "no graph"),
        (b"\x08\x08\x3a\x00", "a graph without outputs"),
        (b"\x08", "the end of the data at byte 1"),
        (b"\x08" + b"\xff" * 11, "a number longer than ten bytes"),
        (b"\x3a\xff\xff\xff\xff\x0f", "ends at byte"),
        (b"\x0b", "the wire type 3"),
        (b"\x08\x08\x12\x02\xff\xfe", "a name that is not UTF-8"),
        (b"\x08\x08\x3a\x02\x62\x00", "an input or output without a name"),
        (b"<html>not found</html>", "not an ONNX model"),
        (b"\x08\x08\x12" + b"\x80\x80\x80\x01" + b"a" * (1 << 21), "a name of 2097152 bytes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(ContractError) as caught:
        read(tmp_path / "model.onnx", content)
    assert says in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"none\.onnx: no such file"):
        interface(tmp_path / "none.onnx")
    with pytest.raises(ContractError, match="is a directory"):
        interface(tmp_path)


def test_weights_are_passed_over_however_large(tmp_path: Path) -> None:
    """64 GiB of weights in a sparse file: only a reader that seeks comes to the output behind it."""
    path = tmp_path / "huge.onnx"
    head = helper.make_graph([], "g", [_value("x", 1, ["n", 3])], []).SerializeToString()
    tail = helper.make_graph([], "", [], [_value("y", 1, ["n"])]).SerializeToString()
    size = 1 << 36
    raw = b"\x42\x01w\x4a" + _varint(size)  # name "w", raw_data of that size
    weights = b"\x2a" + _varint(len(raw) + size) + raw
    graph = len(head) + len(weights) + size + len(tail)
    with path.open("wb") as file:
        file.write(b"\x08\x08\x3a" + _varint(graph) + head + weights)
        file.seek(size, os.SEEK_CUR)
        file.write(tail)
    found = interface(path)
    assert found.inputs == (Tensor("x", "float32", ("n", 3)),)
    assert found.outputs == (Tensor("y", "float32", ("n",)),)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def test_a_model_with_weights_in_other_files(tmp_path: Path) -> None:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1000], [0.0] * 1000)
    graph = helper.make_graph([], "g", [_value("x", 1, [1])], [_value("y", 1, [1])], [tensor])
    onnx.save(
        helper.make_model(graph), str(tmp_path / "m.onnx"), save_as_external_data=True, size_threshold=0
    )
    assert interface(tmp_path / "m.onnx").inputs == (Tensor("x", "float32", (1,)),)


def test_a_sparse_initializer_is_a_default_too(tmp_path: Path) -> None:
    values = helper.make_tensor("x", TensorProto.FLOAT, [1], [1.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [3])
    inputs = [_value("x", 1, [3]), _value("z", 1, [3])]
    graph = helper.make_graph([], "g", inputs, [_value("y", 1, [3])], sparse_initializer=[sparse])
    found = read(tmp_path / "m.onnx", helper.make_model(graph).SerializeToString())
    assert [tensor.name for tensor in found.inputs] == ["z"]


def _typed(name: str, type_proto: Any) -> Any:
    return helper.make_value_info(name, type_proto)


FLOAT = helper.make_tensor_type_proto(TensorProto.FLOAT, [])


def test_rows_of_classes_and_probabilities_are_objects(tmp_path: Path) -> None:
    rows = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, FLOAT))
    named = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, FLOAT))
    graph = helper.make_graph([], "g", [_value("x", 1, [None])], [_typed("p", rows), _typed("q", named)])
    found = read(tmp_path / "m.onnx", helper.make_model(graph).SerializeToString())
    assert [(type(o), o.key, o.value) for o in found.outputs if isinstance(o, Records)] == [
        (Records, "int64", "float32"),
        (Records, "string", "float32"),
    ]
    check = violations.compile(contract_of(found).response)
    assert check.ok({"p": [{"0": 0.25, "-1": 0.75}], "q": [{"spam": 1}]})
    assert [v.pointer for v in check.violations({"p": [{"a": 1}], "q": [{"a": True}]})] == [
        "/p/0/a",
        "/q/0/a",
    ]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (helper.make_sequence_type_proto(FLOAT), "sequence(float32[])"),
        (helper.make_optional_type_proto(FLOAT), "optional(float32[])"),
        (helper.make_map_type_proto(TensorProto.INT64, FLOAT), "map(int64, float32[])"),
        (helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [2]), "sparse float32[2]"),
        (helper.make_tensor_type_proto(TensorProto.COMPLEX64, [2]), "complex64"),
        (helper.make_tensor_type_proto(TensorProto.FLOAT8E5M2, [2]), "float8e5m2"),
        (onnx.TypeProto(), "unknown"),
    ],
)
def test_what_json_cannot_carry_is_named(tmp_path: Path, kind: Any, says: str) -> None:
    graph = helper.make_graph([], "g", [_typed("odd", kind)], [_value("y", 1, [1])])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ContractError) as caught:
        from_onnx(path)
    assert "the input 'odd'" in caught.value.message
    assert says in caught.value.message
    assert all(isinstance(value, Tensor) for value in interface(path).inputs)
    assert isinstance(interface(path).inputs[0], Other) or says in ("complex64", "float8e5m2")


def test_two_inputs_of_one_name_are_refused() -> None:
    twice = Interface((Tensor("x", "bool", ()), Tensor("x", "bool", ())), (), 8, ())
    with pytest.raises(ContractError, match="two inputs called 'x'"):
        contract_of(twice)


@pytest.mark.parametrize(
    ("dtype", "right", "wrong"),
    [
        ("float32", [0, -1.5, 3.4028234663852886e38], [3.5e38, "1", True, None]),
        ("float16", [65504, 0.1], [65505.0]),
        ("bfloat16", [3.3895313892515355e38], [3.4e38]),
        ("float64", [1.7e308], ["x"]),
        ("int8", [-128, 127, 1.0], [-129, 128, 0.5]),
        ("uint16", [0, 65535], [-1, 65536]),
        ("int64", [-(1 << 63), (1 << 63) - 1], [1 << 63]),
        ("uint64", [(1 << 64) - 1], [1 << 64, -1]),
        ("bool", [True, False], [0, 1, "true"]),
        ("string", ["", "é"], [1, None]),
    ],
)
def test_elements_have_the_range_of_their_type(dtype: str, right: list[Any], wrong: list[Any]) -> None:
    contract = contract_of(Interface((Tensor("x", dtype, ()),), (Tensor("y", dtype, ()),), 8, ()))
    check = violations.compile(contract.request)
    assert all(check.ok({"x": value}) for value in right)
    for value in wrong:
        assert [v.pointer for v in check.violations({"x": value})] == ["/x"]


def test_dimensions() -> None:
    tensor = Tensor("x", "int64", (None, "n", 2))
    contract = contract_of(Interface((tensor,), (tensor,), 8, ()))
    request, response = violations.compile(contract.request), violations.compile(contract.response)
    assert request.ok({"x": [[[1, 2]], [[3, 4]]]})
    for bad, place in (
        ([], "/x"),
        ([[]], "/x/0"),
        ([[[1]]], "/x/0/0"),
        ([[[1, 2, 3]]], "/x/0/0"),
        ([[1, 2]], "/x/0/0"),
    ):
        assert request.violations({"x": bad})[0].pointer == place
    assert response.ok({"x": []})
    assert response.ok({"x": [[]]})
    assert not response.ok({"x": [[[1]]]})
    assert response.ok({"x": [], "more": 1})
    assert [v.pointer for v in request.violations({"y": 1})] in (["/x", "/y"], ["/y", "/x"])


def test_any_number_of_dimensions() -> None:
    tensors = (Tensor("x", "bool", None), Tensor("z", "bool", None), Tensor("s", "string", None))
    contract = contract_of(Interface(tensors, tensors, 8, ()))
    check = violations.compile(contract.request)
    assert check.ok({"x": True, "z": [[[True], [False]]], "s": ["a"]})
    assert [v.pointer for v in check.violations({"x": [[True, 1]], "z": [True], "s": "a"})] == ["/x/0/1"]
    assert not check.ok({"x": [], "z": True, "s": "a"})
    assert violations.compile(contract.response).ok({"x": [], "z": [], "s": []})


@pytest.mark.shared
def test_real_models(shared: Path) -> None:
    roberta = interface(shared / "models" / "roberta-sentiment" / "model.int8.onnx")
    assert [str(t) for t in roberta.inputs] == ["int64[batch, seq]", "int64[batch, seq]"]
    assert roberta.outputs == (Tensor("logits", "float32", ("batch", 2)),)
    cancer = from_onnx(shared / "models" / "tabular" / "breast_cancer.onnx")
    check = violations.compile(cancer.request)
    assert check.ok({"X": [[0.5] * 30]})
    assert check.violations({"X": [[0.5] * 29]})[0].pointer == "/X/0"
    for path in (shared / "models").rglob("*.onnx"):
        model = onnx.load(str(path), load_external_data=False)
        weights = {tensor.name for tensor in model.graph.initializer}
        found = interface(path)
        assert found.inputs == tuple(_expected(v) for v in model.graph.input if v.name not in weights)
        assert found.outputs == tuple(_expected(v) for v in model.graph.output)
