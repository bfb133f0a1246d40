"""Contracts from OpenAPI descriptions, and the description of a contract."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import fastapi
import openapi_spec_validator
import pytest
import schemathesis
from contract_instances import instances
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from serinus.contract import UNKNOWN, Contract, Example, Schema, violations
from serinus.contract.infer import signature
from serinus.contract.openapi import document, from_openapi
from serinus.errors import ContractError


def described(
    schema: Any, answer: Any = True, *, version: str = "3.0.3", **components: Any
) -> dict[str, Any]:
    """An API with one operation."""
    return {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/predict": {
                "post": {
                    "requestBody": {"content": {"application/json; charset=utf-8": {"schema": schema}}},
                    "responses": {
                        "default": {"description": "error"},
                        "201": {"description": "", "content": {"application/vnd.x+json": {"schema": answer}}},
                    },
                }
            }
        },
        "components": {"schemas": components},
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "nullable": True, "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        (
            {"nullable": True, "allOf": [{"type": "string"}]},
            {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]},
        ),
        ({"nullable": True}, {}),
        (
            {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            {"type": "number", "exclusiveMinimum": 1},
        ),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": False}, {"type": "number", "maximum": 1}),
        ({"type": "string", "example": "a", "xml": {}, "x-more": 1}, {"type": "string"}),
        (
            {"type": "array", "items": {"type": "integer", "nullable": True}},
            {"type": "array", "items": {"type": ["integer", "null"]}},
        ),
        ({"enum": [{"nullable": True, "example": 1}]}, {"enum": [{"nullable": True, "example": 1}]}),
        (
            {"properties": {"nullable": {"type": "string", "nullable": True}}},
            {"properties": {"nullable": {"type": ["string", "null"]}}},
        ),
    ],
)
def test_schemas_of_openapi_3_0_are_translated(old: Any, new: Schema) -> None:
    contract = from_openapi(described(old, old), "/predict")
    assert contract == Contract(new, new)


def test_references_become_definitions_cycles_included() -> None:
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
        "required": ["children"],
    }
    deep = {"$ref": "#/components/schemas/Tree/properties/children", "description": "a sibling"}
    contract = from_openapi(described({"$ref": "#/components/schemas/Tree"}, deep, Tree=tree), "/predict")
    assert contract.request["$ref"] == "#/$defs/Tree"
    check = violations.compile(contract.request)
    assert check.ok({"children": [{"children": []}]})
    assert [v.pointer for v in check.violations({"children": [{}]})] == ["/children/0/children"]
    assert violations.compile(contract.response).ok([{"children": []}])
    assert "description" not in contract.response


def test_names_that_meet_are_kept_apart() -> None:
    api = described(
        {"allOf": [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B/properties/A"}]},
        version="3.1.0",
        A={"type": "integer"},
        B={"properties": {"A": {"minimum": 3}}},
        **{"a/b~c": {}},
    )
    check = violations.compile(from_openapi(api, "/predict").request)
    assert [check.ok(value) for value in (3, 2, 3.5)] == [True, False, False]


def test_read_only_members_are_not_asked_of_a_caller() -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"readOnly": True}, "secret": {"writeOnly": True}, "text": {}},
        "required": ["id", "secret", "text"],
    }
    contract = from_openapi(described(schema, schema), "/predict")
    assert contract.request["required"] == ["secret", "text"]
    assert contract.response["required"] == ["id", "text"]


def _without(*path: Any) -> dict[str, Any]:
    api = described({})
    place: Any = api
    for part in path[:-1]:
        place = place[part]
    del place[path[-1]]
    return api


@pytest.mark.parametrize(
    ("api", "says"),
    [
        ({"swagger": "2.0"}, "no version"),
        ({"openapi": "2.9"}, "'2.9'"),
        ([], "no version"),
        ({"openapi": "3.1.0"}, "no operation"),
        ({"openapi": "3.1.0", "paths": {"/other": {"get": {}}}}, "GET /other"),
        (_without("paths", "/predict", "post", "requestBody"), "not described"),
        (_without("paths", "/predict", "post", "responses", "201"), "the response of POST /predict"),
        (_without("paths", "/predict", "post", "responses"), "nothing about a successful response"),
        (described({"$ref": "other.json#/A"}), "other.json#/A"),
        (described({"$ref": "#/components/schemas/None"}), "names nothing"),
        (described({"type": "file"}), "the request in the API description"),
        (described({"$dynamicRef": "#x"}, version="3.1.0"), "$dynamicRef"),
        (described({"anyOf": [3]}), "the number 3"),
        (
            {"openapi": "3.1.0", "paths": {"/predict": {"$ref": "#/paths/~1predict"}}},
            "leads to itself",
        ),
    ],
)
def test_what_cannot_be_read_is_named(api: Any, says: str) -> None:
    with pytest.raises(ContractError) as caught:
        from_openapi(api, "/predict")
    assert says in str(caught.value)


@dataclass
class Item:
    text: str
    weight: Annotated[float, Field(gt=0)] = 1.0


class Answer(BaseModel):
    kind: Literal["answer"]
    scores: dict[str, float | None]


class Refusal(BaseModel):
    kind: Literal["refusal"]
    inner: Refusal | None = None


def test_the_description_of_a_fastapi_app_gives_its_contract() -> None:
    app = fastapi.FastAPI()

    @app.post("/predict")
    def predict(items: list[Item]) -> Answer | Refusal:
        return Refusal(kind="refusal")

    contract = from_openapi(app.openapi(), "/predict")
    assert violations.compile(contract.request).ok([{"text": "a"}])
    response = violations.compile(contract.response)
    assert response.ok({"kind": "answer", "scores": {"a": None}})
    assert [v.pointer for v in response.violations({"kind": "answer", "scores": {"a": "1"}})] == ["/scores/a"]


# ----------------------------------------------------------------------- the description of a service


def typed(item: Item, limit: int = 3) -> Annotated[Answer | Refusal, Field(discriminator="kind")]:
    return Refusal(kind="refusal")


def _problem(problem: int) -> list[bool]:
    return []


_problem.__annotations__["problem"] = type("Problem", (BaseModel,), {"__annotations__": {"n": int}})
CONTRACTS = [
    signature(typed).contract,
    signature(_problem).contract,
    Contract({}, {}),
    Contract(
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"positive": {"type": "boolean"}}, "required": ["positive"]},
        (Example(["a"], {"positive": True}), Example([], UNKNOWN)),
    ),
    Contract(
        {
            "$defs": {"Request": {"type": "integer"}, "Problem": {"$ref": "#"}, "a b/c": {"type": "null"}},
            "anyOf": [
                {"$ref": "#/$defs/Request"},
                {"type": "array", "items": {"$ref": "#/$defs/Problem"}},
                {"$ref": "#/$defs/a%20b~1c"},
            ],
        },
        {"type": "object", "properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "string"}}},
    ),
]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_description_is_valid_openapi(contract: Contract) -> None:
    described = document(contract, title="sentiment", version="sha256:0", route="/predict")
    openapi_spec_validator.validate(described)
    assert json.loads(json.dumps(described)) == described
    responses = described["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "405", "413", "415", "422", "500", "503", "504"}
    assert set(described["paths"]) == {"/predict", "/healthz", "/readyz", "/metrics", "/openapi.json"}


@settings(suppress_health_check=list(HealthCheck), max_examples=60)
@given(st.sampled_from(CONTRACTS), st.data())
def test_a_description_gives_the_contract_back(contract: Contract, data: st.DataObject) -> None:
    again = from_openapi(document(contract, title="t", version="1", route="/x"), "/x")
    for old, new in ((contract.request, again.request), (contract.response, again.response)):
        check = violations.compile(new)
        assert check.ok(data.draw(instances(old)))
        value = data.draw(instances({}))
        assert check.ok(value) == violations.compile(old).ok(value)


def test_examples_are_shown() -> None:
    content = document(CONTRACTS[3], title="t", version="1", route="/predict")["paths"]["/predict"]["post"]
    accepted = content["requestBody"]["content"]["application/json"]["examples"]
    answered = content["responses"]["200"]["content"]["application/json"]["examples"]
    assert [example["value"] for example in accepted.values()] == [["a"], []]
    assert [example["value"] for example in answered.values()] == [{"positive": True}]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_schemathesis_can_use_a_description(contract: Contract) -> None:
    described = document(contract, title="t", version="1", route="/predict")
    operations = [result.ok() for result in schemathesis.openapi.from_dict(described).get_all_operations()]
    posts = [operation for operation in operations if operation.method == "post"]
    assert [operation.path for operation in posts] == ["/predict"]
    assert len(operations) == 5
    check = violations.compile(contract.request)

    @settings(max_examples=5, suppress_health_check=list(HealthCheck), database=None)
    @given(case=posts[0].as_strategy())
    def sends(case: Any) -> None:
        assert check.ok(case.body)

    sends()
