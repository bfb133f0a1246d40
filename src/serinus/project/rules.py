"""The rules of the project file, held by pydantic, and what is said when one is broken."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, get_type_hints

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict

from serinus.errors import ProjectError
from serinus.project import NAMED, RESERVED, TABLES, Rollout
from serinus.project.declare import default_of, inner, named

_UNITS: dict[str, Mapping[str, float]] = {
    "seconds": {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0},
    "bytes": {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30},
}
_CONFIG = ConfigDict(extra="forbid", strict=True)


def check(tables: Any, text: str, file: Path, prefix: Sequence[str]) -> dict[str, Any]:
    """Hold the tables to the rules.

    Args:
        tables: the decoded TOML, from the table under which the keys stand.
        text: the file's text, to find the line of a fault in.
        file: the file, for messages.
        prefix: the names of the tables above ours (``tool``, ``serinus`` in a ``pyproject.toml``).

    Returns:
        The tables as plain JSON values, units resolved, only with the keys that were given.

    Raises:
        ProjectError: every broken rule, a line each.
    """
    try:
        valid = _model().model_validate(tables)
        values: dict[str, Any] = valid.model_dump(exclude_unset=True)
        faults = [f"{file}: {message}" for message in _together(values)]
    except pydantic.ValidationError as error:
        faults = [_fault(fault, text, file, prefix) for fault in error.errors()]
    if faults:
        raise ProjectError("\n".join(faults), "`serinus config --list` shows every key and its default.")
    return values


def _model() -> type[pydantic.BaseModel]:
    required = {name for name, kind in TABLES.items() if any(_required(f) for f in fields(kind))}
    members: dict[str, Any] = {
        name: (_table(kind), ... if name in required else None) for name, kind in TABLES.items()
    }
    members |= {name: (_named(kind, pattern), None) for name, (kind, _, pattern) in NAMED.items()}
    return pydantic.create_model("serinus.toml", __config__=_CONFIG, **members)


def _named(kind: type, pattern: str) -> Any:
    """Tables under names that the project chooses."""
    return dict[Annotated[str, pydantic.Field(pattern=pattern)], _table(kind)]  # type: ignore[misc]


def _table(kind: type) -> type[pydantic.BaseModel]:
    """A table of the project file as a model, with the tables below it."""
    members: dict[str, Any] = {}
    for key in fields(kind):
        if below := inner(key):
            members[key.name] = _table(below), None
        elif many := named(key):
            members[key.name] = _named(many, key.metadata["names"]), None
        else:
            members[key.name] = _rule(kind, key)
    return pydantic.create_model(kind.__name__, __config__=_CONFIG, **members)


def _required(key: Field[Any]) -> bool:
    return default_of(key) is ...


def _rule(kind: type, key: Field[Any]) -> Any:
    """The type of a key with its rule, and its default, as pydantic wants them."""
    rule = dict(key.metadata)
    validators: list[Any] = []
    if unit := rule.pop("unit", None):
        validators.append(BeforeValidator(_quantity(unit)))
    if rule.pop("inside", False):
        validators.append(AfterValidator(_inside))
    if rule.pop("unreserved", False):
        validators.append(AfterValidator(_unreserved))
    annotation = get_type_hints(kind)[key.name]
    for form, validate in _FORMS.items():
        if rule.pop(form, False):
            annotation = Any
            validators.append(AfterValidator(validate))
    if annotation == Mapping[str, str]:
        annotation = dict[Annotated[str, pydantic.Field(pattern=rule.pop("names"))], str]
    elif annotation == tuple[str, ...]:
        each = rule.pop("each", None)
        annotation = list[Annotated[str, pydantic.Field(pattern=each)]]
    elif annotation == tuple[float, ...]:
        annotation = list[float]
    annotated: Any = Annotated[(annotation, pydantic.Field(**rule), *validators)]
    return annotated, default_of(key)


def _quantity(unit: str) -> Callable[[Any], Any]:
    units = _UNITS[unit]
    example = {"seconds": '"30s"', "bytes": '"16MiB"'}[unit]

    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", value)
        if not match or match[2] not in units:
            raise ValueError(f"a number of {unit}, or one with a unit ({', '.join(units)}) like {example}")
        number = float(match[1]) * units[match[2]]
        return int(number) if unit == "bytes" else number

    return convert


def _inside(path: str | None) -> str | None:
    if path is None:
        return None
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError("a relative path that stays inside the project")
    return pure.as_posix()


def _unreserved(route: str) -> str:
    if route in RESERVED or route == "/v2" or route.startswith("/v2/"):
        raise ValueError(f"a route other than the server's own: {', '.join(RESERVED)} and /v2")
    return route


def _words(value: Any) -> Any:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, list) and value and all(isinstance(word, str) and word for word in value):
        return value
    raise ValueError("a command: a text, or a list of words")


def _scalar(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError("a text, a number, true or false")


def _scalars(values: Any) -> Any:
    if isinstance(values, list) and values:
        return [_scalar(value) for value in values]
    raise ValueError("a list of texts, numbers, true or false")


_FORMS = {"words": _words, "scalar": _scalar, "scalars": _scalars}
"""Keys whose values may have one of several forms."""


def _together(tables: Mapping[str, Any]) -> list[str]:
    """What no key breaks alone."""
    service, model, contract = (tables.get(name, {}) for name in ("service", "model", "contract"))
    faults = list(_steps(tables.get("rollout", {})))
    if service.get("inference") == "loop" and service.get("threads"):
        faults.append("service.threads is given, and service.inference = loop uses none; keep one")
    if not service.get("entrypoint") and not (model.get("path") or model.get("source")):
        faults.append("nothing to serve: expected service.entrypoint, or an ONNX file at model.path")
    if bool(contract.get("request")) != bool(contract.get("response")):
        faults.append("contract.request and contract.response belong together; only one of them is given")
    if contract.get("openapi") and contract.get("request"):
        faults.append("the contract is given twice: by contract.openapi and by contract.request; keep one")
    return faults


def _steps(rollout: Mapping[str, Any]) -> Iterator[str]:
    steps = rollout.get("steps", list(Rollout().steps))
    if any(low >= high for low, high in pairwise([0, *steps])) or steps[-1] != 100:
        yield f"rollout.steps = {steps}; expected shares that grow from above 0 to 100, the last one 100"
    for gate in rollout.get("gates", ()):
        if gate not in steps:
            yield f"rollout.gates has {gate:g}, which is none of the steps {steps}"


def _expected(fault: Any) -> str:
    """What a fault expected, so that it reads on after the word."""
    context = fault.get("ctx", {})
    match fault["type"]:
        case "string_pattern_mismatch":
            return f"a text that matches {context['pattern']}"
        case "greater_than" | "greater_than_equal" | "less_than_equal":
            return "a number " + str(fault["msg"]).removeprefix("Input should be ")
        case "model_type":
            return "a table"
    return str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")


def _fault(fault: Any, text: str, file: Path, prefix: Sequence[str]) -> str:
    """One fault for a person: file, line, key, what was found, what was expected, the nearest valid key."""
    keys = [str(key) for key in fault["loc"] if key != "[key]"]  # what pydantic says of a wrong name
    line = line_of(text, [*prefix, *keys]) or line_of(text, [*prefix, *keys[:-1]])
    place = f"{file}:{line}" if line else str(file)
    key = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown key {key}{_nearest(keys)}"
    if fault["type"] == "missing":
        return f"{place}: no {key}; every project needs it"
    return f"{place}: {key} = {_shown(fault['input'])}; expected {_expected(fault)}"


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(keys: Sequence[str]) -> str:
    """The valid key that is meant, or all that are known in that table."""
    here, name = keys[:-1], keys[-1]
    known = [path[-1] for path in _paths() if path[-1] is not None and _matches(path[:-1], here)]
    elsewhere = [
        ".".join(map(str, path)) for path in _paths() if path[1:] and None not in path and path[-1] == name
    ]
    if keys[0] in NAMED:
        elsewhere = []  # tables under free names are a world of their own
    close = [".".join([*here, key]) for key in get_close_matches(name, known, n=1, cutoff=0.5)]
    if meant := elsewhere + close:
        return f"; did you mean {meant[0]}?"
    return f"; known here are {', '.join(known)}"


def _matches(path: Sequence[str | None], keys: Sequence[str]) -> bool:
    """Whether these keys lead to this path, in which None stands for any name."""
    pairs = zip(path, keys, strict=False)
    return len(path) == len(keys) and all(part is None or part == key for part, key in pairs)


def _paths() -> Iterator[tuple[str | None, ...]]:
    """The path of every table and key there is; None stands for a name that the project chooses."""

    def below(kind: type, path: tuple[str | None, ...]) -> Iterator[tuple[str | None, ...]]:
        yield path
        for key in fields(kind):
            if table := inner(key):
                yield from below(table, (*path, key.name))
            elif many := named(key):
                yield (*path, key.name)
                yield from below(many, (*path, key.name, None))
            else:
                yield (*path, key.name)

    for name, kind in TABLES.items():
        yield from below(kind, (name,))
    for name, (kind, _, _) in NAMED.items():
        yield (name,)
        yield from below(kind, (name, None))


def line_of(text: str, keys: Sequence[str]) -> int | None:
    """The line (from 1) of the statement that brings a key, or None when the text has no such key.

    tomllib knows no positions, so ever longer beginnings of the text are parsed until the key is there:
    exact, quadratic, and done for an error alone.
    """
    lines = text.splitlines(keepends=True)
    begin = 1
    for number in range(1, len(lines) + 1):
        try:
            document: Any = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value of several lines
        if _has(document, keys):
            return begin
        begin = number + 1
    return None


def _has(document: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if isinstance(document, list):
            return key.isdigit() and int(key) < len(document)
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True
