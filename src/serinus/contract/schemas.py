"""The JSON Schemas that pydantic writes for types, made as strict as the contract is."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import core_schema

_WHOLE = "^-?(0|[1-9][0-9]*)$"
"""Member names of an object that is decoded to a dict with whole numbers as keys."""


class Schemas(GenerateJsonSchema):
    """pydantic's generator, with three changes.

    An object whose author did not say what becomes of further members takes none in a request; the names of
    a ``dict`` with other keys than ``str`` are described; and a default that JSON cannot carry is left out
    without a warning.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """As pydantic's, closed."""
        return self._closed(super().model_schema(schema), getattr(schema["cls"], "model_config", {}))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """As pydantic's, closed."""
        config = getattr(schema["cls"], "__pydantic_config__", None) or schema.get("config") or {}
        return self._closed(super().dataclass_schema(schema), config)

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """As pydantic's, closed."""
        config = dict(schema.get("config") or {})
        cls = schema.get("cls")
        config.update(getattr(cls, "__pydantic_config__", None) or {})
        return self._closed(super().typed_dict_schema(schema), config)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """As pydantic's, with what the names must be."""
        written = super().dict_schema(schema)
        keys: Any = schema.get("keys_schema", {})
        if keys.get("type") == "int":
            return {**written, "propertyNames": {"pattern": _WHOLE}}
        if "patternProperties" in written:  # names are held to a pattern: no other is taken
            return {"additionalProperties": False, **written}
        return written

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Say nothing: what is left out here is not part of the contract."""

    def _closed(self, written: JsonSchemaValue, config: Any) -> JsonSchemaValue:
        is_object = written.get("type") == "object"
        said = "additionalProperties" in written or config.get("extra") is not None
        if self.mode != "validation" or said or not is_object:
            return written
        return {**written, "additionalProperties": False}
