"""OpenAPI 3.0 and 3.1 documents -> contracts, and a contract -> the OpenAPI 3.1 document of its service.

Specifications: OpenAPI 3.0.3 and 3.1.0. The schemas of 3.1 are JSON Schema draft 2020-12; those of 3.0 are
an older dialect and are translated (``nullable``, boolean ``exclusiveMinimum``, siblings of ``$ref``).
"""

from __future__ import annotations

from typing import Any, Literal

from serinus.contract import Contract, Schema
from serinus.contract.description import document
from serinus.contract.references import AnySchema, collect, resolve
from serinus.contract.violations import check_schema
from serinus.errors import ContractError

__all__ = ["document", "from_openapi"]

Side = Literal["request", "response"]
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_NOT_SCHEMA = ("nullable", "example", "xml", "externalDocs", "discriminator", "deprecated")
_ALONE = ("allOf", "anyOf", "oneOf", "enum", "not")


def from_openapi(description: Any, route: str, *, method: str = "post") -> Contract:
    """The contract of one operation.

    Args:
        description: the decoded OpenAPI document.
        route: as in its ``paths``, ``/predict``.
        method: of the operation.

    Raises:
        ContractError: not OpenAPI 3.0 or 3.1; no such operation (those there are, are named); no JSON body;
            or a reference that leads nowhere.
    """
    version = str(description.get("openapi", "")) if isinstance(description, dict) else ""
    if not version.startswith(("3.0", "3.1")):
        said = f"the version {version!r}" if version else "no version"
        raise ContractError(
            f"the API description has {said}, expected OpenAPI 3.0 or 3.1", "Export it as OpenAPI 3.1."
        )
    operation = _operation(description, route, method)
    place = f"{method.upper()} {route} of the API description"
    body = _follow(description, operation.get("requestBody"))
    answer = _follow(description, _success(operation.get("responses"), place))
    old = version.startswith("3.0")
    return Contract(
        _extract(description, _json_schema(body, f"the request body of {place}"), "request", old),
        _extract(description, _json_schema(answer, f"the response of {place}"), "response", old),
    )


def _operation(document: dict[str, Any], route: str, method: str) -> dict[str, Any]:
    paths = document.get("paths")
    item = _follow(document, paths.get(route)) if isinstance(paths, dict) else None
    operation = item.get(method) if isinstance(item, dict) else None
    if isinstance(operation, dict):
        return operation
    known = [
        f"{m.upper()} {path}"
        for path, entry in (paths or {}).items()
        if isinstance(entry, dict)
        for m in entry
        if m in _METHODS
    ]
    raise ContractError(
        f"the API description has no {method.upper()} {route}; it has {', '.join(known) or 'no operation'}",
        "Correct service.route.",
    )


def _follow(document: Any, thing: Any) -> Any:
    """The thing itself where a Reference Object stands for it."""
    for _ in range(16):
        if not (isinstance(thing, dict) and isinstance(thing.get("$ref"), str)):
            return thing
        thing = resolve(document, thing["$ref"])
    raise ContractError("the API description has a reference that leads to itself", "Correct it.")


def _success(responses: Any, place: str) -> Any:
    """The response of the first status that means success."""
    if isinstance(responses, dict):
        by_status = {str(status).upper(): response for status, response in responses.items()}
        for status in [*sorted(s for s in by_status if s.startswith("2")), "DEFAULT"]:
            if status in by_status:
                return by_status[status]
    raise ContractError(f"{place} says nothing about a successful response", "Describe status 200.")


def _json_schema(holder: Any, place: str) -> AnySchema:
    """The schema of the JSON media type in a request body's or response's ``content``."""
    content = holder.get("content") if isinstance(holder, dict) else None
    kinds = content if isinstance(content, dict) else {}
    named = {str(kind).partition(";")[0].strip().lower(): media for kind, media in kinds.items()}
    fitting = [k for k in named if k == "application/json"] or [k for k in named if k.endswith("+json")]
    for kind in [*fitting, "application/*", "*/*"]:
        media = named.get(kind)
        if isinstance(media, dict):
            schema = media.get("schema", True)
            return schema if isinstance(schema, (dict, bool)) else True
    raise ContractError(
        f"{place} is {', '.join(named) or 'not described'}, expected application/json",
        "Describe it there, or give the contract in schema files.",
    )


def _extract(document: Any, schema: AnySchema, side: Side, old: bool) -> Schema:
    """The schema on its own, as draft 2020-12."""

    def convert(node: Schema) -> Schema:
        return _for_side(_modern(node) if old else node, side)

    extracted = collect(document, schema, convert)
    try:
        check_schema(extracted)
    except ContractError as error:
        raise ContractError(f"the {side} in the API description: {error.message}", error.todo) from None
    return extracted


def _modern(schema: Schema) -> Schema:
    """A schema object of OpenAPI 3.0 as draft 2020-12. Its subschemas are left as they are."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}  # siblings are ignored, says 3.0
    changed = {k: v for k, v in schema.items() if k not in _NOT_SCHEMA and not k.startswith("x-")}
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(changed.get(exclusive), bool) and changed.pop(exclusive) and limit in changed:
            changed[exclusive] = changed.pop(limit)
    return _nullable(changed) if schema.get("nullable") is True else changed


def _nullable(schema: Schema) -> Schema:
    # 3.0.3 lets nullable stand beside a type alone; what is written beside allOf and $ref means the same.
    if isinstance(schema.get("type"), str):
        both = {**schema, "type": [schema["type"], "null"]}
        if "enum" in both and None not in both["enum"]:
            both["enum"] = [*both["enum"], None]
        return both
    return {"anyOf": [schema, {"type": "null"}]} if any(k in schema for k in _ALONE) else schema


def _for_side(schema: Schema, side: Side) -> Schema:
    """``required`` does not hold for readOnly members of a request, nor for writeOnly ones of a response."""
    absent = "readOnly" if side == "request" else "writeOnly"
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not isinstance(schema.get("required"), list):
        return schema
    left_out = {n for n, p in properties.items() if isinstance(p, dict) and p.get(absent) is True}
    return (
        {**schema, "required": [n for n in schema["required"] if n not in left_out]} if left_out else schema
    )
