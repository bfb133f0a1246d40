"""Responses of a model: what is told of them by their making is what their text says."""

from __future__ import annotations

from typing import Any

import numpy
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract.onnx import Interface, Tensor, contract_of
from serinus.contract.violations import BrokenContract
from serinus.contract.violations import compile as compile_schema
from serinus.serving.predictions import observed
from serinus.serving.tensors import ELEMENTS
from serinus.serving.writing import FORMS, Writer

DTYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int64", "uint64", "bool")
SHAPES = st.lists(st.integers(0, 9), max_size=4).map(tuple)


@st.composite
def outputs(draw: st.DrawFn) -> tuple[Tensor, Any]:
    """An output as a graph may declare it, and an array that the runtime may give for it."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
    declared = draw(st.none() | st.tuples(*(st.sampled_from([length, None, "n"]) for length in shape)))
    element = ELEMENTS[dtype]
    if element.kind == "float":
        # Within single precision's range, and beyond its last digits: what is written may be rounded up.
        numbers: Any = st.floats(-3.38e38, 3.38e38) if dtype == "float32" else st.floats(-6e4, 6e4)
    else:
        numbers = st.booleans() if dtype == "bool" else st.integers(int(element.low), int(element.high))
    size = int(numpy.prod(shape))
    flat = draw(st.lists(numbers, min_size=size, max_size=size)) if size < 100 else [0] * size
    return Tensor("y", dtype, declared), numpy.array(flat, element.numpy).reshape(shape)


def flat(found: Any) -> list[tuple[str, Any]]:
    return [(pointer, value) for pointer, values in found for value in values]


@given(outputs())
def test_what_is_told_is_what_the_text_says(case: tuple[Tensor, Any]) -> None:
    tensor, array = case
    writer = Writer([tensor], promised=True)
    schema = compile_schema(contract_of(Interface((), (tensor,), 9, (), "")).response)
    for _ in range(2):  # the second time the shapes are known
        made = writer.write([array])
        document = orjson.loads(made.body)
        assert schema.ok(document)
        assert made.values is not None
        told, read = flat(made.values), flat(observed(document))
        assert [pointer for pointer, _ in told] == [pointer for pointer, _ in read]
        assert [value for _, value in told] == pytest.approx([value for _, value in read], rel=1e-6)


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        (Tensor("y", "float32", ("n", 2)), numpy.zeros((3, 3), "float32")),
        (Tensor("y", "float32", ("n", 2)), numpy.zeros(2, "float32")),
        (Tensor("y", "float32", ("n", 2)), numpy.zeros((1, 2), "float64")),
        (Tensor("y", "string", ("n",)), numpy.array(["a"], object)),
        (Tensor("y", "float32", ("n",)), [{"0": 0.5}]),
    ],
    ids=["length", "rank", "type", "strings", "no array"],
)
def test_what_may_break_the_promise_is_left_to_be_looked_at(tensor: Tensor, value: Any) -> None:
    assert Writer([tensor], promised=True).write([value]).values is None


def test_of_another_promise_than_the_graphs_nothing_is_told() -> None:
    array = numpy.zeros((1, 2), "float32")
    assert Writer([Tensor("y", "float32", ("n", 2))], promised=False).write([array]).values is None


def test_shapes_known_before_are_looked_at_for_what_is_not_finite() -> None:
    writer, array = Writer([Tensor("y", "float32", ("n", 2))], promised=True), numpy.zeros((1, 2), "float32")
    writer.write([array])
    array[0, 1] = numpy.nan
    with pytest.raises(BrokenContract, match="/y/0/1"):
        writer.write([array])


def test_shapes_are_remembered_up_to_a_number() -> None:
    writer = Writer([Tensor("y", "int64", ("n",))], promised=True)
    for length in range(1, 3 * FORMS):
        made = writer.write([numpy.arange(length)])
        assert made.values == observed(orjson.loads(made.body)) or length > 64
    assert len(writer._plans) == FORMS
