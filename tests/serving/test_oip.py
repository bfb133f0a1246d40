"""The Open Inference Protocol: as its own client, tritonclient, speaks it, and as nobody should."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy
import pytest
import tiny_models
import tritonclient.http as triton  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from served import Served, serving
from tritonclient.utils import (  # type: ignore[import-untyped]
    InferenceServerException,
    np_to_triton_dtype,
)

import serinus
from serinus.contract.onnx import Records, Tensor
from serinus.serving import oip, tensors
from serinus.serving.answers import Answer, Problem
from serinus.serving.oip_tensors import Inference, Wanted, read, write
from serinus.serving.onnx import load

X = Tensor("x", "float32", ("n", 2))
Y = Tensor("y", "float32", ("n", 2))
LABELS = Records("labels", "sequence(map(int64, float32))", None, "int64", "float32")


class Doubler:
    """A model in memory: ``y`` is twice ``x``."""

    def __init__(self) -> None:
        self.inputs: tuple[Tensor, ...] = (X,)
        self.outputs: tuple[Tensor, ...] = (Y, LABELS)

    async def infer(self, feeds: Mapping[str, Any], names: Any = None) -> dict[str, Any]:
        return {name: feeds["x"] * numpy.float32(2) for name in names}

    async def offload(self, function: Any, *args: Any) -> Any:
        return function(*args)


MODEL = oip.Model(Doubler(), "twice", "7")


def call(
    method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None, *, ready: bool = True
) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    return asyncio.run(oip.handle(MODEL, method, path, named, raw, ready=ready))


def infer(body: Any, **headers: str) -> Answer:
    return call("POST", "/v2/models/twice/infer", body, headers)


def tensor(data: Any, shape: Any = (1, 2), **members: Any) -> dict[str, Any]:
    return {"name": "x", "shape": shape, "datatype": "FP32", "data": data, **members}


# -------------------------------------------------------------------------------------- routes


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/twice/ready", {"name": "twice", "ready": True}),
        ("/v2/models/twice/versions/7/ready", {"name": "twice", "ready": True}),
        (
            "/v2",
            {
                "name": "serinus",
                "version": serinus.__version__,
                "extensions": ["binary_tensor_data", "model_configuration"],
            },
        ),
        (
            "/v2/models/twice/versions/7",
            {
                "name": "twice",
                "versions": ["7"],
                "platform": "onnx_onnxv1",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
            },
        ),
    ],
)
def test_health_and_metadata(path: str, document: Any) -> None:
    for method in ("GET", "HEAD"):
        answer = call(method, path)
        assert answer.status == 200
        assert json.loads(answer.body) == document


def test_a_server_that_is_not_ready_says_so_everywhere() -> None:
    paths = {"/v2/health/ready": 503, "/v2/models/twice/ready": 503, "/v2/health/live": 200, "/v2": 200}
    assert {path: call("GET", path, ready=False).status for path in paths} == paths
    answer = call("POST", "/v2/models/twice/infer", {"inputs": [tensor([1, 2])]}, ready=False)
    assert answer.status == 503
    assert ("retry-after", "1") in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/v2/models/other", 404, "only twice"),
        ("GET", "/v2/models/twice/versions/8", 404, "only 7"),
        ("GET", "/v2/models/twice/nothing", 404, "nothing"),
        ("POST", "/v2/repository/index", 404, "/v2/repository/index"),
        ("GET", "/v2/models/twice/infer", 405, "POST"),
        ("POST", "/v2", 405, "GET"),
        ("DELETE", "/v2/models/twice", 405, "GET"),
    ],
)
def test_what_is_not_there(method: str, path: str, status: int, word: str) -> None:
    answer = call(method, path)
    assert answer.status == status
    assert word in json.loads(answer.body)["error"]
    assert (dict(answer.headers).get("allow") is not None) == (status == 405)


# ----------------------------------------------------------------------------------- inference


@pytest.mark.parametrize("data", [[1, 2, 3, 4.5], [[1, 2], [3, 4.5]]])
def test_data_may_be_flat_or_nested(data: Any) -> None:
    answer = infer({"id": "a-1", "inputs": [tensor(data, [2, 2])]})
    assert json.loads(answer.body) == {
        "model_name": "twice",
        "model_version": "7",
        "id": "a-1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 4.0, 6.0, 9.0]}],
    }


def test_an_absent_id_is_not_made_up() -> None:
    assert "id" not in json.loads(infer({"inputs": [tensor([1, 2])]}).body)


FAULTS = [
    ([], "the inference request: found an empty array, expected an object"),
    ({}, "/inputs: found nothing, expected an array"),
    ({"inputs": []}, "/inputs: found none, expected also x"),
    ({"inputs": ["x"]}, "/inputs/0: found the string"),
    ({"inputs": [tensor([1, 2], name="z")]}, "/inputs/0/name"),
    ({"inputs": [tensor([1, 2]), tensor([1, 2])]}, "'x' is there twice"),
    ({"inputs": [tensor([1, 2], datatype="FP64")]}, "/inputs/0/datatype: .* expected FP32"),
    ({"inputs": [tensor([1, 2], [2])]}, r"/inputs/0/shape: found \[2\], expected float32\[n, 2\]"),
    ({"inputs": [tensor([], [0, 2])]}, "/inputs/0/shape"),
    ({"inputs": [tensor([1, 2], [-1, 2])]}, "/inputs/0/shape"),
    ({"inputs": [tensor([1, 2], [True, 2])]}, "/inputs/0/shape"),
    ({"inputs": [tensor([1, 2, 3])]}, "/inputs/0/data: found 3 elements, expected 2"),
    ({"inputs": [tensor([[1, 2], [3]], [2, 2])]}, "/inputs/0/data/1: found 1 element, expected 2"),
    ({"inputs": [tensor([1, "2"])]}, "/inputs/0/data/1: found the string"),
    ({"inputs": [tensor([1, True])]}, "/inputs/0/data/1: found the boolean"),
    ({"inputs": [tensor([1, 1e39])]}, "/inputs/0/data/1"),
    ({"inputs": [tensor(None)]}, "/inputs/0/data: found nothing"),
    ({"inputs": [tensor([1, 2], parameters=3)]}, "/inputs/0/parameters"),
    ({"inputs": [tensor([1, 2], parameters={"binary_data_size": 8})]}, "binary_data_size"),
    ({"inputs": [tensor([1, 2], parameters={"shared_memory_region": "r"})]}, "shared memory"),
    ({"id": 4, "inputs": [tensor([1, 2])]}, "/id: found the number 4"),
    ({"parameters": {"sequence_id": 9}, "inputs": [tensor([1, 2])]}, "sequences are not supported"),
    ({"inputs": [tensor([1, 2])], "outputs": [{"name": "z"}]}, "/outputs/0/name"),
    ({"inputs": [tensor([1, 2])], "outputs": [{"name": "labels"}]}, "expected one of y"),
    (
        {"inputs": [tensor([1, 2])], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
        "classif",
    ),
    ({"inputs": [tensor([1, 2])], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "boolean"),
]


@pytest.mark.parametrize(("document", "message"), FAULTS)
def test_a_wrong_request_is_told_what_and_where(document: Any, message: str) -> None:
    answer = infer(document)
    assert answer.status == 400
    told = json.loads(answer.body)["error"]
    assert re.search(message, told), told


def binary(raw: bytes, shape: Any = (1, 2), size: int | None = None, **members: Any) -> tuple[bytes, str]:
    item = {
        "name": "x",
        "shape": shape,
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw) if size is None else size},
        **members,
    }
    head = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    return head + raw, str(len(head))


def test_bytes_after_the_json_both_ways() -> None:
    body, length = binary(struct.pack("<2f", 1.5, -2))
    answer = infer(body, inference_header_content_length=length)
    headers = dict(answer.headers)
    assert headers["content-type"] == "application/octet-stream"
    at = int(headers["inference-header-content-length"])
    assert struct.unpack("<2f", answer.body[at:]) == (3.0, -4.0)
    assert json.loads(answer.body[:at])["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    ]


@pytest.mark.parametrize(
    ("raw", "members", "message"),
    [
        (b"1234567", {}, "found 7, expected 8"),
        (b"12345678", {"size": 9}, "expected at most 8"),
        (b"12345678", {"size": 4}, "found 4, expected 8"),
        (b"12345678", {"data": [1, 2]}, "found beside binary_data_size"),
        (b"12345678", {"size": True}, "found the boolean true"),
    ],
)
def test_bytes_that_do_not_fit(raw: bytes, members: Any, message: str) -> None:
    body, length = binary(raw, **members)
    answer = infer(body, inference_header_content_length=length)
    assert answer.status == 400
    assert message in json.loads(answer.body)["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "", "²"])
def test_a_header_length_that_is_none(length: str) -> None:
    body, _ = binary(b"12345678")
    answer = infer(body, inference_header_content_length=length)
    assert answer.status == 400
    assert "inference-header-content-length" in json.loads(answer.body)["error"]


def test_bytes_that_nobody_asked_for_are_an_error() -> None:
    head = json.dumps({"inputs": [tensor([1, 2])]}).encode()
    answer = infer(head + b"more", inference_header_content_length=str(len(head)))
    assert "4 bytes that belong to no input" in json.loads(answer.body)["error"]


def test_a_nan_in_the_answer_is_not_sent_not_even_as_bytes() -> None:
    body, length = binary(struct.pack("<2f", 1, float("nan")))
    answer = infer(body, inference_header_content_length=length)
    assert answer.status == 500
    assert dict(answer.headers)["serinus-violation"] == "/y/0/1"
    assert "at /y/0/1: found nan, expected a finite number" in json.loads(answer.body)["error"]


def test_what_the_model_raises_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Doubler):
        async def infer(self, feeds: Mapping[str, Any], names: Any = None) -> dict[str, Any]:
            raise ValueError("the secret")

    model = oip.Model(Failing(), "m", "1")
    body = json.dumps({"inputs": [tensor([1, 2])]}).encode()
    answer = asyncio.run(oip.handle(model, "POST", "/v2/models/m/infer", {}, body))
    told = json.loads(answer.body)["error"]
    assert answer.status == 500
    assert "secret" not in told
    (record,) = caplog.records
    assert record.__dict__["id"] in told
    assert "the secret" in str(record.exc_info)


# --------------------------------------------------------------------------------- compression


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_both_ways(encoding: str, pack: Any) -> None:
    body = json.dumps({"inputs": [tensor([1.5] * 2000, [1000, 2])]}).encode()
    plain = infer(body)
    answer = infer(pack(body), content_encoding=encoding, accept_encoding=encoding)
    assert dict(answer.headers)["content-encoding"] == encoding
    assert dict(answer.headers)["vary"] == "accept-encoding"
    assert len(answer.body) < len(plain.body) / 4
    assert oip.decompressed(answer.body, encoding, 1 << 20) == plain.body


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"hello", "gzip", 400),
        (gzip.compress(b"{}")[:-3], "gzip", 400),
        (gzip.compress(b"{}") + b"more", "gzip", 400),
        (b"{}", "br", 415),
        (zlib.compress(b"0" * (17 << 20)), "deflate", 413),
    ],
)
def test_compression_that_is_wrong_or_too_much(body: bytes, encoding: str, status: int) -> None:
    answer = infer(body, content_encoding=encoding)
    assert answer.status == status
    assert json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("GZIP;q=0.2, br", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
    ],
)
def test_the_encoding_that_a_caller_prefers(accepted: str, encoding: str | None) -> None:
    assert oip.preferred(accepted) == encoding


@given(st.text(max_size=30))
def test_any_accept_encoding_is_understood_or_left_alone(accepted: str) -> None:
    assert oip.preferred(accepted) in {None, "gzip", "deflate"}


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_comes_back(body: bytes, encoding: str) -> None:
    assert oip.decompressed(oip.compressed(body, encoding), encoding, len(body)) == body


# ---------------------------------------------------------------------------------- properties

MEMBERS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(["x", "FP32", "y", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "outputs", "name", "shape", "datatype", "data", "id", "parameters"])
            | st.sampled_from(["binary_data_size", "binary_data", "binary_data_output"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def understood(function: Any, *args: Any) -> Any:
    """What the function returns, or the status of the problem that it raises; nothing else may come."""
    try:
        return function(*args)
    except Problem as problem:
        return problem.status


@settings(max_examples=300)
@given(document=MEMBERS, more=st.binary(max_size=20), head=st.none() | st.integers(0, 300))
def test_whatever_comes_is_an_inference_or_a_problem(document: Any, more: bytes, head: int | None) -> None:
    body = json.dumps(document).encode() + more
    headers = {} if head is None else {"inference-header-content-length": str(head)}
    found = understood(read, (X,), (Y,), headers, body)
    assert found == 400 or set(found.arrays) == {"x"}


@st.composite
def sent_tensors(draw: st.DrawFn) -> Any:
    kinds = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    dtype = draw(st.sampled_from([*kinds, "float16", "float32", "float64", "bfloat16", "object"]))
    shape = draw(arrays.array_shapes(max_dims=3, max_side=4))
    if dtype == "object":
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
        return "string", draw(arrays.arrays("object", shape, elements=text))
    if dtype == "bfloat16":
        bits = draw(arrays.arrays("uint16", shape, elements=st.integers(0, 0x7F7F)))
        return dtype, bits.view(ml_dtypes.bfloat16)
    # What is not a float has no NaN, and takes no notice of these two.
    elements = arrays.from_dtype(numpy.dtype(dtype), allow_nan=False, allow_infinity=False)
    return dtype, draw(arrays.arrays(dtype, shape, elements=elements))


@settings(max_examples=200)
@given(sent=sent_tensors(), as_bytes=st.booleans(), back_as_bytes=st.booleans())
def test_the_client_and_the_server_mean_the_same(sent: Any, as_bytes: bool, back_as_bytes: bool) -> None:
    dtype, array = sent
    as_bytes = as_bytes or dtype == "bfloat16"  # the client has no JSON form for it
    item = triton.InferInput("x", list(array.shape), np_to_triton_dtype(array.dtype))
    item.set_data_from_numpy(array, binary_data=as_bytes)
    body, length = triton.InferenceServerClient.generate_request_body([item])
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    described = Tensor("x", dtype, (None,) * array.ndim)
    arrived = read((described,), (described,), headers, body)
    assert arrived.outputs == (Wanted("x", binary=True),)
    assert (arrived.arrays["x"].astype(array.dtype) == array).all()

    back_as_bytes = back_as_bytes or dtype == "bfloat16"
    asked = Inference("1", arrived.arrays, (Wanted("x", back_as_bytes),))
    answer = write((described,), asked, arrived.arrays, "m", "1")
    head = dict(answer.headers).get("inference-header-content-length")
    result = triton.InferResult.from_response_body(answer.body, header_length=head and int(head))
    returned = result.as_numpy("x")
    if dtype == "string" and back_as_bytes:
        returned = numpy.array([text.decode() for text in returned.flat], "object").reshape(array.shape)
    assert (returned == array).all()


@given(st.binary(max_size=40), st.integers(0, 3))
def test_any_bytes_are_strings_or_a_problem(raw: bytes, count: int) -> None:
    described = Tensor("x", "string", (None,))
    head = {
        "inputs": [
            {"name": "x", "shape": [count], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
        ]
    }
    text = json.dumps(head).encode()
    headers = {"inference-header-content-length": str(len(text))}
    found = understood(read, (described,), (), headers, text + raw)
    if found != 400:
        parts = [one.encode() for one in found.arrays["x"]]
        assert len(parts) == count
        assert b"".join(struct.pack("<I", len(part)) + part for part in parts) == raw


def test_a_boolean_is_a_byte_of_0_or_1() -> None:
    described = Tensor("x", "bool", (2,))
    item = {"name": "x", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
    text = json.dumps({"inputs": [item]}).encode()
    headers = {"inference-header-content-length": str(len(text))}
    assert read((described,), (), headers, text + b"\1\0").arrays["x"].tolist() == [True, False]
    with pytest.raises(Problem, match="a byte above 1"):
        read((described,), (), headers, text + b"\1\2")


# -------------------------------------------------------------------------------- a real server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real server around a model of two numbers' sum and a text."""
    folder = tmp_path_factory.mktemp("oip")
    tiny_models.save(tiny_models.pair(), folder / "model.onnx")
    with serving(folder, name="pair", model="model.onnx") as served:
        yield served


@pytest.fixture
def client(server: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def inputs(rows: int, as_bytes: bool) -> tuple[list[triton.InferInput], Any]:
    a = numpy.arange(2 * rows, dtype="float32").reshape(rows, 2)
    text = numpy.array([f"Zürich {i}" for i in range(rows)], "object")
    made = []
    for name, array in {"a": a, "b": a, "text": text}.items():
        item = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        made.append(item.set_data_from_numpy(array, binary_data=as_bytes))
    return made, 2 * a


def test_tritonclient_asks_about_the_server(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pair")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("pair")
    assert metadata["inputs"][2] == {"name": "text", "datatype": "BYTES", "shape": [-1]}
    assert client.get_model_metadata("pair", metadata["versions"][0]) == metadata
    configuration = client.get_model_config("pair")
    assert configuration["input"][2] == {"name": "text", "data_type": "TYPE_STRING", "dims": [-1]}


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("back_as_bytes", [None, True, False])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_tritonclient_infers(
    client: triton.InferenceServerClient, as_bytes: bool, back_as_bytes: bool | None, algorithm: str | None
) -> None:
    asked, expected = inputs(300, as_bytes)
    wanted = back_as_bytes is not None and [
        triton.InferRequestedOutput("same", binary_data=back_as_bytes),
        triton.InferRequestedOutput("sum", binary_data=back_as_bytes),
    ]
    result = client.infer(
        "pair",
        asked,
        outputs=wanted or None,
        request_id="r-7",
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
        parameters={"ours": 1},
    )
    assert result.get_response()["id"] == "r-7"
    assert (result.as_numpy("sum") == expected).all()
    texts = [t.decode() if isinstance(t, bytes) else t for t in result.as_numpy("same")]
    assert texts == [f"Zürich {i}" for i in range(300)]


def test_tritonclient_in_the_background(client: triton.InferenceServerClient) -> None:
    asked, expected = inputs(2, as_bytes=True)
    pending = [client.async_infer("pair", asked) for _ in range(5)]
    assert all((one.get_result().as_numpy("sum") == expected).all() for one in pending)


def test_tritonclient_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    asked, _ = inputs(2, as_bytes=True)
    with pytest.raises(InferenceServerException, match="expected also text") as caught:
        client.infer("pair", asked[:2])
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException, match="only pair"):
        client.infer("other", asked)


def test_the_same_model_answers_json_on_its_own_route(server: Served) -> None:
    answer = server.post({"a": [[1, 2]], "b": [[3, 4]], "text": ["x"]})
    assert (answer.status, answer.document) == (200, {"sum": [[4.0, 6.0]], "same": ["x"]})


def test_a_bare_model_over_the_protocol(tmp_path: Path) -> None:
    served = load(tiny_models.save(tiny_models.zipmap(), tmp_path / "model.onnx"), threads=1)
    handler = oip.mount(served, "m", "1")
    body = json.dumps({"inputs": [tensor([0.5, 0.5])]}).encode()
    answer = asyncio.run(handler("POST", "/v2/models/m/versions/1/infer", {}, body))
    assert json.loads(answer.body)["outputs"] == [
        {"name": "raw", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.5]}
    ], "maps have no form in the protocol, and are left out"
    assert [t.name for t in oip.tensors_of(served.outputs)] == ["raw"]
    assert set(tensors.ELEMENTS) >= {t.dtype for t in oip.tensors_of(served.outputs)}
