"""Typed functions by pydantic: their schemas, a decoder of requests and an encoder of results.

A request is right when it is right by the schema *and* by pydantic's strict JSON mode: nothing passes that
the published schema does not describe. This module imports pydantic; ``infer`` is the door to it.
"""

from __future__ import annotations

import inspect
import json
import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, Required, cast

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict

from serinus.contract import Contract, Schema, Violation
from serinus.contract.kinds import is_async
from serinus.contract.schemas import Schemas
from serinus.contract.violations import BrokenContract, Check, Malformed
from serinus.contract.violations import compile as compile_schema
from serinus.contract.wire import foreign, loads, on_wire, pointer, shorten
from serinus.errors import ContractError

MODEL = "model"
"""The keyword-only parameter that receives what ``setup()`` returned."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A typed function, understood."""

    contract: Contract
    """Of one request and its response; for a batched function of one element."""
    decoder: Decoder
    encoder: Encoder
    batched: bool
    asynchronous: bool
    """Whether calling it gives an awaitable."""
    takes_model: bool
    """Whether it has a keyword-only parameter ``model``."""


class Decoder:
    """Turns the bytes of a request into the arguments of the function.

    Args:
        adapter: of the body.
        parameters: the function's parameters that form the request, in order.
        check: the compiled schema of a request.
    """

    __slots__ = ("_adapter", "_check", "_parameters", "_single")

    def __init__(
        self, adapter: TypeAdapter[Any], parameters: Sequence[inspect.Parameter], check: Check
    ) -> None:
        self._adapter = adapter
        self._parameters = tuple(parameters)
        self._single = len(self._parameters) == 1
        self._check = check

    def decode(self, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for the function; a parameter left out has its default.

        Raises:
            Malformed: the body is not JSON (``NaN`` and numbers beyond a double's range among it).
            BrokenContract: it is, and breaks the contract; with the pointer of every fault.
        """
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Malformed(f"the body is not JSON: {shorten(str(error), 120)}", error.pos) from None
        if not self._check.ok_parsed(value, body):
            value = _exact(body, value)
            if faults := self._check.violations(value):
                raise BrokenContract(faults)
        decoded = self._validate(body, value)
        if self._single:
            return (decoded,), {}
        return tuple(decoded.get(p.name, p.default) for p in self._parameters), {}

    def _validate(self, body: bytes, value: Any) -> Any:
        try:
            return self._adapter.validate_json(body, strict=True)
        except ValidationError as error:
            first = error
        # To JSON Schema 1.0 is an integer (core, section 4.2.1), to pydantic it is not: the schema is right.
        try:
            return self._adapter.validate_json(json.dumps(_integers(value)), strict=True)
        except ValidationError:
            raise BrokenContract(_faults(first, value)) from None


def _exact(body: bytes, value: Any) -> Any:
    """The body decoded by a slower decoder, which keeps whole numbers of more than 64 bits whole."""
    try:
        return loads(body)
    except ValueError:
        return value


def _integers(value: Any) -> Any:
    """The value with every number that is whole as an ``int``."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is list:
        return [_integers(item) for item in value]
    if type(value) is dict:
        return {name: _integers(member) for name, member in value.items()}
    return value


def _faults(error: ValidationError, value: Any) -> list[Violation]:
    """What pydantic found, as violations. Its locations name alternatives too, which are skipped."""
    faults = (
        Violation(_place(item["loc"], value, item["type"] == "missing"), shorten(item["msg"], 160))
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return list(dict.fromkeys(faults))


def _place(location: tuple[str | int, ...], value: Any, missing: bool) -> str:
    path: list[str | int] = []
    for part in location:
        within = part in value if isinstance(value, dict) else False
        if isinstance(value, list) and isinstance(part, int):
            within = 0 <= part < len(value)
        if within:
            path.append(part)
            value = value[part]
    if missing and location:
        path.append(location[-1])
    return pointer(path)


class Encoder:
    """Turns a result of the function into the bytes of a response."""

    __slots__ = ("_adapter",)

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter

    def encode(self, result: Any) -> bytes:
        """The result as JSON, by alias. The *bytes* are then held to the contract by whoever sends them.

        Raises:
            BrokenContract: the result has a place that JSON cannot carry (NaN, an infinity, an object of a
                foreign type); with the pointer of every one. pydantic would write null for NaN.
        """
        try:
            body = self._adapter.dump_json(result, by_alias=True, warnings=False)
        except (ValueError, RecursionError) as error:
            raise BrokenContract(self._unwritable(result, str(error))) from None
        if b"null" in body or b"NaN" in body or b"Infinity" in body:
            plain = self._plain(result)
            if not _finite(plain):
                raise BrokenContract(_not_finite(plain))
        return body

    def _plain(self, result: Any) -> Any:
        return self._adapter.dump_python(result, by_alias=True, warnings=False)

    def _unwritable(self, result: Any, why: str) -> tuple[Violation, ...]:
        """The places of a result that was refused; the whole of it where they cannot be told."""
        whole = Violation("", f"not JSON: {shorten(why, 120)}")
        if "Circular reference" in why:
            return (whole,)
        try:
            return tuple(foreign(self._plain(result))) or (whole,)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return (whole,)


def _finite(value: Any) -> bool:
    """Whether no float within is NaN or infinite; other types than JSON's are none of its business."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_finite(member) for member in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_finite(item) for item in value)
    return True


def _not_finite(value: Any, path: tuple[str | int, ...] = ()) -> list[Violation]:
    if isinstance(value, float) and not on_wire(float(value)):
        return [Violation(pointer(path), next(foreign(float(value))).message)]
    if isinstance(value, dict):
        return [v for name, member in value.items() for v in _not_finite(member, (*path, str(name)))]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [v for index, item in enumerate(value) for v in _not_finite(item, (*path, index))]
    return []


def read_signature(function: Callable[..., Any], batched: bool) -> Signature:
    """See :func:`serinus.contract.infer.signature`."""
    place = _place_of(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ContractError(f"{place} is a generator, expected a function that returns its answer")
    hints = _hints(function, place)
    parameters = _request_parameters(function, place)
    types = [_annotation(hints, p.name, place) for p in parameters]
    if "return" not in hints:
        raise ContractError(
            f"{place} does not say what it returns", "Annotate it: `-> Answer`, or `-> None` for null."
        )
    result = hints["return"]
    if batched:
        if len(types) != 1:
            raise ContractError(
                f"{place} is batched and has {len(types)} parameters, expected one list",
                "Gather them in one type: `def predict(items: list[Item]) -> list[Answer]`.",
            )
        types, result = [_element(types[0], place)], _element(result, place)
    body = types[0] if len(types) == 1 else _body(parameters, types)
    decoding, request = _adapt(body, "validation", f"the request of {place}")
    encoding, response = _adapt(result, "serialization", f"the result of {place}")
    if len(types) > 1:
        request = _with_defaults(request, parameters)
    request_check = compile_schema(request)
    compile_schema(response)
    return Signature(
        Contract(request, response),
        Decoder(decoding, parameters, request_check),
        Encoder(encoding),
        batched,
        is_async(function),
        MODEL in inspect.signature(function).parameters
        and inspect.signature(function).parameters[MODEL].kind is inspect.Parameter.KEYWORD_ONLY,
    )


def _place_of(function: Callable[..., Any]) -> str:
    """``predict (service.py:12)``."""
    inner: Any = inspect.unwrap(function)
    inner = inner if hasattr(inner, "__code__") else getattr(type(inner), "__call__", inner)  # noqa: B004
    code = getattr(inspect.unwrap(inner), "__code__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{name} ({_shown(code.co_filename)}:{code.co_firstlineno})" if code else name


def _shown(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def _hints(function: Callable[..., Any], place: str) -> dict[str, Any]:
    target: Any = inspect.unwrap(function)
    if not hasattr(target, "__annotations__") or not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise ContractError(
            f"{place} has an annotation that cannot be read: {error}",
            "Import or define the type in the module, outside of `if TYPE_CHECKING:`.",
        ) from None


def _request_parameters(function: Callable[..., Any], place: str) -> list[inspect.Parameter]:
    parameters: list[inspect.Parameter] = []
    for p in inspect.signature(function).parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise ContractError(
                f"{place} takes {p}, which has no type of its own",
                "Name the parameters that form the request, each with its type.",
            )
        if p.kind is p.KEYWORD_ONLY:
            if p.name != MODEL and p.default is p.empty:
                raise ContractError(
                    f"{place} has the keyword-only parameter {p.name!r} without a default, "
                    "which nobody would fill",
                    f"Give {p.name!r} a default, move it before the `*` to make it part of the request, "
                    "or call it `model` to receive what setup() returns.",
                )
        else:
            parameters.append(p)
    if not parameters:
        raise ContractError(
            f"{place} takes no parameter that could be the request", "Write `def predict(text: str) -> ...`."
        )
    return parameters


def _annotation(hints: dict[str, Any], name: str, place: str) -> Any:
    if name not in hints:
        raise ContractError(
            f"the parameter {name!r} of {place} has no type",
            f"Annotate it: `{name}: str`, say. (A WSGI app names its parameters environ and start_response.)",
        )
    return hints[name]


def _element(annotation: Any, place: str) -> Any:
    """``X`` of ``list[X]``."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _element(arguments[0], place)
    if len(arguments) != 1 or not (isinstance(origin, type) and issubclass(list, origin)):
        raise ContractError(
            f"{place} is batched and uses {annotation}, expected list[...]",
            "A batched function takes a list of requests and returns a list of as many answers.",
        )
    return arguments[0]


def _body(parameters: Sequence[inspect.Parameter], types: Sequence[Any]) -> Any:
    """An object with the parameters as its members."""
    members = {
        p.name: Required[t] if p.default is p.empty else NotRequired[t]
        for p, t in zip(parameters, types, strict=True)
    }
    body: Any = cast(Any, TypedDict)("Request", members)
    body.__pydantic_config__ = ConfigDict(extra="forbid")
    return body


def _with_defaults(schema: Schema, parameters: Sequence[inspect.Parameter]) -> Schema:
    """The schema with the defaults that JSON can carry, for the reader of the API's description."""
    properties = dict(schema["properties"])
    for p in parameters:
        if p.default is not p.empty and on_wire(p.default):
            properties[p.name] = {**properties[p.name], "default": p.default}
    return {**schema, "properties": properties}


def _adapt(annotation: Any, mode: Any, name: str) -> tuple[TypeAdapter[Any], Schema]:
    """The adapter of a type, and its schema."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        schema = adapter.json_schema(by_alias=True, mode=mode, schema_generator=Schemas)
    except (PydanticUserError, TypeError, NameError) as error:
        raise ContractError(
            f"{name} has a type without a JSON Schema: {shorten(str(error).splitlines()[0], 200)}",
            "Use pydantic models, dataclasses, TypedDict (of typing_extensions), enums, lists, dicts "
            "and plain types.",
        ) from None
    return adapter, schema
