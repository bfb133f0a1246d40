"""The contract: what a service promises its callers.

A contract is two JSON Schemas (draft 2020-12) and examples. It is inferred from a typed function, from the
graph of an ONNX file, from an app's OpenAPI description or from examples; it travels in the image as a
label and a file; and two of them can be compared to see whether a change breaks callers.

Modules beside this one:

- ``infer``: a typed function -> Contract (pydantic, imported only there)
- ``onnx``: the graph of an ONNX file -> Contract, reading the graph's interface and seeking past the weights
- ``examples``, ``openapi``: examples or an OpenAPI document -> Contract
- ``compare``: Contract, Contract -> the changes, each breaking or not
- ``violations``: Schema -> a compiled check that names the JSON Pointer of every fault

This package is part of the image: it imports ``errors`` alone, and heavy libraries only where they are used.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Schema = dict[str, Any]
"""A JSON Schema, draft 2020-12, as decoded JSON (``{}`` accepts everything)."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Violation(NamedTuple):
    """One fault of a document under a contract."""

    pointer: str
    """JSON Pointer (RFC 6901) into the document; ``""`` is the whole document."""
    message: str
    """What was found and what was expected, for a person."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request, and the response it must get; ``response`` is :data:`UNKNOWN` where it was left out."""

    request: Any
    response: Any


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Any = _Unknown()
"""The response of an example that does not say what it must be (``None`` is a JSON value: ``null``)."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What a service promises: the schema of a request, of a response, and examples of both."""

    request: Schema
    response: Schema
    examples: tuple[Example, ...] = field(default=())

    def to_json(self) -> str:
        """The canonical text of this contract: equal contracts give equal bytes."""
        examples = [
            {"request": e.request}
            if e.response is UNKNOWN
            else {"request": e.request, "response": e.response}
            for e in self.examples
        ]
        document = {"request": self.request, "response": self.response, "examples": examples}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Contract:
        """Read what :meth:`to_json` wrote.

        Raises:
            ContractError: the text is not a contract; the message says what was found.
        """
        from serinus.contract.files import parse

        return parse(text)

    @classmethod
    def trusted(cls, text: str | bytes) -> Contract:
        """Read what :meth:`to_json` wrote and nobody has touched since: nothing is checked."""
        document = json.loads(text)
        examples = (Example(e["request"], e.get("response", UNKNOWN)) for e in document["examples"])
        return cls(document["request"], document["response"], tuple(examples))

    @property
    def digest(self) -> str:
        """``sha256:...`` of the canonical text without the examples: what callers rely on."""
        text = Contract(self.request, self.response).to_json()
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
