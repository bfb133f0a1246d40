"""The OpenAPI 3.1 document of a service, written from its contract. Pure."""

from __future__ import annotations

from typing import Any

from serinus.contract import DIALECT, UNKNOWN, Contract, Schema
from serinus.contract.references import AnySchema, collect, map_subschemas

PROBLEMS = {
    400: "The body is not JSON; the detail names the position.",
    405: "The route does not know the method; `Allow` names those it knows.",
    413: "The body is larger than the service takes.",
    415: "The body's content type is not JSON.",
    422: "The body breaks the contract; `errors` has the JSON Pointer of every fault.",
    500: "The service failed, or its answer broke the contract (`serinus-violation`) and was not sent.",
    503: "The service is not ready, or its queue is full; `Retry-After` says when to ask again.",
    504: "The answer took longer than the service's deadline.",
}
"""What an answer of each status means."""

_PROBLEM: Schema = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "id": {"type": "string", "description": "Stands in the service's log beside the cause."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901) of the fault."},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}
_VERSION_HEADER = {
    "serinus-version": {"description": "Digest of the image that answered.", "schema": {"type": "string"}}
}


def document(contract: Contract, *, title: str, version: str, route: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of a service.

    Args:
        contract: what it promises; its examples become those of the operation.
        title: name of the service.
        version: of the service, such as its image digest.
        route: that predictions are posted to.

    Raises:
        ContractError: a schema refers to something outside itself.
    """
    components = _Components()
    components.add("Problem", _PROBLEM)
    request = components.add("Request", contract.request)
    response = components.add("Response", contract.response)
    paths = {
        "/healthz": {"get": _look("alive", "The process is alive.", ())},
        "/readyz": {"get": _look("ready", "The model is loaded and answers its examples.", (503,))},
        "/metrics": {"get": _look("metrics", "Metrics in the Prometheus text format.", ())},
        "/openapi.json": {"get": _look("description", "This document.", ())},
    }
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": DIALECT,
        "info": {"title": title, "version": version},
        "paths": {route: {"post": _predict(contract, request, response)}, **paths},
        "components": {"schemas": components.schemas, "responses": _problem_responses()},
    }


def _predict(contract: Contract, request: Schema, response: Schema) -> dict[str, Any]:
    accepted: dict[str, Any] = {"schema": request}
    answered: dict[str, Any] = {"schema": response}
    for number, example in enumerate(contract.examples, 1):
        name = f"example-{number}"
        accepted.setdefault("examples", {})[name] = {"value": example.request}
        if example.response is not UNKNOWN:
            answered.setdefault("examples", {})[name] = {"value": example.response}
    return {
        "operationId": "predict",
        "summary": "Answer one prediction.",
        "requestBody": {"required": True, "content": {"application/json": accepted}},
        "responses": {
            "200": {
                "description": "The prediction.",
                "headers": _VERSION_HEADER,
                "content": {"application/json": answered},
            },
            **{str(status): _problem(status) for status in PROBLEMS},
        },
    }


def _look(operation: str, description: str, problems: tuple[int, ...]) -> dict[str, Any]:
    """An operation that only looks. Its body is for people and scrapers, and no part of the contract."""
    return {
        "operationId": operation,
        "summary": description,
        "responses": {
            "200": {"description": description, "headers": _VERSION_HEADER},
            **{str(status): _problem(status) for status in (*problems, 405)},
        },
    }


def _problem(status: int) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/Problem{status}"}


def _problem_responses() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        f"Problem{status}": {"description": text, "headers": _VERSION_HEADER, "content": content}
        for status, text in PROBLEMS.items()
    }


class _Components:
    """``components/schemas``: each name taken once."""

    def __init__(self) -> None:
        self.schemas: dict[str, AnySchema] = {}

    def add(self, name: str, schema: Schema) -> Schema:
        """Put a schema and its ``$defs`` there; the reference to it."""
        whole = collect(schema, schema)
        definitions: dict[str, AnySchema] = whole.pop("$defs", {})
        places = {f"#/$defs/{n}": self._free(n, d) for n, d in definitions.items()}

        def moved(node: AnySchema) -> AnySchema:
            return node if isinstance(node, bool) else self._moved(map_subschemas(node, moved), places)

        chosen = self._free(name, None)
        for old, definition in zip(places, definitions.values(), strict=True):
            self.schemas[places[old]] = moved(definition)
        self.schemas[chosen] = moved(whole)
        return {"$ref": f"#/components/schemas/{chosen}"}

    def _free(self, wanted: str, definition: AnySchema | None) -> str:
        """A name that is not taken, and takes it."""
        name, number = wanted, 1
        while name in self.schemas:
            number += 1
            name = f"{wanted}-{number}"
        self.schemas[name] = definition if definition is not None else {}
        return name

    @staticmethod
    def _moved(schema: Schema, places: dict[str, str]) -> Schema:
        changed = dict(schema)
        if "$ref" in changed:
            changed["$ref"] = f"#/components/schemas/{places[changed['$ref']]}"
        discriminator = changed.get("discriminator")
        if isinstance(discriminator, dict) and isinstance(discriminator.get("mapping"), dict):
            mapping = {
                value: f"#/components/schemas/{places[target]}" if target in places else target
                for value, target in discriminator["mapping"].items()
            }
            changed["discriminator"] = {**discriminator, "mapping": mapping}
        return changed
