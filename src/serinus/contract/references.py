"""Walking JSON Schemas, and bringing every reference to one form: ``#/$defs/NAME``, a plain name at the root.

Which keywords hold schemas is said by JSON Schema draft 2020-12, core, sections 8, 10 and 11.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from serinus.contract import Schema
from serinus.contract.wire import found, shorten
from serinus.errors import ContractError

AnySchema = Schema | bool
IN_ONE = frozenset(
    {"items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"}
    | {"unevaluatedItems", "unevaluatedProperties", "contentSchema"}
)
"""Keywords whose value is a schema."""
IN_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords whose value is a list of schemas."""
IN_MAP = frozenset({"properties", "patternProperties", "dependentSchemas"})
"""Keywords whose value is an object of schemas."""
_BY_NAME = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$id")
_ROOT = "Root"


def map_subschemas(schema: Schema, change: Callable[[AnySchema], AnySchema]) -> Schema:
    """The schema with ``change`` made to each schema that stands directly in it, but in ``$defs``."""
    changed: Schema = {}
    for keyword, value in schema.items():
        if keyword in IN_ONE and isinstance(value, (dict, bool)):
            changed[keyword] = change(value)
        elif keyword in IN_LIST and isinstance(value, list):
            changed[keyword] = [change(item) for item in value]
        elif keyword in IN_MAP and isinstance(value, dict):
            changed[keyword] = {name: change(member) for name, member in value.items()}
        else:
            changed[keyword] = value
    return changed


def clean_name(text: str) -> str:
    """A name that needs no escape in a pointer or a URI, and that OpenAPI takes for a component."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def tokens(reference: str) -> list[str]:
    """The parts of a local reference, ``#`` and a JSON Pointer (RFC 6901, section 6).

    Raises:
        ContractError: it leads outside of the document, or names an anchor.
    """
    if not (reference == "#" or reference.startswith("#/")):
        raise ContractError(
            f"found the reference {shorten(reference, 120)!r}, expected one within the document, #/...",
            "Put what it refers to into the document itself.",
        )
    parts = unquote(reference[2:]).split("/") if len(reference) > 1 else []
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def resolve(document: Any, reference: str) -> Any:
    """What a local reference names in a decoded JSON document.

    Raises:
        ContractError: there is nothing there.
    """
    place = document
    for token in tokens(reference):
        if isinstance(place, dict) and token in place:
            place = place[token]
        elif isinstance(place, list) and token.isdecimal() and int(token) < len(place):
            place = place[int(token)]
        else:
            raise ContractError(
                f"the reference {shorten(reference, 120)!r} names nothing in the document",
                "Add what is missing, or correct the reference.",
            )
    return place


def collect(
    document: Any, schema: AnySchema, convert: Callable[[Schema], Schema] = lambda schema: schema
) -> Schema:
    """The schema on its own: what it refers to in the document stands under its ``$defs``.

    Args:
        document: what references are resolved in; the schema's own root, or a whole OpenAPI document.
        schema: a schema within it.
        convert: applied to every schema, before its subschemas.

    Raises:
        ContractError: a reference leads outside, or to nothing, or is made by anchor or ``$id``.
    """
    return _Collector(document, convert).whole(schema)


class _Collector:
    def __init__(self, document: Any, convert: Callable[[Schema], Schema]) -> None:
        self._document = document
        self._convert = convert
        self._names: dict[str, str] = {}

    def whole(self, schema: AnySchema) -> Schema:
        root = self._visit(schema)
        definitions: dict[str, AnySchema] = {}
        while len(definitions) < len(self._names):  # what is referred to refers to more
            reference, name = list(self._names.items())[len(definitions)]
            definitions[name] = self._visit(resolve(self._document, reference))
        if isinstance(root, bool):
            root = {} if root else {"not": {}}
        return {**root, "$defs": definitions} if definitions else root

    def _visit(self, schema: AnySchema) -> AnySchema:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise ContractError(f"found {found(schema)} where a schema is expected")
        for keyword in _BY_NAME:
            if keyword in schema and not (keyword == "$id" and schema is self._document):
                raise ContractError(
                    f"the schema uses {keyword}, which is not supported",
                    "Refer to places by JSON Pointer, `#/$defs/...`.",
                )
        schema = self._convert(
            {k: v for k, v in schema.items() if k not in ("$defs", "definitions", "$id", "$schema")}
        )
        if "$ref" in schema:
            schema = {**schema, "$ref": "#/$defs/" + self._name_of(schema["$ref"])}
        return map_subschemas(schema, self._visit)

    def _name_of(self, reference: Any) -> str:
        if not isinstance(reference, str):
            raise ContractError(f"found {found(reference)} as a $ref, expected a string")
        if reference not in self._names:
            wanted = clean_name((tokens(reference) or [_ROOT])[-1]) or _ROOT
            name, number = wanted, 1
            while name in self._names.values():
                number += 1
                name = f"{wanted}-{number}"
            self._names[reference] = name
        return self._names[reference]
