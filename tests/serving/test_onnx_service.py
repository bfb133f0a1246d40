"""A bare ONNX file as a service, and the way of JSON into tensors and back."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy
import orjson
import pytest
import tiny_models
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serinus.contract import Contract, violations
from serinus.contract.onnx import Interface, Tensor, contract_of
from serinus.contract.violations import BrokenContract
from serinus.errors import ServiceError
from serinus.serving import reading, tensors
from serinus.serving.answers import Prediction, Problem
from serinus.serving.bfloat16 import from_bits, to_bits
from serinus.serving.onnx import CALM, OnnxService, load, measure, small_work


def service(tmp_path: Path, model: Any) -> OnnxService:
    return load(tiny_models.save(model, tmp_path / "model.onnx"), threads=1)


async def answered(served: OnnxService, body: bytes) -> bytes:
    made = served.predict(body)
    return (made if isinstance(made, Prediction) else await made).body


def ask(served: OnnxService, request: Any) -> Any:
    """The decoded answer; both ways, on the loop and in a thread, must give the same."""
    body = json.dumps(request).encode()
    first = asyncio.run(answered(served, body))
    in_thread = OnnxService(
        served.name, served.contract, served.inputs, served.outputs, run=served._run, threads=1
    )
    assert asyncio.run(answered(in_thread, body)) == first
    answer = json.loads(first)
    assert violations.compile(served.contract.response).violations(answer) == ()
    return answer


def faults(served: OnnxService, request: Any) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        asyncio.run(answered(served, json.dumps(request).encode()))
    assert caught.value.status == 422
    assert caught.value.violations[0].message in caught.value.detail
    return dict(caught.value.violations)


# ------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("dtype", "rows"),
    [
        ("bool", [[True, False], [False, True]]),
        ("int8", [[-128, 127]]),
        ("int16", [[-32768, 32767]]),
        ("int32", [[-(2**31), 2**31 - 1]]),
        ("int64", [[-(2**63), 2**63 - 1]]),
        ("uint8", [[0, 255]]),
        ("uint16", [[0, 65535]]),
        ("uint32", [[0, 2**32 - 1]]),
        ("uint64", [[0, 2**64 - 1]]),
        ("float16", [[-65504.0, 0.5, 3]]),
        ("bfloat16", [[-3.3895313892515355e38, 0.5, 3.0]]),
        ("float32", [[-3.4028234663852886e38, 3.4028234663852886e38]]),
        ("float32", [[0.1, 1e-45, -1.5]]),
        ("float64", [[-1.7976931348623157e308, 5e-324, 0.1]]),
        ("string", [["", "a\0b", "Zürich \U0001f600"]]),
    ],
)
def test_every_element_type_goes_in_and_comes_out(tmp_path: Path, dtype: str, rows: list[Any]) -> None:
    assert ask(service(tmp_path, tiny_models.echo(dtype)), {"x": rows}) == {"y": rows}


def test_a_whole_float_is_an_integer_as_in_json_schema(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.echo("int8"))
    assert ask(served, {"x": [[1.0, 2]]}) == {"y": [[1, 2]]}
    assert faults(served, {"x": [[1.5, 2.0]]}) == {
        "/x/0/0": "found the number 1.5, expected an integer from -128 to 127"
    }


def test_a_scalar_and_a_tensor_of_free_rank(tmp_path: Path) -> None:
    assert ask(service(tmp_path, tiny_models.echo("float32", [])), {"x": 0.1}) == {"y": 0.1}
    anything = service(tmp_path, tiny_models.echo("int32", None))
    for value in (7, [7], [[1, 2], [3, 4]], [[[1]], [[2]]]):
        assert ask(anything, {"x": value}) == {"y": value}
    assert list(faults(anything, {"x": [[1, 2], [3]]})) == ["/x/1"]


def test_maps_of_a_classifier_are_objects(tmp_path: Path) -> None:
    answer = ask(service(tmp_path, tiny_models.zipmap()), {"x": [[0.25, 0.75], [1.0, 0.0]]})
    assert answer["probability"] == [{"3": 0.25, "5": 0.75}, {"3": 1.0, "5": 0.0}]


def test_several_inputs_and_text(tmp_path: Path) -> None:
    request = {"a": [[1, 2]], "b": [[0.5, 0.5]], "text": ["hello"]}
    assert ask(service(tmp_path, tiny_models.pair()), request) == {"sum": [[1.5, 2.5]], "same": ["hello"]}


# -------------------------------------------------------------------------------------- faults


def test_each_fault_of_a_request_is_named_with_its_pointer(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.pair())
    found = faults(served, {"a": [[1, "x"], [2], [3, None]], "text": [1], "no/such": 1})
    assert found == {
        "/a/0/1": 'found the string "x", expected a number from -3.40282e+38 to 3.40282e+38',
        "/a/1": "found 1 element, expected 2",
        "/a/2/1": "found null, expected a number from -3.40282e+38 to 3.40282e+38",
        "/b": "this input is missing, expected float32[batch, 2]",
        "/text/0": "found the number 1, expected a string",
        "/no~1such": "there is no such input, expected a, b, text",
    }


def test_dimensions_of_one_name_agree(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.pair())
    found = faults(served, {"a": [[1, 2]], "b": [[1, 2], [3, 4]], "text": ["x"]})
    assert found == {"/b": "found 2 elements, expected 1, the 'batch' of a"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[1, 2], [3], [4, 5], []], {"/x/1": "found 1 element, expected 2 like the arrays before it"}),
        ([], {"/x": "found an empty array, expected at least one element"}),
        (5, {"/x": "found the number 5, expected an array"}),
        ([[True]], {"/x/0/0": "found the boolean true, expected an integer from 0 to 255"}),
        ([[256]], {"/x/0/0": "found the number 256, expected an integer from 0 to 255"}),
        ([[[1]]], {"/x/0/0": "found an array of 1 item, expected an integer from 0 to 255"}),
    ],
)
def test_arrays_that_are_none(tmp_path: Path, value: Any, expected: dict[str, str]) -> None:
    found = faults(service(tmp_path, tiny_models.echo("uint8")), {"x": value})
    assert found.items() >= expected.items()


def test_a_number_beyond_the_type_is_out_of_range(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.echo("float16"))
    assert list(faults(served, {"x": [[65504, 65505, -1e300]]})) == ["/x/0/1", "/x/0/2"]


def test_a_hundred_faults_are_enough(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.echo("bool"))
    assert len(faults(served, {"x": [[0] * 1000]})) == tensors.MAX_VIOLATIONS


@pytest.mark.parametrize("document", [None, [], "x", 3, {}])
def test_a_request_that_is_no_object_or_an_empty_one(tmp_path: Path, document: Any) -> None:
    assert set(faults(service(tmp_path, tiny_models.echo("bool")), document)) <= {"", "/x"}


@pytest.mark.parametrize(
    "body", [b"", b'{"x": [[NaN]]}', b'{"x": [[1e999]]}', b'{"x": [[1]', b'"\xff"', b"[" * 9999]
)
def test_a_body_that_is_not_json_is_malformed_and_the_place_is_named(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(Problem, match=r"not JSON.*line 1 column") as caught:
        asyncio.run(answered(service(tmp_path, tiny_models.echo("float64")), body))
    assert caught.value.status == 400


def test_nan_and_infinity_never_reach_the_wire(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.logarithm())
    with pytest.raises(BrokenContract) as caught:
        asyncio.run(answered(served, b'{"x": [[1, 1], [0, -1]]}'))
    assert caught.value.violations == (
        ("/y/1/0", "found -inf, expected a finite number"),
        ("/y/1/1", "found nan, expected a finite number"),
    )
    with pytest.raises(BrokenContract, match="/p/0/3"):
        tensors.encode({"p": [{3: math.inf, 5: 0.5}]})


def test_what_the_model_raises_is_for_the_server(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.embedding())
    assert ask(served, {"id": [2]}) == {"row": [[6.0, 7.0, 8.0]]}
    with pytest.raises(Exception, match="out of data bounds"):
        asyncio.run(answered(served, b'{"id": [99]}'))


# ---------------------------------------------------------------------------------- properties

NAMES = [name for name in tensors.ELEMENTS if name != "bfloat16"]
DIMENSIONS = st.lists(st.sampled_from([1, 2, 3, "n", "m", None]), max_size=3)
SCALARS = [
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
]
JSON = st.recursive(
    st.one_of(SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300)
@given(dtype=st.sampled_from(sorted(tensors.ELEMENTS)), shape=DIMENSIONS, value=JSON)
@example(dtype="int64", shape=[], value=2.0**63)
@example(dtype="uint64", shape=["n"], value=[1.0, 2**64 - 1])
def test_a_value_is_taken_exactly_when_it_has_no_fault(dtype: str, shape: list[Any], value: Any) -> None:
    tensor = Tensor("x", dtype, tuple(shape))
    array = tensors.to_array(tensor, value)
    found = tensors.violations(tensor, value, "/x")
    assert (array is None) == bool(found)
    schema_faults = violations.compile(
        contract_of(Interface((tensor,), (tensor,), 9, ())).request
    ).violations({"x": value})
    if schema_faults:
        assert found, f"the schema finds {schema_faults}"
    elif found:
        # A schema cannot say that all arrays at one depth are of one length.
        assert all("like the arrays before it" in fault.message for fault in found)


@st.composite
def tensors_and_values(draw: st.DrawFn) -> tuple[Tensor, Any]:
    name = draw(st.sampled_from(NAMES))
    element = tensors.ELEMENTS[name]
    shape = draw(arrays.array_shapes(max_dims=4, max_side=4) | st.just(()))
    elements: st.SearchStrategy[Any]
    if element.kind == "string":
        elements = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    elif element.kind == "float":
        elements = arrays.from_dtype(numpy.dtype(element.numpy), allow_nan=False, allow_infinity=False)
    else:
        elements = arrays.from_dtype(numpy.dtype(element.numpy))
    value = draw(arrays.arrays(element.numpy, shape, elements=elements))
    dimensions = tuple(draw(st.sampled_from([d, "n", None])) for d in shape)
    if value.ndim and draw(st.booleans()):
        value = numpy.asfortranarray(value)
    return Tensor("x", name, dimensions), value


@settings(max_examples=200)
@given(tensors_and_values())
def test_what_is_written_reads_back_bit_by_bit(pair: tuple[Tensor, Any]) -> None:
    tensor, value = pair
    read = tensors.to_array(tensor, orjson.loads(tensors.encode({"x": value}))["x"])
    assert read is not None
    assert read.dtype == value.dtype
    assert read.shape == value.shape
    assert read.tolist() == value.tolist()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_bfloat16_is_the_nearest_one(values: list[float]) -> None:
    array = numpy.array(values, "float32")
    assume(bool((numpy.abs(array) < tensors.ELEMENTS["bfloat16"].high).all()))
    bits = to_bits(array)
    narrow = from_bits(bits)
    assert (to_bits(narrow) == bits).all(), "what is one already stays as it is"
    for wide, near in zip(array.astype("float64"), narrow.astype("float64"), strict=True):
        upper = struct.unpack("<I", struct.pack("<f", wide))[0] & 0xFFFF0000
        below = struct.unpack("<f", struct.pack("<I", upper))[0]
        above = struct.unpack("<f", struct.pack("<I", upper + 0x10000))[0]
        assert abs(near - wide) == min(abs(below - wide), abs(above - wide))


def test_a_bfloat16_that_is_no_number_stays_none() -> None:
    assert numpy.isnan(from_bits(to_bits(numpy.array([numpy.nan, -numpy.nan], "float32")))).all()
    assert from_bits(to_bits(numpy.array([numpy.inf], "float32")))[0] == numpy.inf


# ------------------------------------------------------------------------------------- loading


def broken(path: Path) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        load(path, threads=1)
    assert str(path) in caught.value.message
    assert caught.value.todo
    return caught.value


def test_weights_beside_the_model_are_found_and_missed(tmp_path: Path) -> None:
    path = tiny_models.matrix(tmp_path / "model.onnx", "weights.bin")
    assert ask(load(path, threads=1), {"x": [[1] * 8]}) == {"y": [[8] * 8]}
    (tmp_path / "weights.bin").write_bytes(b"\0" * 100)
    assert "needs 256 bytes of an external file that has 100" in broken(path).message
    (tmp_path / "weights.bin").unlink()
    error = broken(path)
    assert "weights.bin" in error.message
    assert "beside the model" in error.todo


def test_a_model_that_is_too_new(tmp_path: Path) -> None:
    newer = tiny_models.echo("float32")
    newer.ir_version = 99
    assert (
        "IR version is 99, the runtime reads up to" in broken(tiny_models.save(newer, tmp_path / "a")).message
    )
    newer = tiny_models.echo("float32")
    newer.opset_import[0].version = 99
    error = broken(tiny_models.save(newer, tmp_path / "b"))
    assert "opset is 99 of ai.onnx" in error.message
    assert "opset" in error.todo


def test_an_operator_that_is_not_there(tmp_path: Path) -> None:
    odd = tiny_models.echo("float32")
    odd.graph.node[0].op_type = "Nope"
    assert "operator Nope" in broken(tiny_models.save(odd, tmp_path / "a")).message
    odd.graph.node[0].domain = "our.ops"
    odd.opset_import.add(domain="our.ops", version=1)
    assert "our.ops:Nope" in broken(tiny_models.save(odd, tmp_path / "b")).message


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    whole = tiny_models.save(tiny_models.embedding(), tmp_path / "whole").read_bytes()
    for name, content in {"cut": whole[:-9], "empty": b"", "text": b"Hello, world! " * 9}.items():
        (tmp_path / name).write_bytes(content)
        broken(tmp_path / name)
    broken(tmp_path / "missing")


def test_an_input_that_json_cannot_carry(tmp_path: Path) -> None:
    odd = tiny_models.echo("float32")
    odd.graph.input[0].type.tensor_type.elem_type = 14
    assert "complex64" in broken(tiny_models.save(odd, tmp_path / "a")).message


def test_a_contract_that_is_given_is_the_one_to_keep(tmp_path: Path) -> None:
    path = tiny_models.save(tiny_models.echo("bool"), tmp_path / "model.onnx")
    contract = Contract({"type": "object"}, {"type": "object"})
    assert load(path, contract=contract, threads=1).contract is contract


# ---------------------------------------------------------------------------- where it is run


def test_small_work_is_measured_once_and_runs_on_the_loop(tmp_path: Path) -> None:
    ticks = iter([0, 100e-6] * 5)  # five runs of 100 microseconds
    pairs = (Tensor("x", "float32", ("n", 30)), Tensor("text", "string", ("n",)))
    runs: list[Any] = []

    def run(names: Any, feeds: Any) -> list[Any]:
        runs.append(feeds)
        return []

    small = small_work(pairs, measure(run, pairs, (), clock=lambda: next(ticks)))
    assert small == 2 * (30 + len(runs[0]["text"][0]))

    def refuse(names: Any, feeds: Any) -> list[Any]:
        raise ValueError("this model wants more than one")

    assert small_work(pairs, measure(refuse, pairs, ())) == 0


@pytest.mark.parametrize(
    ("calm", "stolen", "goes"),
    [(0, False, True), (30, False, True), (CALM, False, False), (0, True, False)],
    ids=["in a row", "often", "now and then", "somebody else had the core"],
)
def test_small_work_that_takes_long_again_and_again_goes_to_the_threads(
    calm: int, stolen: bool, goes: bool
) -> None:
    here, where = threading.current_thread(), []
    now = worked = 0.0
    tensor = Tensor("x", "float32", ("n",))

    def run(names: Any, feeds: Any) -> list[Any]:
        nonlocal now, worked
        where.append(threading.current_thread())
        now += float(feeds["x"][0])
        worked += 0.0 if stolen else float(feeds["x"][0])
        return [numpy.zeros(1)]

    clocks = {"clock": lambda: now, "worked": lambda: worked}
    served = OnnxService("m", Contract({}, {}), (tensor,), (tensor,), run=run, threads=1, small=5, **clocks)

    async def main() -> None:
        await answered(served, b'{"x": [0, 2, 3, 4, 5, 6]}')
        for _ in range(6):
            await answered(served, b'{"x": [1]}')
            for _ in range(calm):
                await answered(served, b'{"x": [0]}')

    asyncio.run(main())
    assert where[0] is not here, "too large to begin with"
    assert where[1] is here
    assert (where[-1] is not here) == goes


NUMBERS = st.one_of(
    st.floats(width=32),
    st.floats(),
    st.integers(-(10**40), 10**40),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)
ROWS = st.lists(st.one_of(st.lists(NUMBERS, max_size=4), st.text(max_size=3), NUMBERS), max_size=4)
ALIKE = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.floats(width=16) | st.integers(-9, 9), min_size=width, max_size=width), max_size=4
    )
)


@given(
    st.one_of(ALIKE, ROWS, NUMBERS, st.just({})),
    st.sampled_from(["float16", "float32", "float64", "bfloat16"]),
    st.tuples(st.sampled_from(["n", None, 0, 1, 2]), st.sampled_from(["m", None, 1, 2, 3])),
)
def test_small_matrices_are_read_sooner_and_not_otherwise(value: Any, dtype: str, shape: Any) -> None:
    tensor = Tensor("x", dtype, shape)
    sooner, later = reading.matrix(tensor)(value), tensors.to_array(tensor, value)
    if sooner is not None:
        assert later is not None
        assert (sooner.dtype, sooner.shape) == (later.dtype, later.shape)
        assert sooner.tobytes() == later.tobytes()


@pytest.mark.parametrize("value", [[[0.0, float("nan")]], [[float("nan"), 0.0]], [[1.0], [float("nan")]]])
def test_a_small_matrix_with_what_is_no_number_is_left_to_who_refuses_it(value: Any) -> None:
    assert reading.matrix(Tensor("x", "float32", (None, None)))(value) is None


def test_a_small_matrix_is_read_sooner() -> None:
    assert reading.matrix(Tensor("x", "float32", (None, 2)))([[1, 2.5], [3, 4]]) is not None


def test_a_large_body_is_read_in_a_thread_with_the_same_answer(tmp_path: Path) -> None:
    served = service(tmp_path, tiny_models.echo("int32"))
    rows = [list(range(1000))] * 40
    assert ask(served, {"x": rows}) == {"y": rows}


def test_loading_the_module_loads_neither_numpy_nor_the_runtime() -> None:
    script = (
        "import sys, serinus.serving.onnx, serinus.serving.oip\n"
        "print([m for m in ('numpy', 'onnxruntime', 'pydantic', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serving_a_model_needs_no_pydantic_and_writes_nothing(tmp_path: Path) -> None:
    path = tiny_models.save(tiny_models.embedding(), tmp_path / "model.onnx")
    script = (
        "import sys, asyncio, pathlib\n"
        "from serinus.serving.onnx import load\n"
        "served = load(pathlib.Path(sys.argv[1]))\n"
        "async def main(): return await served.predict(b'{\"id\": [99]}')\n"
        "try: asyncio.run(main())\n"
        "except Exception as error: assert 'out of data bounds' in str(error)\n"
        "print([m for m in ('pydantic', 'onnx', 'jsonschema_rs') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == "", "the runtime's own lines would stand among the JSON of the log"


@pytest.mark.shared
def test_published_models(shared: Path) -> None:
    served = load(shared / "models/tabular/breast_cancer.onnx", threads=1)
    answer = ask(served, {"X": [[0.0] * 30, [1.0] * 30]})
    assert answer["label"] == [1, 1]
    assert len(faults(served, {"X": [[0.0] * 29]})) == 1
