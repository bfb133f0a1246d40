"""The rules of the project file, held by pydantic, and what is said when one is broken."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, get_type_hints

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict

from serinus.errors import ProjectError
from serinus.project import RESERVED, TABLES, Rollout, inner

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
    return pydantic.create_model("serinus.toml", __config__=_CONFIG, **members)


def _table(kind: type) -> type[pydantic.BaseModel]:
    """A table of the project file as a model, with the tables below it."""
    members: dict[str, Any] = {}
    for key in fields(kind):
        below = inner(key)
        members[key.name] = (_table(below), None) if below else _rule(kind, key)
    return pydantic.create_model(kind.__name__, __config__=_CONFIG, **members)


def _required(key: Field[Any]) -> bool:
    return key.default is MISSING


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
    if annotation == tuple[str, ...]:
        each = rule.pop("each", None)
        annotation = list[Annotated[str, pydantic.Field(pattern=each)]]
    elif annotation == tuple[float, ...]:
        annotation = list[float]
    annotated: Any = Annotated[(annotation, pydantic.Field(**rule), *validators)]
    return annotated, ... if _required(key) else key.default


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


def _together(tables: Mapping[str, Any]) -> list[str]:
    """What no key breaks alone."""
    service, model, contract = (tables.get(name, {}) for name in ("service", "model", "contract"))
    faults = list(_steps(tables.get("rollout", {})))
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
    keys = [str(key) for key in fault["loc"]]
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
    known = [path[-1] for path in _paths() if path[:-1] == tuple(keys[:-1])]
    elsewhere = [".".join(path) for path in _paths() if len(path) > 1 and path[-1] == keys[-1]]
    close = [".".join([*keys[:-1], key]) for key in get_close_matches(keys[-1], known, n=1, cutoff=0.5)]
    if meant := elsewhere + close:
        return f"; did you mean {meant[0]}?"
    return f"; known here are {', '.join(known)}"


def _paths() -> Iterator[tuple[str, ...]]:
    """The path of every table and key there is."""

    def below(kind: type, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for key in fields(kind):
            table = inner(key)
            if table:
                yield from below(table, (*path, key.name))
            else:
                yield (*path, key.name)

    for name, kind in TABLES.items():
        yield from below(kind, (name,))


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
