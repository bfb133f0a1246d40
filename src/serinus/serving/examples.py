"""Examples: the first callers. A service is ready when it has answered each of them as its contract says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from serinus.contract import UNKNOWN, Example, Violation
from serinus.contract.differences import differences
from serinus.contract.violations import BrokenContract
from serinus.errors import SerinusError
from serinus.serving.answers import Problem
from serinus.serving.app import Opened, held


@dataclass(frozen=True, slots=True)
class _Headers:
    fields: dict[str, str]

    def get(self, key: str, default: Any = None) -> Any:
        return self.fields.get(key, default)

    def items(self) -> list[tuple[str, str]]:
        return list(self.fields.items())


@dataclass(slots=True)
class ExampleScope:
    """The head of a request that carries an example, as if it had come from the machine itself."""

    path: str
    headers: _Headers
    proto: str = "http"
    http_version: str = "1.1"
    server: str = "127.0.0.1:80"
    client: str = "127.0.0.1:0"
    scheme: str = "http"
    method: str = "POST"
    query_string: str = ""


async def rehearse(opened: Opened, examples: tuple[Example, ...], route: str) -> str:
    """Answer every example once: ``""`` when all went well, else what went wrong first.

    Raises:
        Exception: whatever the service raised.
    """
    for number, example in enumerate(examples, 1):
        faults = await _faults(opened, example, route)
        if faults:
            told = "; ".join(f"at {v.pointer or 'the whole document'}: {v.message}" for v in faults[:5])
            return f"example {number} of {len(examples)} is not answered as it should be: {told}"
    return ""


async def _faults(opened: Opened, example: Example, route: str) -> tuple[Violation, ...]:
    body = orjson.dumps(example.request)
    fields = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    try:
        answer = await opened.service.answer(ExampleScope(route, _Headers(fields)), body)
        if not 200 <= answer.status < 300:
            return (Violation("", f"found the status {answer.status}, expected 200"),)
        kept = held(answer, opened.response)
    except Problem as problem:
        told = (Violation("", f"found the status {problem.status}: {problem.detail}"),)
        return problem.violations or told
    except BrokenContract as error:
        return error.violations
    except SerinusError as error:
        return (Violation("", error.message),)
    if example.response is UNKNOWN or kept is None:
        return ()
    return tuple(differences(example.response, kept[0]))
