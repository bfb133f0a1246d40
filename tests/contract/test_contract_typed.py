"""Typed functions: their contracts, and that schema, decoder and encoder agree."""

from __future__ import annotations

import enum
import functools
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy
import pytest
from contract_instances import instances
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from serinus.contract import violations
from serinus.contract.infer import signature
from serinus.contract.violations import BrokenContract, Malformed
from serinus.contract.wire import foreign, on_wire
from serinus.errors import ContractError


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class Rank(enum.IntEnum):
    low = 1
    high = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    colour: Colour
    limit: Annotated[int, Field(ge=1, le=10)]


class Sentiment(BaseModel):
    positive: bool
    score: float | None = None


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tail: bool


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=False)
    class_: str = Field(alias="class")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Careless(BaseModel):
    model_config = ConfigDict(extra="ignore")
    a: int


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("n must be even")
        return n


def predict(texts: list[str]) -> Sentiment:
    return Sentiment(positive=bool(texts))


def test_one_parameter_is_the_body() -> None:
    contract = signature(predict).contract
    assert contract.request == {"type": "array", "items": {"type": "string"}}
    assert contract.response["properties"]["positive"]["type"] == "boolean"
    assert contract.response["required"] == ["positive"]
    assert signature(predict).decoder.decode(b'["a"]') == ((["a"],), {})


def test_several_parameters_are_the_members_of_an_object() -> None:
    def several(point: Point, /, n: int, colour: Colour = Colour.red, limit: int = 3) -> list[Point]:
        return [point] * n

    found = signature(several)
    request = found.contract.request
    assert request["required"] == ["point", "n"]
    assert request["additionalProperties"] is False
    assert request["properties"]["limit"]["default"] == 3
    assert found.decoder.decode(b'{"n": 2, "point": {"x": 1}, "limit": 1}') == (
        (Point(1.0), 2, Colour.red, 1),
        {},
    )
    with pytest.raises(BrokenContract) as caught:
        found.decoder.decode(b'{"n": true, "point": {"x": "1", "z": 0}, "more": 1}')
    assert sorted(v.pointer for v in caught.value.violations) == ["/more", "/n", "/point/x", "/point/z"]


def test_keyword_only_parameters_are_not_part_of_the_request() -> None:
    def with_model(text: str, *, model: object, top: int = 1) -> str:
        return f"{model}{text}{top}"

    found = signature(with_model)
    assert found.contract.request == {"type": "string"}
    assert found.takes_model
    assert not signature(predict).takes_model


def test_async_functions_objects_and_wrapped_functions_are_functions_too() -> None:
    async def later(text: str) -> bool:
        return bool(text)

    class Predictor:
        def __call__(self, text: str) -> bool:
            return bool(text)

    class Later:
        async def __call__(self, text: str) -> bool:
            return bool(text)

    @functools.wraps(predict)
    def wrapped(*args: Any) -> Any:
        return predict(*args)

    assert signature(later).asynchronous
    assert signature(Later()).asynchronous
    assert not signature(Predictor()).asynchronous
    assert signature(Predictor()).contract == signature(later).contract
    assert signature(wrapped).contract == signature(predict).contract


def test_a_batched_function_has_the_contract_of_one_element() -> None:
    def batch(texts: list[str], *, model: object = None) -> Sequence[Sentiment]:
        return [predict([text]) for text in texts]

    found = signature(batch, batched=True)
    assert found.batched
    assert found.contract.request == {"type": "string"}
    assert found.contract.response == signature(predict).contract.response
    assert found.decoder.decode(b'"a"') == (("a",), {})
    batch.__serinus_batched__ = object()  # type: ignore[attr-defined]
    assert signature(batch).contract == found.contract
    assert signature(batch, batched=False).contract != found.contract


def _star(*texts: str) -> int:
    return 0


def _none() -> int:
    return 0


def _untyped(text) -> int:  # type: ignore[no-untyped-def]
    return 0


def _no_return(text: str):  # type: ignore[no-untyped-def]
    return 0


def _filled_by_nobody(text: str, *, threshold: float) -> int:
    return 0


def _calls(function: Callable[[int], int]) -> int:
    return 0


def _unknown(text: Missing) -> int:  # type: ignore[name-defined]  # noqa: F821
    return 0


def _stream(text: str) -> Iterator[int]:
    yield 0


async def _async_stream(text: str) -> AsyncIterator[int]:
    yield 0


def _array(rows: numpy.ndarray[Any, Any]) -> int:
    return 0


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_star, "takes *texts"),
        (_none, "takes no parameter"),
        (_untyped, "the parameter 'text' of _untyped (tests/contract/test_contract_typed.py:"),
        (_no_return, "does not say what it returns"),
        (_filled_by_nobody, "'threshold' without a default"),
        (_calls, "the request of _calls"),
        (_unknown, "Missing"),
        (_stream, "generator"),
        (_async_stream, "generator"),
        (_array, "without a JSON Schema"),
    ],
)
def test_what_has_no_contract_is_an_error_that_names_it(function: Any, says: str) -> None:
    with pytest.raises(ContractError) as caught:
        signature(function)
    assert says.replace("tests/contract/", "") in str(caught.value).replace("tests/contract/", "").replace(
        str(__file__).removesuffix("test_contract_typed.py"), ""
    )


def _two(texts: list[str], limits: list[int]) -> list[int]:
    return limits


def _one(text: str) -> list[str]:
    return [text]


def _no_list(texts: list[str]) -> int:
    return 0


@pytest.mark.parametrize(("function", "says"), [(_two, "2 parameters"), (_one, "str"), (_no_list, "int")])
def test_a_batched_function_takes_and_returns_lists(function: Any, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        signature(function, batched=True)


def test_further_members_are_refused_unless_the_type_allows_them() -> None:
    def takes(a: Tree, b: Point, c: Options, d: Open, e: Careless) -> Tree:
        return a

    found = signature(takes)
    definitions = found.contract.request["$defs"]
    closed = {name for name, schema in definitions.items() if schema.get("additionalProperties") is False}
    assert closed == {"Tree", "Point", "Options"}
    assert "additionalProperties" not in found.contract.response["$defs"]["Tree"]
    document: dict[str, Any] = {"a": {"value": 1}, "b": {"x": 1}, "c": {}, "d": {"a": 1}, "e": {"a": 1}}
    for name in "abcde":
        more = {**document, name: {**document[name], "further": 1}}
        if name in "de":
            found.decoder.decode(json.dumps(more).encode())
            continue
        with pytest.raises(BrokenContract) as caught:
            found.decoder.decode(json.dumps(more).encode())
        assert [v.pointer for v in caught.value.violations] == [f"/{name}/further"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b"[Infinity]", b"1e999", b'"\xff"', b'"\\ud800"', b"[1,]"]
)
def test_what_is_not_json_is_malformed_and_says_where(body: bytes) -> None:
    def anything(x: Any) -> Any:
        return x

    with pytest.raises(Malformed, match="line 1 column") as caught:
        signature(anything).decoder.decode(body)
    assert 0 <= caught.value.position <= len(body)


def test_a_validator_of_the_author_speaks_with_a_pointer() -> None:
    def takes(items: list[Even]) -> int:
        return len(items)

    with pytest.raises(BrokenContract) as caught:
        signature(takes).decoder.decode(b'[{"n": 2}, {"n": 3}]')
    assert [tuple(v) for v in caught.value.violations] == [("/1/n", "Value error, n must be even")]


def test_one_point_zero_is_an_integer_as_json_schema_has_it() -> None:
    def takes(n: int, m: list[Rank], f: float) -> int:
        return n

    (n, m, f), _ = signature(takes).decoder.decode(b'{"n": 1.0, "m": [2.0, 1], "f": 3}')
    assert (n, m, f) == (1, [Rank.high, Rank.low], 3.0)
    assert [type(n), type(f)] == [int, float]


# ------------------------------------------------------------------- schema and decoder agree

LEAVES: list[Any] = [
    *(str, int, float, bool, None, Any, Colour, Rank, UUID, Point, Options, Sentiment, Aliased, Open, Tree),
    *(Literal["a", 1, None], Literal[True, 2], Cat | Dog, Annotated[Cat | Dog, Field(discriminator="kind")]),
    *(Annotated[int, Field(ge=0, lt=5)], Annotated[str, Field(min_length=1, max_length=3)]),
    *(Annotated[str, Field(pattern="^a+$")], Annotated[float, Field(gt=0, le=1)]),
]
WRAPPERS: list[Callable[[Any], Any]] = [
    lambda t: list[t],
    lambda t: t | None if t not in (Any, None) and not isinstance(t, str) else list[t],
    lambda t: dict[str, t],
    lambda t: dict[int, t],
    lambda t: tuple[t, int],
    lambda t: tuple[t, ...],
    lambda t: t | str if t not in (Any, None) else list[t],
    lambda t: int | t if t not in (Any, None) else list[t],
]
TYPES = st.tuples(st.sampled_from(LEAVES), st.lists(st.sampled_from(WRAPPERS), max_size=2)).map(
    lambda drawn: functools.reduce(lambda t, wrap: wrap(t), drawn[1], drawn[0])
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "aa", "red", "cat", "12345678-1234-5678-1234-567812345678", "1", "true"]),
    lambda v: (
        st.lists(v, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["x", "y", "positive", "value", "children", "kind", "lives", "class", "a", "1", "-0"]
            ),
            v,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def _function(annotation: Any) -> Any:
    def function(value):  # type: ignore[no-untyped-def]
        return value

    function.__annotations__ = {"value": annotation, "return": annotation}
    return function


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(TYPES, st.data())
def test_a_request_that_the_schema_allows_is_decoded(annotation: Any, data: st.DataObject) -> None:
    found = signature(_function(annotation))
    body = json.dumps(data.draw(instances(found.contract.request))).encode()
    (decoded,), _ = found.decoder.decode(body)
    encoded = found.encoder.encode(decoded)
    assert violations.compile(found.contract.response).violations(json.loads(encoded)) == ()


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(TYPES, VALUES)
def test_schema_and_decoder_say_the_same_of_any_value(annotation: Any, value: Any) -> None:
    found = signature(_function(annotation))
    check = violations.compile(found.contract.request)
    body = json.dumps(value).encode()
    if check.ok(value):
        found.decoder.decode(body)
        return
    with pytest.raises(BrokenContract) as caught:
        found.decoder.decode(body)
    assert caught.value.violations == check.violations(value)


@given(TYPES)
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_a_contract_is_the_same_whenever_it_is_inferred(annotation: Any) -> None:
    first, second = signature(_function(annotation)), signature(_function(annotation))
    assert first.contract.to_json() == second.contract.to_json()


# --------------------------------------------------------------------------------- results


def test_results_are_written_by_alias_as_they_are_and_checked_on_the_wire() -> None:
    encoder = signature(_function(Sentiment)).encoder
    response = violations.compile(signature(_function(Sentiment)).contract.response)
    assert encoder.encode(Sentiment(positive=True)) == b'{"positive":true,"score":null}'
    body = encoder.encode({"positive": "false"})
    assert [v.pointer for v in response.violations(json.loads(body))] == ["/positive"]
    assert signature(_function(Aliased)).encoder.encode(Aliased(**{"class": "a"})) == b'{"class":"a"}'


@dataclass
class Scores:
    values: list[float | None] = field(default_factory=list)
    by_name: dict[str, Any] = field(default_factory=dict)


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    score: float | None


@pytest.mark.parametrize(
    ("annotation", "result", "pointers"),
    [
        (Sentiment, Sentiment(positive=True, score=math.nan), ["/score"]),
        (Sentiment, {"positive": True, "score": -math.inf}, ["/score"]),
        (Scores, Scores([0.5, math.nan, None], {"a/b": math.inf}), ["/values/1", "/by_name/a~1b"]),
        (Constants, Constants(score=math.nan), ["/score"]),
        (Any, [numpy.float64("nan")], ["/0"]),
        (dict[str, Any], {"a": numpy.array([1.0])}, ["/a"]),
        (dict[str, Any], {"a": [object()]}, ["/a/0"]),
        (str, "\ud800", [""]),
        (Any, {"a": "\udfff"}, ["/a"]),
    ],
)
def test_what_json_cannot_carry_is_found_and_never_becomes_null(
    annotation: Any, result: Any, pointers: list[str]
) -> None:
    with pytest.raises(BrokenContract) as caught:
        signature(_function(annotation)).encoder.encode(result)
    assert [v.pointer for v in caught.value.violations] == pointers


def test_a_result_that_holds_itself_is_broken() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BrokenContract, match="Circular"):
        signature(_function(Any)).encoder.encode(loop)


def test_times_carry_their_offset_as_rfc_3339_has_it() -> None:
    found = signature(_function(datetime))
    response = violations.compile(found.contract.response)
    aware = found.encoder.encode(datetime(2026, 1, 1, tzinfo=timezone.utc))  # noqa: UP017
    assert response.ok(json.loads(aware))
    assert not response.ok(json.loads(found.encoder.encode(datetime(2026, 1, 1))))


@given(
    st.recursive(
        st.floats() | st.none() | st.booleans(), lambda v: st.lists(v) | st.dictionaries(st.text("ab"), v)
    )
)
def test_a_result_is_written_exactly_or_refused(result: Any) -> None:
    encoder = signature(_function(Any)).encoder
    if on_wire(result):
        assert json.loads(encoder.encode(result)) == result
        return
    with pytest.raises(BrokenContract) as caught:
        encoder.encode(result)
    assert caught.value.violations == tuple(foreign(result))
