"""Which models may answer several callers together, and inference into bound buffers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from serinus.contract.onnx import interface
from serinus.serving.answers import Prediction
from serinus.serving.binding import SHAPES, Bindings
from serinus.serving.onnx import OnnxService, load
from serinus.serving.rowwise import rowwise


def of_rows(*nodes: onnx.NodeProto, weights: Any = (), shape: Any = ("n", 3)) -> onnx.ModelProto:
    """A model from ``x`` to ``y``, both of so many rows."""
    return tiny_models.model([("x", "float32", shape)], [("y", "float32", shape)], list(nodes), list(weights))


def node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


AXIS = numpy_helper.from_array(numpy.array(0, numpy.int64), "axis")
MODELS = {
    "row by row": (of_rows(node("Tanh", "x")), True),
    "sums up": (of_rows(node("CumSum", "x", "axis"), weights=[AXIS]), False),
    "norms over rows": (of_rows(node("Softmax", "x", axis=0)), False),
    "norms within a row": (of_rows(node("Softmax", "x", axis=1)), True),
    "one row only": (of_rows(node("Tanh", "x"), shape=(1, 3)), False),
    "words": (tiny_models.echo("string"), True),
    "numbers of a table": (tiny_models.embedding(), True),
    "two inputs of as many rows": (tiny_models.pair(), True),
    "records": (tiny_models.zipmap(), False),
}


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_tried_alone_and_together(name: str, tmp_path: Path) -> None:
    model, expected = MODELS[name]
    path = tiny_models.save(model, tmp_path / "model.onnx")
    graph = interface(path)
    assert rowwise(made(model)[1], graph.inputs, graph.outputs) == expected


def served(tmp_path: Path, model: onnx.ModelProto) -> tuple[OnnxService, list[int]]:
    """A service of a model for which others are always under way, and the sizes of its batches."""
    sizes: list[int] = []
    path = tiny_models.save(model, tmp_path / "model.onnx")
    return load(path, threads=1, busy=lambda: True, observe=sizes.append), sizes


async def together(service: OnnxService, requests: list[Any]) -> list[Any]:
    made = [service.predict(json.dumps(request).encode()) for request in requests]
    return [json.loads((one if isinstance(one, Prediction) else await one).body) for one in made]


REQUESTS = [{"x": [[number, 2.5, -1]]} for number in range(6)]


def test_requests_under_way_are_answered_together(tmp_path: Path) -> None:
    service, sizes = served(tmp_path, MODELS["row by row"][0])
    answers = asyncio.run(together(service, REQUESTS))
    assert [len(answer["y"]) for answer in answers] == [1] * 6
    assert answers == [asyncio.run(together(service, [request]))[0] for request in REQUESTS]
    assert sizes[0] == 6


def test_a_model_that_looks_beyond_a_row_answers_each_alone(tmp_path: Path) -> None:
    service, sizes = served(tmp_path, MODELS["norms over rows"][0])
    assert asyncio.run(together(service, REQUESTS)) == [{"y": [[1, 1, 1]]}] * 6
    assert sizes == []


@given(st.lists(st.integers(1, 2 * SHAPES), max_size=20), st.integers(0, 2**32))
def test_bound_buffers_give_what_a_run_gives(rows: list[int], seed: int) -> None:
    session, run = SESSION
    bound, chance = Bindings(session, run, ["y"]), numpy.random.default_rng(seed)
    for count in rows:
        arrays = {"x": chance.standard_normal((count, 3)).astype(numpy.float32)}
        assert bound(arrays)[0].tobytes() == run(["y"], arrays)[0].tobytes()


def made(model: onnx.ModelProto) -> Any:
    """A session of a model, and its ordinary run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session, lambda names, arrays: list(session.run(names, dict(arrays)))


SESSION = made(of_rows(node("Tanh", "x")))


def test_outputs_whose_shape_depends_on_values_are_not_bound() -> None:
    where = tiny_models.model([("x", "float32", ("n",))], [("y", "int64", (1, None))], [node("NonZero", "x")])
    session, run = made(where)
    bound = Bindings(session, run, ["y"])
    for values in ([0, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1], [0, 1, 1]):
        arrays = {"x": numpy.array(values, numpy.float32)}
        assert bound(arrays)[0].tolist() == run(["y"], arrays)[0].tolist()


def test_an_error_of_the_model_is_told_as_ever(tmp_path: Path) -> None:
    session, run = made(tiny_models.embedding())
    bound = Bindings(session, run, ["row"])
    for number in (1, 2, 3):
        bound({"id": numpy.array([number])})
    with pytest.raises(Exception, match="out of data bounds"):
        bound({"id": numpy.array([99])})
    assert bound({"id": numpy.array([1])})[0].tolist() == run(["row"], {"id": numpy.array([1])})[0].tolist()
