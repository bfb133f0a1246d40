"""Parameters: from what a person wrote on the command line to values within their bounds (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from serinus.errors import PipelineError
from serinus.pipeline import Parameter, Pipeline, Value

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_EXPECTED = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def split(texts: Iterable[str]) -> dict[str, str]:
    """What ``-p NAME=VALUE`` says.

    Raises:
        PipelineError: one has no ``=``, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise PipelineError(f"-p {text!r} is no NAME=VALUE", "Write it like: -p epochs=3")
        if name in found:
            raise PipelineError(f"the parameter {name} is given twice", "Give it once.")
        found[name] = value
    return found


def bind(pipeline: Pipeline, given: Mapping[str, Value]) -> dict[str, Value]:
    """The value of every parameter, in the order in which they were declared.

    Args:
        pipeline: declares them.
        given: values, or texts that stand for them.

    Raises:
        PipelineError: every one that is unknown, missing, of another type or out of bounds, a line each.
    """
    known = {parameter.name: parameter for parameter in pipeline.parameters}
    faults = [_unknown(name, known) for name in given if name not in known]
    values: dict[str, Value] = {}
    for name, parameter in known.items():
        value = given.get(name, parameter.default)
        if value is None:
            faults.append(f"the parameter {name} has no default and was not given{_about(parameter)}")
            continue
        try:
            values[name] = _typed(parameter, value)
        except ValueError:
            expected = _EXPECTED[parameter.type]
            faults.append(f"the parameter {name} = {value!r}; expected {expected}{_about(parameter)}")
            continue
        faults += out_of_bounds(parameter, values[name])
    if faults:
        raise PipelineError("\n".join(faults), f"`serinus run {pipeline.name} -p NAME=VALUE` gives one.")
    return values


def _unknown(name: str, known: Mapping[str, Parameter]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"there is no parameter {name!r}; did you mean {close[0]}?"
    return f"there is no parameter {name!r}; there are {', '.join(known) or 'none'}"


def _about(parameter: Parameter) -> str:
    return f" ({parameter.about})" if parameter.about else ""


def _typed(parameter: Parameter, value: Value) -> Value:
    """A value of the parameter's type.

    Raises:
        ValueError: it is none.
    """
    match parameter.type, value:
        case "bool", str():
            if value.lower() not in _TRUTHS:
                raise ValueError(value)
            return _TRUTHS[value.lower()]
        case "int", str():
            return int(value)
        case ("float", str()) | ("float", int()) if not isinstance(value, bool):
            value = float(value)
    wanted = _TYPES[parameter.type]
    if type(value) is not wanted or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(value)
    return value


def out_of_bounds(parameter: Parameter, value: Value) -> Iterator[str]:
    """What a value of the right type breaks, a phrase each."""
    told = f"the parameter {parameter.name} = {value!r}; expected "
    if isinstance(value, int | float) and not isinstance(value, bool):
        if parameter.minimum is not None and value < parameter.minimum:
            yield f"{told}at least {parameter.minimum:g}{_about(parameter)}"
        if parameter.maximum is not None and value > parameter.maximum:
            yield f"{told}at most {parameter.maximum:g}{_about(parameter)}"
    if parameter.choices and value not in parameter.choices:
        yield f"{told}one of {', '.join(map(str, parameter.choices))}{_about(parameter)}"


def faults_of(parameter: Parameter) -> Iterator[str]:
    """What is wrong with how a parameter is declared, a phrase each."""
    name = parameter.name
    if parameter.type in {"str", "bool"} and (parameter.minimum, parameter.maximum) != (None, None):
        yield f"{name} is a {parameter.type}, which has no minimum and no maximum"
    if None not in (low := parameter.minimum, high := parameter.maximum) and low > high:  # type: ignore[operator]
        yield f"{name} has the minimum {low:g} above the maximum {high:g}"
    for what, value in (("default", parameter.default), *(("choice", one) for one in parameter.choices)):
        if value is None:
            continue
        try:
            # A text in the file is a text: only on the command line does it stand for a number.
            if isinstance(value, str) and parameter.type != "str":
                raise ValueError(value)
            typed = _typed(parameter, value)
        except ValueError:
            yield f"{name} has the {what} {value!r}; expected {_EXPECTED[parameter.type]}"
            continue
        if what == "default":
            yield from (text.removeprefix("the parameter ") for text in out_of_bounds(parameter, typed))
