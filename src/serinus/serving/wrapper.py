"""A foreign app as a service: its prediction route held to the contract on both sides, the rest untouched."""

from __future__ import annotations

import orjson

from serinus.contract import Contract
from serinus.contract.violations import Check
from serinus.contract.violations import compile as compile_schema
from serinus.serving.answers import Answer, Problem
from serinus.serving.logs import log
from serinus.serving.rsgi import Scope
from serinus.serving.service import App, Service


def guarded(app: App, contract: Contract | None, route: str) -> Service:
    """The app as a service. Requests on ``route`` outside of the contract never reach it.

    Without a contract nothing is checked, and the log says so.
    """
    if contract is None:
        log.warning(
            "the app has no contract: requests and responses pass unchecked",
            extra={"todo": f"Write one with `serinus contract write`, for POST {route}."},
        )
        return Service(app.call, start=app.start, stop=app.stop, stream=app.stream)
    check = compile_schema(contract.request)

    async def answer(scope: Scope, body: bytes) -> Answer:
        admit(body, check)
        return await app.call(scope, body)

    return Service(answer, contract, app.start, app.stop, stream=app.stream)


def admit(body: bytes, check: Check) -> None:
    """Hold the body of a request to its schema.

    Raises:
        Problem: 400 when it is not JSON, with the position; 422 with every fault when it breaks the contract.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if not check.ok_parsed(value, body):
        raise Problem(422, "the request breaks the contract", check.violations(value))
