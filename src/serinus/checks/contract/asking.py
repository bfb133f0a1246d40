"""Asking a service, with the raw answer in hand, and what is wrong with that answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from serinus.checks import Finding
from serinus.checks.subjects import Service
from serinus.contract import Violation
from serinus.contract import violations as compiled
from serinus.contract.wire import found, loads, pointer
from serinus.serving import VIOLATION

_PATIENCE = 20
"""How often a request is put again that a full queue turned away."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    """0: nothing came."""
    body: bytes = b""
    violation: str | None = None
    """The header ``serinus-violation``."""
    fault: str = ""
    """Why nothing came."""
    reason: str = ""
    """Why the service failed, from its log."""
    retry: bool = False
    """Whether the service asks to be asked again."""


def ask(service: Service, request: Any, sleep: Callable[[float], None] = time.sleep) -> Reply:
    """Put one request, and put it again while the queue is full: other checks ask at the same time."""
    reply = _ask(service, request)
    for _ in range(_PATIENCE):
        if not (reply.status == 503 and reply.retry):
            break
        sleep(0.25)
        reply = _ask(service, request)
    return reply


def _ask(service: Service, request: Any) -> Reply:
    import httpx

    body = json.dumps(request).encode()
    try:
        answer = service.client.post(
            service.route, content=body, headers={"content-type": "application/json"}
        )
    except httpx.HTTPError as error:
        return Reply(0, fault=f"{type(error).__name__}: {error}".rstrip(": "))
    headers = answer.headers
    return Reply(
        answer.status_code,
        answer.content,
        headers.get(VIOLATION),
        reason=service.reason(_problem(answer.content)) if answer.status_code >= 500 else "",
        retry="retry-after" in headers,
    )


def faults(reply: Reply, response: compiled.Check) -> tuple[Violation, ...]:
    """What is wrong with the answer to a request that the contract allows; nothing for a right one. Pure."""
    if reply.status == 0:
        return (Violation("", f"no answer came ({reply.fault}), expected one"),)
    if 200 <= reply.status < 300:
        return tuple(on_the_wire(reply.body, response))
    return refused(reply)


def refused(reply: Reply) -> tuple[Violation, ...]:
    """What the server says against its own answer, or the status alone. Pure."""
    problem = _problem(reply.body)
    if reply.violation is not None and isinstance(problem.get("errors"), list):
        errors = [e for e in problem["errors"] if isinstance(e, dict)]
        return tuple(Violation(str(e.get("pointer", "")), str(e.get("detail", ""))) for e in errors)
    why = reply.reason or problem.get("detail")
    told = f": {why}" if why else ""
    return (Violation("", f"found the status {reply.status}{told}, expected 200"),)


def _problem(body: bytes) -> dict[str, Any]:
    """Problem details (RFC 9457), or nothing where the body holds none."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


class _Pairs(list[tuple[str, Any]]):
    """The members of an object as they were written, repeated ones among them."""


class _Written(float):
    """A number that was written with a fraction or an exponent."""


def on_the_wire(body: bytes, response: compiled.Check) -> Iterator[Violation]:
    """Every fault of an answer's JSON text, stricter than a schema can be. Pure.

    Beside the schema: no member twice (RFC 8259, section 4, "SHOULD be unique"), no NaN and no Infinity, and
    no ``1.0`` where the contract says integer: JSON Schema takes it for one, many decoders do not.
    """
    try:
        value = loads(body)
    except ValueError as error:
        named = _not_finite(body)
        yield from named or [Violation("", f"the answer is not JSON: {error}")]
        return
    known = response.violations(value)
    yield from known
    raw = json.loads(body, object_pairs_hook=_Pairs, parse_float=_Written)
    yield from _twice(raw)
    if not known:
        yield from _fractions(raw, value, response)


def _not_finite(body: bytes) -> list[Violation]:
    from serinus.contract.wire import foreign

    try:
        return list(foreign(json.loads(body)))
    except (ValueError, RecursionError):
        return []


def _twice(raw: Any, path: tuple[str | int, ...] = ()) -> Iterator[Violation]:
    if isinstance(raw, _Pairs):
        seen: set[str] = set()
        for name, member in raw:
            if name in seen:
                yield Violation(pointer((*path, name)), "found the member twice, expected it once")
            seen.add(name)
            yield from _twice(member, (*path, name))
    elif isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from _twice(item, (*path, index))


def _fractions(raw: Any, value: Any, response: compiled.Check) -> Iterator[Violation]:
    """Whole numbers written as ``1.0`` where nothing but an integer may stand."""
    places: dict[str, float] = {}
    if any(_places(raw, (), places)):
        probe = _halves(raw)
        for fault in dict.fromkeys(response.violations(probe)):
            if fault.pointer in places and "an integer" in fault.message:
                shown = found(places[fault.pointer]).removeprefix("the ")
                yield Violation(
                    fault.pointer, f"found the {shown}, written with a fraction, expected an integer"
                )


def _places(raw: Any, path: tuple[str | int, ...], into: dict[str, float]) -> Iterator[bool]:
    if isinstance(raw, _Written) and raw.is_integer():
        into[pointer(path)] = raw
        yield True
    elif isinstance(raw, list):
        pairs = raw if isinstance(raw, _Pairs) else enumerate(raw)
        for name, item in pairs:
            yield from list(_places(item, (*path, name), into))


def _halves(raw: Any) -> Any:
    """The document with 0.5 wherever a whole number was written with a fraction."""
    if isinstance(raw, _Pairs):
        return {name: _halves(member) for name, member in raw}
    if isinstance(raw, list):
        return [_halves(item) for item in raw]
    if isinstance(raw, _Written):
        return 0.5 if raw.is_integer() else float(raw)
    return raw


def shown(request: Any, longest: int = 1000) -> str:
    """A request as JSON, cut if it is long."""
    text = json.dumps(request, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def finding(what: str, fault: Violation, todo: str, file: str = "", line: int | None = None) -> Finding:
    """A fault of an answer as a finding."""
    place = f"at {fault.pointer}: " if fault.pointer else ""
    return Finding(f"{what}: {place}{fault.message}", todo, file, line, fault.pointer)
