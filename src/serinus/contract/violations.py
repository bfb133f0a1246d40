"""A JSON Schema, compiled: is a document right, and if not, where is every fault?

Built on ``jsonschema_rs`` with format assertion on (JSON Schema draft 2020-12; the formats of its validation
vocabulary, section 7.3). No reference ever leads outside the schema: nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from serinus.contract import DIALECT, Schema, Violation
from serinus.contract.wire import foreign, found, on_wire, pointer, shallow, shorten
from serinus.errors import ContractError

TYPE_NAMES = {
    "null": "null",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}
_MISMATCHES = ("type", "const", "enum", "falseSchema", "not")
"""Faults by which a value is not meant for an alternative at all, rather than wrong within it."""


class Malformed(ContractError):
    """A body that is not JSON; the message names the position (a caller's fault: 400).

    Args:
        message: what is wrong, and where.
        position: characters from the start of the text.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class BrokenContract(ContractError):
    """A document that breaks the contract, with each fault (of a request: 422; of a response: 500)."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
        super().__init__(f"at {first.pointer or 'the whole document'}: {first.message}{more}")
        self.violations = tuple(violations)


class Check:
    """A compiled schema. Made by :func:`compile`; may be shared between threads."""

    __slots__ = ("_errors", "_valid", "schema")

    def __init__(self, schema: Schema, valid: Callable[[Any], bool], errors: Callable[[Any], Any]) -> None:
        self.schema = schema
        self._valid = valid
        self._errors = errors

    def ok(self, value: Any) -> bool:
        """Whether the decoded document has no fault. One to three microseconds for a small object."""
        return on_wire(value) and self._valid(value)

    def ok_parsed(self, value: Any, text: bytes) -> bool:
        """What :meth:`ok` says, sooner, of what was parsed from strict JSON text."""
        return self._valid(value) if shallow(text) else self.ok(value)

    def violations(self, value: Any) -> tuple[Violation, ...]:
        """Every fault of the decoded document, each once; empty exactly when :meth:`ok`."""
        if not on_wire(value):
            return tuple(foreign(value))
        faults = (fault for error in self._errors(value) for fault in explain(error))
        return tuple(dict.fromkeys(faults))


def compile(schema: Schema) -> Check:  # noqa: A001 - like re.compile, and always used with its module's name
    """Compile a schema.

    Raises:
        ContractError: it is not a valid schema of draft 2020-12, or refers to something outside itself.
    """
    import jsonschema_rs

    check_schema(schema)
    try:
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, retriever=_nowhere)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise ContractError(
            f"the schema cannot be used: {shorten(str(error).splitlines()[0], 200)}",
            "Let every $ref name a place inside the schema itself, under $defs.",
        ) from None
    return Check(schema, validator.is_valid, validator.iter_errors)


def check_schema(schema: Any) -> None:
    """Hold a schema to the meta-schema of draft 2020-12.

    Raises:
        ContractError: the message has the pointer of the first fault within the schema.
    """
    import jsonschema_rs

    if not isinstance(schema, (dict, bool)):
        raise ContractError(f"found {found(schema)}, expected a JSON Schema (an object)")
    dialect = schema.get("$schema", DIALECT) if isinstance(schema, dict) else DIALECT
    if dialect not in (DIALECT, DIALECT + "#"):
        raise ContractError(
            f"found a schema of the dialect {shorten(str(dialect), 80)!r}, expected {DIALECT}",
            "Rewrite the schema for draft 2020-12, or remove $schema if it is one already.",
        )
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        place = pointer(error.instance_path) or "its root"
        raise ContractError(
            f"not a valid JSON Schema: at {place}: {shorten(error.message, 160)}",
            "Correct the schema; its keywords are those of JSON Schema draft 2020-12.",
        ) from None
    except ValueError as error:
        raise ContractError(f"not a valid JSON Schema: {shorten(str(error), 160)}") from None


def _nowhere(uri: str) -> NoReturn:
    raise ValueError(f"{shorten(uri, 80)} is outside the schema")


def explain(error: Any) -> Iterator[Violation]:
    """One error of ``jsonschema_rs`` as violations: one for each place at fault."""
    name, kind, path = error.kind.name, error.kind, error.instance_path
    if name == "required":
        yield Violation(pointer((*path, kind.property)), "the member is missing, expected one")
    elif name in ("additionalProperties", "unevaluatedProperties"):
        for member in kind.unexpected:
            yield Violation(pointer((*path, member)), "found a member that the contract does not know")
    elif name == "unevaluatedItems":
        for index in _indices(error.instance, kind.unexpected):
            yield Violation(pointer((*path, index)), "found an item that the contract does not know")
    elif name == "propertyNames":
        member = kind.error.instance
        expected = _expected(kind.error.kind)
        yield Violation(
            pointer((*path, member)), f"found the member name {found(member)[11:]}, expected {expected}"
        )
    elif name in ("anyOf", "oneOf"):
        yield from _alternatives(error)
    else:
        yield Violation(pointer(path), f"found {found(error.instance)}, expected {_expected(kind)}")


def _indices(items: Sequence[Any], texts: Sequence[str]) -> list[int]:
    """Where the items stand that the validator names by their JSON text, looked for from the end."""
    indices: list[int] = []
    end = len(items)
    for text in reversed(texts):
        value = json.loads(text)
        end = next((i for i in range(end - 1, -1, -1) if items[i] == value), 0)
        indices.insert(0, end)
    return indices


def _alternatives(error: Any) -> Iterator[Violation]:
    """The faults within the alternative that was most likely meant, or one fault when none was."""
    branches, path = error.kind.context, error.instance_path
    if any(not branch for branch in branches):  # oneOf, and more than one fits
        fitting = [str(index) for index, branch in enumerate(branches) if not branch]
        yield Violation(
            pointer(path),
            f"found {found(error.instance)}, which fits {len(fitting)} alternatives, expected exactly one",
        )
        return
    meant = [branch for branch in branches if not _mismatch(branch, len(path))]
    # A member with one fixed value, such as {"kind": "cat"}, tells alternatives apart.
    tagged = [branch for branch in meant if not _mismatch(branch, len(path) + 1)]
    if meant:
        explained = [[v for e in branch for v in explain(e)] for branch in tagged or meant]
        yield from min(explained, key=len)
        return
    expected = dict.fromkeys(
        _expected(e.kind) for b in branches for e in b if len(e.instance_path) == len(path)
    )
    yield Violation(
        pointer(path), f"found {found(error.instance)}, expected {shorten(' or '.join(expected), 120)}"
    )


def _mismatch(branch: list[Any], depth: int) -> bool:
    return any(e.kind.name in _MISMATCHES and len(e.instance_path) == depth for e in branch)


_LIMITS: dict[str, str] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "a string of at least {} characters",
    "maxLength": "a string of at most {} characters",
    "minItems": "an array of at least {} items",
    "maxItems": "an array of at most {} items",
    "minProperties": "an object of at least {} members",
    "maxProperties": "an object of at most {} members",
}
_FIXED: dict[str, str] = {
    "contains": "an array with the item that the contract asks for",
    "uniqueItems": "an array of different items",
    "falseSchema": "nothing here",
    "not": "anything but what the contract excludes",
    "anyOf": "one of the alternatives",
    "oneOf": "exactly one of the alternatives",
}


def _expected(kind: Any) -> str:  # noqa: PLR0911 - a table with words of its own for a few kinds
    """What a fault of this kind expected, in a few words."""
    name = kind.name
    if name == "type":
        return " or ".join(TYPE_NAMES[t] for t in kind.types)
    if name == "const":
        return shorten(json.dumps(kind.expected_value, ensure_ascii=False, default=str), 80)
    if name == "enum":
        options = (json.dumps(o, ensure_ascii=False, default=str) for o in kind.options)
        return "one of " + shorten(", ".join(options), 80)
    if name in _LIMITS:
        return _LIMITS[name].format(kind.limit)
    if name == "multipleOf":
        return f"a multiple of {kind.multiple_of}"
    if name == "pattern":
        return f"a string matching {shorten(kind.pattern, 80)}"
    if name == "format":
        return f"a string of the format {shorten(kind.format)}"
    return _FIXED.get(name, f"what the contract says with {shorten(name)}")
